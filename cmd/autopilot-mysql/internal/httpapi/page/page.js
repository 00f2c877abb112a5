"use strict";
// The page asks this node for /cluster once a second, and for /history when there is news, and draws what they say. It
// changes nothing.
const keep = 120; // seconds shown
const states = ["init", "restore-snapshot", "replica", "standby", "failover", "primary", "down"];
const edges = JSON.parse(document.body.dataset.machine);
const history = []; // {at, doc} once a second; doc is null while nobody answers
let known = null, fresh = new Map(), answeredAt = 0;

const $ = (id) => document.getElementById(id);

/** el makes an element; text is never read as HTML. */
function el(tag, attrs = {}, ...kids) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attrs)) e.setAttribute(k, v);
  e.append(...kids);
  return e;
}
function svg(tag, attrs = {}, ...kids) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [k, v] of Object.entries(attrs)) e.setAttribute(k, v);
  e.append(...kids);
  return e;
}
/** tint gives an element the colour of a state; as a property, because the policy forbids style attributes. */
function tint(e, state) {
  e.style.setProperty("--c", `var(--${states.includes(state) ? state : "init"})`);
  return e;
}
function stateTag(n) {
  const word = n.state + (n.healthy || n.state === "down" ? "" : ", not healthy");
  return tint(el("span", { class: n.healthy ? "state" : "state ill" }, word), n.state);
}
const follows = (n) => n.state === "replica" || n.state === "standby";

function drawNodes(d) {
  let most = 1;
  for (const n of d.nodes) if (follows(n)) most = Math.max(most, n.lag_seconds);
  $("nodes").replaceChildren(...d.nodes.map((n) => {
    const lag = follows(n) ? n.lag_seconds < 0 ? "lag unknown" : `lag ${n.lag_seconds} s` : "";
    const marks = [];
    if (n.ack_member) marks.push(el("span", { class: "mark" }, n.name === d.primary ? "in the ack set" : "acknowledges"));
    if (n.maintenance) marks.push(el("span", { class: "mark" }, "in maintenance"));
    if (n.nofailover) marks.push(el("span", { class: "mark" }, "never primary"));
    if (n.name === d.lease.holder) marks.push(el("span", { class: "mark" }, "holds the lease"));
    return tint(el("li", { class: n.state === "primary" ? "card lead" : "card", "data-node": n.name, "data-state": n.state, title: n.gtid_executed },
      el("div", { class: "cardhead" }, el("strong", {}, n.name), stateTag(n)),
      el("div", { class: "cardline" }, el("span", {}, n.mysql || "–"), el("span", {}, lag)),
      el("div", { class: "marks" }, ...marks),
      el("p", { class: "why" }, n.reason.length > 120 ? n.reason.slice(0, 119) + "…" : n.reason)), n.state); // in full among the problems
  }));
}

let longest = 1000; // the longest lease seen, in ms
function tile(name, value, more, extra) {
  return el("div", { class: "tile" }, el("dt", {}, name), el("dd", {}, el("strong", {}, value), ...(extra ? [extra] : []), ...(more ? [el("span", { class: "more" }, more)] : [])));
}
function drawFacts(d) {
  const left = d.lease.expires_in_ms, s = d.snapshot, ar = d.archive;
  longest = Math.max(longest, left);
  const bar = d.lease.holder && left >= 0 ? el("meter", { min: 0, max: longest, value: left, "aria-label": "lease left" }) : null;
  const others = d.ack_set.members.filter((m) => m !== d.primary);
  const tiles = [
    tile("Term", String(d.term), "grows with every new primary"),
    tile("Lease", d.lease.holder ? left >= 0 ? `${(left / 1000).toFixed(1)} s` : d.lease.holder : "free", d.lease.holder ? `left to ${d.lease.holder} when it last said so` : "nobody holds it", bar),
    tile("Every write is on", d.ack_set.acks + 1 === 1 ? "1 node" : `${d.ack_set.acks + 1} nodes`, others.length ? "acknowledged by " + others.join(", ") : "nobody acknowledges"),
    tile("Snapshot", s.id ? age(Date.now() - Date.parse(s.at)) + " old" : "none", s.id ? `${bytes(s.bytes)}${s.running ? "; working on it now" : s.verified && s.verified.ok ? "; verified" : ""}` : s.running ? "the first one is being taken" : ""),
  ];
  if (ar) tiles.push(tile("Archive", ar.lag_seconds < 0 ? "not yet" : `${ar.lag_seconds < 10 ? ar.lag_seconds.toFixed(1) : Math.round(ar.lag_seconds)} s behind`, ar.error || ar.gap ? "in trouble" : "binary logs in the store"));
  $("facts").replaceChildren(...tiles);
}
function bytes(n) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (n < 1024) return `${n < 10 && unit !== "B" ? n.toFixed(1) : Math.round(n)} ${unit}`;
    n /= 1024;
  }
  return n.toFixed(1) + " TiB";
}
function age(ms) {
  const s = Math.max(0, ms / 1000);
  return s < 120 ? `${Math.floor(s)} s` : s < 7200 ? `${Math.floor(s / 60)} min` : s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} days`;
}

function drawProblems(d) {
  const box = $("problems");
  box.hidden = d.problems.length === 0;
  box.className = d.health;
  box.replaceChildren(...d.problems.flatMap((p) => [
    el("p", { class: "what" }, p.what),
    ...(p.next ? [el("p", { class: "how" }, "Next: " + p.next)] : []),
    ...(p.do ? [el("p", { class: "how" }, "You can: " + p.do)] : [])]));
}

// Where the boxes of the diagram are, on a wide and on a narrow screen: their centres, the size of the whole, and the
// arrows that must bend around a box between. What leads where comes from the declared machine.
const wide = {
  size: [820, 390], bend: { "standby>restore-snapshot": -75 },
  places: { "init": [100, 70], "restore-snapshot": [100, 280], "replica": [340, 280], "standby": [580, 280], "failover": [450, 160], "primary": [720, 70] },
};
const narrow = {
  size: [400, 390], bend: { "init>replica": 58 },
  places: { "init": [120, 40], "restore-snapshot": [120, 170], "replica": [120, 300], "standby": [310, 300], "failover": [310, 170], "primary": [310, 40] },
};
const boxW = 150, boxH = 64;
let layout = wide;

/** border is where the line from one centre towards a point leaves the box. */
function border([cx, cy], [tx, ty]) {
  const dx = tx - cx, dy = ty - cy;
  const k = Math.min(dx ? (boxW / 2 + 3) / Math.abs(dx) : Infinity, dy ? (boxH / 2 + 3) / Math.abs(dy) : Infinity);
  return [cx + dx * k, cy + dy * k];
}

function arrow(e) {
  const a = layout.places[e.from], b = layout.places[e.to];
  if (!a || !b) return "";
  const len = Math.hypot(b[0] - a[0], b[1] - a[1]);
  const both = edges.some((o) => o.from === e.to && o.to === e.from);
  const bend = layout.bend[e.from + ">" + e.to] || (both ? 16 : 0);
  const mid = [(a[0] + b[0]) / 2 - (b[1] - a[1]) / len * bend * 2, (a[1] + b[1]) / 2 + (b[0] - a[0]) / len * bend * 2];
  const p = border(a, mid), q = border(b, mid);
  const hot = Date.now() - (fresh.get(e.from + ">" + e.to) || 0) < 8000;
  return svg("path", { class: hot ? "edge fresh" : "edge", "marker-end": "url(#tip)", d: `M${p} Q${mid} ${q}` },
    svg("title", {}, `${e.from} → ${e.to}: ${e.why.join("; ")}`));
}

function drawMachine(d) {
  layout = $("machine").clientWidth < 640 ? narrow : wide;
  const places = layout.places, [w, h] = layout.size;
  const here = (s) => d.nodes.filter((n) => n.state === s);
  const down = here("down").map((n) => n.name);
  const says = Object.keys(places).map((s) => `${s}: ${here(s).map((n) => n.name).join(", ") || "nobody"}`).join("; ") + (down.length ? `; down: ${down.join(", ")}` : "");
  const root = svg("svg", { viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": "State diagram. " + says },
    svg("defs", {}, svg("marker", { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerUnits: "userSpaceOnUse", markerWidth: 9, markerHeight: 9, orient: "auto" }, svg("path", { class: "tip", d: "M0 0L8 4L0 8z" }))),
    ...edges.map(arrow));
  for (const [s, [x, y]] of Object.entries(places)) {
    const list = here(s);
    root.append(tint(svg("rect", { class: list.length ? "box used" : "box", x: x - boxW / 2, y: y - boxH / 2, width: boxW, height: boxH, rx: 10 }), s),
      svg("text", { x, y: y - 12, "text-anchor": "middle" }, s), ...chips(list, x, y + 4, s));
  }
  if (down.length) root.append(svg("text", { x: 25, y: h - 10, class: "small" }, "not running:"), ...chips(here("down"), 175, h - 25, "down"));
  $("machine").replaceChildren(root);
}

/** chips are the names of nodes, centred; more than fit become a number. */
function chips(list, x, y, state) {
  const fits = list.length > 2 ? [...list.slice(0, 1).map((n) => n.name), `+${list.length - 1}`] : list.map((n) => n.name);
  const short = fits.map((t) => t.length > 9 ? t.slice(0, 4) + "…" + t.slice(-4) : t);
  const widths = short.map((t) => t.length * 7 + 12);
  let at = x - (widths.reduce((a, b) => a + b, 0) + 5 * (short.length - 1)) / 2;
  return short.flatMap((t, i) => {
    const r = tint(svg("rect", { class: "chip", x: at, y, width: widths[i], height: 20, rx: 10 }, svg("title", {}, list.map((n) => n.name).join(", "))), state);
    const label = svg("text", { class: "chiptext", x: at + widths[i] / 2, y: y + 14, "text-anchor": "middle" }, t);
    at += widths[i] + 5;
    return [r, label];
  });
}

function names() {
  const all = new Set();
  for (const h of history) for (const n of h.doc ? h.doc.nodes : []) all.add(n.name);
  return [...all].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
}
const left = 110, rowH = 22;
let right = 800; // as wide as there is room, so that letters keep their size
const xOf = (at, now) => right - (now - at) / 1000 * (right - left) / keep;

function drawStrip(now) {
  const list = names(), h = (list.length + 1) * rowH + 18;
  const root = svg("svg", { viewBox: `0 0 ${right + 10} ${h}`, role: "img", "aria-label": "States of the nodes over the last two minutes; the same as text is below, under What changed." });
  const step = (right - left) / keep;
  ["writable", ...list].forEach((name, i) => {
    root.append(svg("text", { x: 0, y: i * rowH + 16 }, name.length > 14 ? name.slice(0, 13) + "…" : name),
      svg("rect", { class: "lane", x: left, y: i * rowH + 3, width: right - left, height: rowH - 7, rx: 3 }));
    let run = null; // neighbours of one state are one bar
    const end = () => {
      if (run) root.append(tint(svg("rect", { class: "chip", x: run.from, y: i * rowH + 3, width: Math.max(1, run.to - run.from), height: rowH - 7 }, svg("title", {}, run.what)), run.state));
      run = null;
    };
    for (const { at, doc } of history) {
      const n = doc && (i ? doc.nodes.find((m) => m.name === name) : doc.primary && { state: "primary", name: doc.primary });
      const what = n && (i ? `${n.name}: ${n.state}` : n.name);
      if (!n || run && (run.what !== what)) end();
      if (!n) continue;
      const to = xOf(at, now);
      if (!run) run = { from: Math.max(left, to - step), state: n.state, what };
      run.to = to;
    }
    end();
  });
  axis(root, h);
  $("strip").replaceChildren(root);
}

function axis(root, h) {
  for (const s of right < 500 ? [120, 60, 0] : [120, 90, 60, 30, 0]) {
    const x = xOf(-s * 1000, 0);
    root.append(svg("text", { class: "small", x, y: h - 3, "text-anchor": s ? "middle" : "end" }, s ? `−${s} s` : "now"));
  }
}

function drawLag(now) {
  const h = 130, top = 10, bottom = h - 22;
  let most = 1;
  for (const { doc } of history) for (const n of doc ? doc.nodes : []) if (follows(n)) most = Math.max(most, n.lag_seconds);
  const yOf = (v) => bottom - v / most * (bottom - top);
  const root = svg("svg", { viewBox: `0 0 ${right + 10} ${h}`, role: "img", "aria-label": `Lag of the followers over the last two minutes, at most ${most} seconds` });
  for (const v of [0, most]) root.append(svg("path", { class: "grid", d: `M${left} ${yOf(v)}H${right}` }), svg("text", { class: "small", x: left - 8, y: yOf(v) + 4, "text-anchor": "end" }, `${v} s`));
  const palette = ["standby", "replica", "failover", "restore-snapshot", "primary", "init"];
  names().forEach((name, i) => {
    let d = "", pen = false;
    for (const { at, doc } of history) {
      const n = doc && doc.nodes.find((m) => m.name === name);
      if (!n || !follows(n) || n.lag_seconds < 0) { pen = false; continue; }
      d += `${pen ? "L" : "M"}${Math.max(left, xOf(at, now)).toFixed(1)} ${yOf(n.lag_seconds).toFixed(1)}`;
      pen = true;
    }
    if (!d) return;
    root.append(tint(svg("path", { class: "lagline", d }, svg("title", {}, name)), palette[i % palette.length]),
      tint(svg("rect", { class: "chip", x: 0, y: top + i * 16, width: 8, height: 8 }), palette[i % palette.length]),
      svg("text", { class: "small", x: 13, y: top + 8 + i * 16 }, name));
  });
  axis(root, h);
  $("lag").replaceChildren(root);
}

// The phases of a failover, in order, and the colour each is drawn in.
const phases = [["detect", "down"], ["seal", "failover"], ["elect", "replica"], ["drain", "restore-snapshot"], ["promote", "standby"], ["open", "primary"]];
let remembered = [];

/** gapOf is for how long nobody could write, in ms, or 0 when that is not known. */
function gapOf(e) {
  if (e.gap_ms) return e.gap_ms;
  return e.phases ? phases.reduce((sum, [p]) => sum + Math.max(0, e.phases[p + "_ms"]), 0) : 0;
}
const ms = (v) => v < 1 ? v.toFixed(2) + " ms" : v < 1000 ? Math.round(v) + " ms" : (v / 1000).toFixed(v < 10000 ? 2 : 1) + " s";

function drawGaps() {
  const list = remembered.filter((e) => e.kind === "promotion" && gapOf(e) > 0).slice(-Math.max(6, Math.floor((right - left) / 26)));
  if (!list.length) {
    $("gaps").replaceChildren(el("p", { class: "note" }, "None yet: the primary has not changed since the cluster began."));
    $("gaplegend").replaceChildren();
    return;
  }
  const h = 190, top = 22, bottom = h - 24;
  const most = Math.max(100, ...list.map(gapOf)), high = Math.ceil(Math.log10(most)), low = Math.min(0, Math.floor(Math.log10(Math.min(...list.map(gapOf)))));
  const yOf = (v) => bottom - (Math.log10(Math.max(v, 10 ** low)) - low) / (high - low) * (bottom - top);
  const root = svg("svg", { viewBox: `0 0 ${right + 10} ${h}`, role: "img",
    "aria-label": "Write gaps, the oldest first: " + list.map((e) => `${ms(gapOf(e))} to ${e.node}, ${e.phases ? "failover" : "planned"}`).join("; ") });
  for (let p = low; p <= high; p++) root.append(svg("path", { class: "grid", d: `M${left} ${yOf(10 ** p)}H${right}` }), svg("text", { class: "small", x: left - 8, y: yOf(10 ** p) + 4, "text-anchor": "end" }, ms(10 ** p)));
  const each = Math.min(60, (right - left) / list.length), wide = Math.min(28, each - 6);
  list.forEach((e, i) => {
    const x = right - (list.length - i) * each + (each - wide) / 2, gap = gapOf(e), y = yOf(gap);
    const parts = e.phases ? phases.filter(([p]) => e.phases[p + "_ms"] > 0) : [];
    const what = `term ${e.term}: ${e.node}, ${e.phases ? "failover" : "planned"}, ${ms(gap)}` + (e.laps ? " (" + e.laps.map((l) => `${l.name} ${ms(l.ms)}`).join(", ") + ")" : "") + (parts.length ? " (" + parts.map(([p]) => `${p} ${ms(e.phases[p + "_ms"])}`).join(", ") + ")" : "");
    let from = bottom; // within the bar the phases are to scale, the bar as a whole is on the axis
    const sum = parts.reduce((t, [p]) => t + e.phases[p + "_ms"], 0);
    for (const [p, colour] of parts.length ? parts : [[null, "primary"]]) {
      const high = (bottom - y) * (p ? e.phases[p + "_ms"] / sum : 1);
      from -= high;
      root.append(tint(svg("rect", { class: "chip", x, y: from, width: wide, height: Math.max(.5, high) }, svg("title", {}, what)), colour));
    }
    root.append(svg("text", { class: "small", x: x + wide / 2, y: y - 5, "text-anchor": "middle" }, each < 40 ? "" : ms(gap)),
      svg("text", { class: "small", x: x + wide / 2, y: h - 8, "text-anchor": "middle" }, each < 20 && i % 3 ? "" : "t" + e.term));
  });
  $("gaps").replaceChildren(root);
  $("gaplegend").replaceChildren(...(list.some((e) => !e.phases) ? [tint(el("span", { class: "state" }, "planned"), "primary")] : []),
    ...(list.some((e) => e.phases) ? [el("span", {}, "failover, from below:"), ...phases.map(([p, c]) => tint(el("span", { class: "state" }, p), c))] : []));
}

const kindColour = { promotion: "primary", attached: "primary", "take-back": "primary", "step-down": "standby", lost: "down", waiting: "down", forced: "down", rebuild: "restore-snapshot", pause: "failover", resume: "primary", request: "replica" };
function drawHistory() {
  const list = remembered.slice(-60).reverse();
  let day = "";
  $("history").replaceChildren(...list.flatMap((e) => {
    const at = new Date(e.at), on = at.toLocaleDateString(), gap = e.kind === "promotion" ? gapOf(e) : 0;
    const head = on === day ? [] : [el("li", { class: "day" }, on)];
    day = on;
    return [...head, tint(el("li", {}, el("time", { datetime: e.at }, at.toLocaleTimeString()),
      el("span", { class: "state" }, e.kind), " ", el("strong", {}, e.node || e.by || ""), e.term ? ` · term ${e.term}` : "", gap ? ` · no writes for ${ms(gap)}` : "", el("span", { class: "why" }, e.why)), kindColour[e.kind] || "init")];
  }));
  if (!list.length) $("history").replaceChildren(el("li", { class: "note" }, "Nothing yet."));
}

let askedAt = 0, askedTerm = -1;
/** remember asks for the history when the term has changed, and every ten seconds. */
async function remember(d) {
  if (d.term === askedTerm && Date.now() - askedAt < 10000) return;
  askedAt = Date.now();
  try {
    const r = await fetch("history", { cache: "no-store", signal: AbortSignal.timeout(3000) });
    if (!r.ok) return;
    remembered = (await r.json()).entries;
    if (remembered.some((e) => e.kind === "promotion" && e.term >= d.term) || Date.now() - askedAt > 10000) askedTerm = d.term;
    drawGaps();
    drawHistory();
  } catch { /* the next turn says that nobody answers */ }
}

function note(text) {
  const list = $("events");
  $("events-note").hidden = true;
  const now = new Date();
  list.prepend(el("li", {}, el("time", { datetime: now.toISOString() }, now.toLocaleTimeString()), text));
  while (list.children.length > 100) list.lastChild.remove();
}

function compare(old, d) {
  if (old.term !== d.term) note(`term ${d.term} begins`);
  if (old.primary !== d.primary) note(d.primary ? `${d.primary} is the primary` : `there is no primary; it was ${old.primary}`);
  if (old.paused !== d.paused) note(d.paused ? "automatic failover is paused" : "automatic failover goes on");
  if (old.snapshot.id !== d.snapshot.id) note(`snapshot ${d.snapshot.id || "gone"}`);
  const was = new Map(old.nodes.map((n) => [n.name, n]));
  for (const n of d.nodes) {
    const o = was.get(n.name);
    was.delete(n.name);
    if (!o) note(`${n.name} has joined: ${n.state}`);
    else if (o.state !== n.state) {
      fresh.set(o.state + ">" + n.state, Date.now());
      note(`${n.name}: ${o.state} → ${n.state}: ${n.reason}`);
    } else if (o.healthy !== n.healthy) note(`${n.name} is ${n.healthy ? "healthy" : "not healthy: " + n.reason}`);
  }
  for (const name of was.keys()) note(`${name} is no part of the cluster any more`);
}

function draw(d) {
  $("cluster").textContent = d.cluster;
  document.title = `${d.health}: ${d.cluster}`;
  $("health").textContent = d.health;
  $("health").className = "badge " + d.health;
  if ($("summary").textContent !== d.summary) $("summary").textContent = d.summary;
  drawProblems(d); drawNodes(d); drawFacts(d); drawMachine(d);
}

/** unanswered shows that the picture is old, and where else to look. */
function unanswered(why) {
  document.body.classList.add("stale");
  $("health").textContent = "?";
  $("health").className = "badge";
  const others = known ? known.nodes.filter((n) => n.http && n.state !== "down" && n.http !== location.host) : [];
  const text = `This node does not answer (${why}); what is below is from ${answeredAt ? age(Date.now() - answeredAt) + " ago" : "nowhere"}.`;
  $("summary").replaceChildren(text, ...others.flatMap((n) => [" ", el("a", { href: `//${n.http}/` }, `Ask ${n.name}`)]));
}

async function turn() {
  const at = Date.now();
  let doc = null;
  try {
    const r = await fetch("cluster", { cache: "no-store", signal: AbortSignal.timeout(3000) });
    const body = await r.json();
    if (!r.ok) throw new Error(body.error);
    doc = body;
    document.body.classList.remove("stale");
    if (known) compare(known, doc);
    known = doc;
    answeredAt = Date.now();
    draw(doc);
    remember(doc);
  } catch (e) {
    unanswered(e instanceof TypeError ? "no connection" : e.message);
  }
  history.push({ at, doc });
  while (history.length && at - history[0].at > keep * 1000) history.shift();
  right = Math.max(300, $("strip").clientWidth) - 10;
  if (!document.hidden) { drawStrip(at); drawLag(at); }
  setTimeout(turn, Math.max(100, 1000 - (Date.now() - at)));
}

$("legend").replaceChildren(...states.map((s) => tint(el("span", { class: "state" }, s), s)));
turn();
