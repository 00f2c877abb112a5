// What TestMonitoring asks the page: contrast as WCAG counts it, names for a screen reader, what the tabulator reaches, and how
// long after its node said so a new primary was shown.
window.audit = (() => {
  const heard = {}, shown = {};
  const ask = window.fetch; // when the answer with a new primary arrived at the earliest the page could have known: asked for every 100 ms, beside the page
  setInterval(async () => {
    try {
      const d = await (await ask("cluster", { cache: "no-store" })).json();
      if (d.primary) heard["primary:" + d.primary] ??= performance.now();
    } catch { /* a node that does not answer */ }
  }, 100);
  const look = () => {
    const e = document.querySelector("[data-state=primary]");
    if (e) shown[e.dataset.node] ??= performance.now();
  };
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true });
  look();

  const rgb = (c) => { const m = c.match(/[\d.]+/g).map(Number); return m.length > 3 && m[3] === 0 ? null : m.slice(0, 3); };
  const lum = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const ratio = (a, b) => { const [x, y] = [lum(a), lum(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
  const behind = (e) => {
    if (e.classList.contains("chiptext")) return rgb(getComputedStyle(e.previousElementSibling).fill);
    for (let p = e; p; p = p.parentElement) { const c = rgb(getComputedStyle(p).backgroundColor); if (c) return c; }
    return [255, 255, 255];
  };
  const drawn = (e) => { const r = e.getBoundingClientRect(); return r.width > 1 && r.height > 1 && getComputedStyle(e).visibility === "visible"; };
  const nameOf = (e) => e.getAttribute("href") || e.id || e.tagName;
  const scrolls = (e) => { const o = getComputedStyle(e); return (/auto|scroll/.test(o.overflowX) && e.scrollWidth > e.clientWidth) || (/auto|scroll/.test(o.overflowY) && e.scrollHeight > e.clientHeight); };

  return {
    heard,
    delay: (node) => Math.max(0, shown[node] - heard["primary:" + node]),
    contrast() {
      const bad = [];
      for (const e of document.body.querySelectorAll("*")) {
        if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || ["TITLE", "SCRIPT", "NOSCRIPT"].includes(e.tagName.toUpperCase()) || !drawn(e)) continue;
        const s = getComputedStyle(e), colour = rgb(e instanceof SVGElement ? s.fill : s.color), r = ratio(colour, behind(e));
        if (r < 4.5) bad.push(`${e.tagName}.${e.getAttribute("class")} "${e.textContent.slice(0, 30)}" ${r.toFixed(2)}`);
      }
      return bad;
    },
    names() {
      const bad = [];
      for (const e of document.querySelectorAll("svg, section, [role=region], meter, ol[tabindex]")) {
        const by = e.getAttribute("aria-labelledby");
        if (!(e.getAttribute("aria-label") || by && document.getElementById(by)?.textContent)) bad.push(e.tagName + "#" + e.id + " has no name");
      }
      if (document.querySelectorAll("h1").length !== 1) bad.push("one h1 is needed");
      if (!document.documentElement.lang) bad.push("the language is not said");
      const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
      for (const id of new Set(ids)) if (ids.filter((i) => i === id).length > 1) bad.push("id twice: " + id);
      return bad;
    },
    focused() {
      const e = document.activeElement;
      if (!e || e === document.body) return ["", ""];
      return [nameOf(e), getComputedStyle(e).outlineStyle === "none" ? "its focus cannot be seen" : ""];
    },
    reachable: () => [...document.querySelectorAll("a[href], button, summary")].concat([...document.querySelectorAll("*")].filter(scrolls)).filter((e) => e !== document.documentElement && e !== document.body && drawn(e)).map(nameOf),
  };
})();
