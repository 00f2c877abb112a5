// What TestMonitoring asks the page about what it draws: where each node is in the state diagram, what the plots of the lag
// and of the write gaps show, and what the tiles say. It looks at what is drawn where, not at how the page came to it.
window.parts = (() => {
  const box = (e) => e.getBoundingClientRect();
  const within = (a, b) => a.left >= b.left && a.right <= b.right && a.top >= b.top && a.bottom <= b.bottom;
  const texts = () => [...document.querySelectorAll("#machine svg > text:not(.chiptext)")];
  /** chipsOf are those with a node's name; where many nodes are in one state, those that count it among the others. */
  function chipsOf(node) {
    const all = [...document.querySelectorAll("#machine rect.chip")].filter((r) => r.querySelector("title").textContent.split(", ").includes(node));
    const named = all.filter((r) => r.nextElementSibling.textContent === node);
    return named.length ? named : all.filter((r) => r.nextElementSibling.textContent.startsWith("+"));
  }

  /** placeOf is the state in whose box a node's name is drawn; "down" is beside "not running". */
  function placeOf(node) {
    const chips = chipsOf(node);
    if (chips.length !== 1) return `drawn ${chips.length} times`;
    const at = box(chips[0]);
    for (const b of document.querySelectorAll("#machine rect.box")) if (within(at, box(b))) return texts().find((t) => within(box(t), box(b)))?.textContent;
    const beside = texts().find((t) => t.textContent === "not running:");
    return beside && Math.abs(box(beside).top - at.top) < at.height ? "down" : "nowhere";
  }
  /** misplaced are the nodes that are drawn elsewhere than where the last answer says that they are. */
  const misplaced = () => known.nodes.filter((n) => placeOf(n.name) !== n.state).map((n) => `${n.name} is ${n.state} and is drawn at ${placeOf(n.name)}`);
  /** arrows is how many are drawn, and how many the declared machine has. */
  const arrows = () => [document.querySelectorAll("#machine path.edge").length, JSON.parse(document.body.dataset.machine).length];

  /** lag is the line of each node that has one: how many points, and the highest in seconds by the plot's own axis. */
  function lag() {
    const root = document.querySelector("#lag svg"), out = {};
    const axis = [...root.querySelectorAll("path.grid")].map((p) => Number(p.getAttribute("d").match(/ ([\d.]+)H/)[1]));
    const marks = [...root.querySelectorAll("path.grid + text")].map((t) => parseFloat(t.textContent));
    for (const l of root.querySelectorAll("path.lagline")) {
      const ys = [...l.getAttribute("d").matchAll(/[ML][\d.]+ ([\d.]+)/g)].map((m) => Number(m[1]));
      const high = marks[0] + (axis[0] - Math.min(...ys)) / (axis[0] - axis[1]) * (marks[1] - marks[0]);
      out[l.querySelector("title").textContent] = { points: ys.length, high };
    }
    return out;
  }

  /** gaps are the bars, by their term: what a bar says, and how high it is drawn in pixels. */
  function gaps() {
    const out = {};
    for (const r of document.querySelectorAll("#gaps rect.chip")) {
      const says = r.querySelector("title").textContent, term = says.match(/^term (\d+)/)[1];
      out[term] = { says, high: (out[term]?.high || 0) + box(r).height };
    }
    return out;
  }

  /** tiles is what each says, in one line by its name. */
  const tiles = () => Object.fromEntries([...document.querySelectorAll("#facts .tile")].map((t) =>
    [t.querySelector("dt").textContent, [...t.querySelectorAll("strong, .more")].map((e) => e.textContent).join(" | ")]));
  /** wrongTiles are those that say something else than the last answer. */
  function wrongTiles() {
    const d = known, said = tiles(), bad = [];
    const want = {
      "Term": new RegExp(`^${d.term} \\|`),
      "Lease": d.lease.holder ? new RegExp(`^[\\d.]+ s \\| left to ${d.lease.holder}`) : /^free/,
      "Every write is on": new RegExp(`^${d.ack_set.acks + 1} nodes? \\|.*` + d.ack_set.members.filter((m) => m !== d.primary).join(".*")),
      "Snapshot": d.snapshot.id ? /^\d+ (s|min) old \| [\d.]+ [KM]iB/ : /^none/,
      "Archive": /^([\d.]+ s behind|not yet) \| binary logs in the store/,
    };
    for (const [name, how] of Object.entries(want)) if (!how.test(said[name] || "")) bad.push(`${name}: ${said[name]}, not like ${how}`);
    const meter = document.querySelector("#facts meter");
    if (d.lease.holder && !(meter && meter.value > 0 && meter.value <= meter.max)) bad.push("the lease's bar");
    return bad;
  }
  return { placeOf, misplaced, arrows, lag, gaps, tiles, wrongTiles };
})();
