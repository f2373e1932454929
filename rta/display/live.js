/**
 * The page of a live view: a strip of figures, a table that updates in place, a chart.
 *
 * One module for the cell (`render`, by anywidget) and for a dashboard (`mount`). Frames come from the kernel: a full one
 * holds all, the next ones what changed. Whatever comes from events becomes a text node: no markup is ever made of data.
 *
 * @typedef {null | boolean | string | number} Cell
 * @typedef {{name: string, type: "text" | "number" | "decimal" | "time" | "bool" | "json"}} Column
 * @typedef {Record<string, any>} Frame   what protocol calls a frame: seq, full, columns, put, order, vitals, …
 * @typedef {Record<string, any> & {at: number}} Vitals
 * @typedef {{send: (message: object) => void, listen: (hear: (frame: Frame) => void, lost: () => void) => (() => void) | void, chart?: any}} Channel
 */

const ROW = 24; // px: each row of a table is as high, so that a place is a row's number
const RING = 240; // vitals in the small lines
const SPARE = 12; // rows drawn above and below what is seen
const SPAN = 30_000; // ms: the small lines show at least as much

// ---------------------------------------------------------------- words for figures

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 20 });
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 3 });
const words = new Intl.Collator("en", { numeric: true });

/** @param {number} n */
const count = (n) => (Math.abs(n) < 1e6 ? grouped.format(Math.round(n)) : compact.format(n));
/** @param {number} n */
const rate = (n) => (Math.abs(n) < 10 ? grouped.format(Math.round(n * 10) / 10) : count(n));
/** @param {number} n */
const bytes = (n) => {
  const power = Math.min(4, Math.max(0, Math.floor(Math.log10(Math.max(1, n)) / 3)));
  return `${Number((n / 1000 ** power).toPrecision(3))} ${["B", "kB", "MB", "GB", "TB"][power]}`;
};
/** @param {number} ms */
function span(ms) {
  const s = Math.abs(ms) / 1000, sign = ms < 0 ? "−" : "";
  if (s < 1) return `${sign}${Math.round(s * 1000)} ms`;
  if (s < 10) return `${sign}${s.toFixed(1)} s`;
  if (s < 120) return `${sign}${Math.round(s)} s`;
  if (s < 7200) return `${sign}${Math.round(s / 60)} min`;
  return sign + (s < 172_800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86_400)} days`);
}
/** @param {number} n @param {string} noun */
const counted = (n, noun) => (n ? `${n} ${noun}${n === 1 ? "" : "s"}` : "");
/** @param {number} ms */
const clock = (ms) => new Date(ms).toTimeString().slice(0, 8);

/** Say a cell in words: integers with separators, decimals as they came, times without T and Z. @param {Cell} cell @param {string} type */
function shown(cell, type) {
  if (cell === null || cell === undefined) return "null";
  if (type === "number" && /^-?\d+$/.test(String(cell))) return String(cell).replace(/\B(?=(\d{3})+$)/g, ",");
  if (type === "time") return String(cell).replace("T", " ").replace(/(?:\.0+)?(?:Z|\+00:00)$/, "");
  return String(cell);
}

/** Order two exact decimals that floats cannot tell apart. @param {string} a @param {string} b */
function exactly(a, b) {
  const [[i, f = ""], [j, g = ""]] = [a.split("."), b.split(".")], digits = Math.max(f.length, g.length);
  try {
    const [x, y] = [BigInt(i + f.padEnd(digits, "0")), BigInt(j + g.padEnd(digits, "0"))];
    return x < y ? -1 : x > y ? 1 : 0;
  } catch {
    return words.compare(a, b); // exponents, NaN
  }
}

/** Order two cells by their type; null is the least, then NaN. @param {Cell} a @param {Cell} b @param {string} type @returns {number} */
function compare(a, b, type) {
  if (a === b) return 0;
  if (a === null || b === null) return a === null ? -1 : 1;
  if (type === "text" || type === "json") return words.compare(String(a), String(b));
  const number = type === "time" ? (/** @type {any} */ x) => Date.parse(x) : Number;
  const [x, y] = [number(a), number(b)];
  if (Number.isNaN(x) || Number.isNaN(y)) return Number(Number.isNaN(y)) - Number(Number.isNaN(x));
  return x - y || (type === "time" ? words.compare(String(a), String(b)) : exactly(String(a), String(b)));
}

// ---------------------------------------------------------------- elements

/**
 * Make an element; strings among the children become text.
 * @param {string} tag @param {Record<string, any>} [traits] @param {...(Node | string)} children @returns {any}
 */
function h(tag, traits = {}, ...children) {
  const svg = ["svg", "polyline", "path", "line"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(traits)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Put text into an element, if it is not there already. @param {Element} node @param {string} text */
const say = (node, text) => node.textContent === text || (node.textContent = text);

// ---------------------------------------------------------------- the table

/** A table that updates in place: it sorts, filters, and holds only the rows that are seen. @param {string} name */
function grid(name) {
  /** @type {Column[]} */ let columns = [];
  /** @type {Map<number, Cell[]>} */ let rows = new Map();
  /** @type {number[]} */ let order = [];
  /** @type {number[]} */ let places = []; // ids in the order of the screen
  /** @type {number | null} */ let total = null;
  /** @type {Map<number, Set<number>>} */ let glow = new Map();
  /** @type {number[]} */ let widths = [];
  let sort = { at: -1, down: false }, beat = false;
  const texts = new WeakMap(), live = new Map(), spare = /** @type {any[]} */ ([]);

  const counts = h("span", { class: "rta-counts" });
  const filter = h("input", { type: "search", placeholder: "filter", "aria-label": `filter ${name}`, spellcheck: "false", oninput: () => draw(true) });
  const head = h("tr"), cols = h("colgroup"), above = h("tr"), below = h("tr");
  const body = h("tbody", {}, above, below);
  const table = h("table", { "aria-label": name }, cols, h("thead", {}, head), body);
  const scroller = h("div", { class: "rta-scroller", tabindex: "0", role: "region", "aria-label": `${name}, rows`, onscroll: () => draw(false) }, table);
  const node = h("div", { class: "rta-grid" }, h("div", { class: "rta-bar" }, filter, counts), scroller);
  const resized = new ResizeObserver(() => draw(false));
  resized.observe(scroller);

  /** @param {number} at */
  function sortBy(at) {
    if (sort.at !== at) sort = { at, down: false };
    else sort = sort.down ? { at: -1, down: false } : { at, down: true };
    draw(true);
  }

  function drawHead() {
    const focused = [...head.children].findIndex((th) => th.contains(document.activeElement));
    const kept = [...head.children].slice(0, -1).map((th) => th.dataset.column);
    if (kept.join("\n") !== columns.map((c) => `${c.name}:${c.type}`).join("\n") || !head.lastChild) {
      head.replaceChildren(...columns.map((c, i) => h("th", { scope: "col", "data-type": c.type, "data-column": `${c.name}:${c.type}` },
        h("button", { title: `${c.name}: ${c.type}${c.type === "time" ? ", UTC" : ""}; sort`, onclick: () => sortBy(i) }, h("span", {}, c.name), h("i", { "aria-hidden": "true" })))), h("th", { class: "rta-fill", "aria-hidden": "true" }));
      if (focused >= 0) head.children[focused]?.querySelector("button")?.focus();
    }
    columns.forEach((_, i) => {
      const mine = sort.at === i;
      head.children[i].setAttribute("aria-sort", mine ? (sort.down ? "descending" : "ascending") : "none");
      say(head.children[i].querySelector("i"), mine ? (sort.down ? "▼" : "▲") : "");
    });
  }

  /** Widen columns for what came; they never shrink, so that nothing jumps. @param {Iterable<Cell[]>} news */
  function widen(news) {
    let grew = widths.length !== columns.length;
    if (grew) widths = columns.map((c) => c.name.length + 2);
    for (const cells of news) {
      columns.forEach((c, i) => {
        const wide = Math.min(40, shown(cells[i], c.type).length);
        if (wide > widths[i]) [widths[i], grew] = [wide, true];
      });
    }
    if (!grew) return;
    cols.replaceChildren(...widths.map((wide) => h("col", { style: `width: calc(${wide}ch + 18px)` })), h("col"));
    table.style.width = `calc(${widths.reduce((a, b) => a + b, 0)}ch + ${18 * widths.length}px)`;
  }

  /** @param {number} id */
  function text(id) {
    const cells = /** @type {Cell[]} */ (rows.get(id));
    if (!texts.has(cells)) texts.set(cells, cells.map((cell, i) => shown(cell, columns[i]?.type)).join("\n").toLowerCase());
    return texts.get(cells);
  }

  function arrange() {
    const wanted = filter.value.trim().toLowerCase();
    places = wanted ? order.filter((id) => text(id).includes(wanted)) : order.slice();
    if (sort.at >= 0 && columns[sort.at]) {
      const { at, down } = sort, type = columns[at].type, way = down ? -1 : 1;
      const cell = (/** @type {number} */ id) => /** @type {Cell[]} */ (rows.get(id))[at];
      places.sort((a, b) => way * compare(cell(a), cell(b), type));
    }
    const n = count(order.length), all = total !== null && total !== order.length ? count(total) : "";
    say(counts, wanted ? `${count(places.length)} of ${n} shown${all && `, ${grouped.format(total ?? 0)} in all`}` : `${grouped.format(order.length)}${all && ` of ${grouped.format(total ?? 0)}`} rows`);
  }

  /** Keep the row at the top of what the person looks at where it is, though others come and go. @param {number[]} before */
  function hold(before) {
    const top = scroller.scrollTop;
    if (top < ROW || before === places) return top;
    const now = new Map(places.map((id, at) => [id, at])), first = Math.floor(top / ROW);
    for (let at = first; at < before.length; at++) {
      const found = now.get(before[at]);
      if (found !== undefined) return (found - (at - first)) * ROW + (top % ROW);
    }
    return top;
  }

  /** @param {any} tr @param {number} id */
  function fill(tr, id) {
    const cells = /** @type {Cell[]} */ (rows.get(id)), hot = glow.get(id);
    if (tr.cellsDrawn === cells && !hot && tr.idDrawn === id) return;
    columns.forEach((c, i) => {
      const td = tr.children[i], cell = cells[i];
      say(td, shown(cell, c.type));
      const old = tr.idDrawn === id ? (td.className.match(/rta-hot2?/)?.[0] ?? "") : "";
      const look = `${cell === null ? "rta-null " : ""}${hot?.has(i) ? (beat ? "rta-hot" : "rta-hot2") : old}`;
      if (td.className !== look) td.className = look;
    });
    [tr.cellsDrawn, tr.idDrawn] = [cells, id];
  }

  /** @param {boolean} moved whether rows came or went, or the person sorts or filters */
  function draw(moved) {
    if (moved) {
      const before = places;
      arrange();
      drawHead();
      const top = hold(before);
      above.style.height = "0px";
      below.style.height = `${Math.max(0, places.length - live.size) * ROW}px`;
      if (Math.abs(top - scroller.scrollTop) >= 1) scroller.scrollTop = top;
    }
    const first = Math.max(0, Math.min(Math.floor(scroller.scrollTop / ROW), places.length) - SPARE);
    const last = Math.min(places.length, first + Math.ceil((scroller.clientHeight || 320) / ROW) + 2 * SPARE);
    const wanted = places.slice(first, last), keep = new Set(wanted);
    for (const [id, tr] of live) {
      if (keep.has(id) && tr.children.length === columns.length + 1) continue;
      live.delete(id);
      tr.remove();
      if (tr.children.length === columns.length + 1) spare.push(tr);
    }
    spare.splice(100);
    let next = above.nextSibling;
    wanted.forEach((id, i) => {
      let tr = live.get(id);
      if (!tr) {
        do tr = spare.pop() ?? h("tr", {}, ...columns.map((c) => h("td", { "data-type": c.type })), h("td", { "aria-hidden": "true" }));
        while (tr.children.length !== columns.length + 1);
        live.set(id, tr);
      }
      if (tr === next) next = next.nextSibling;
      else body.insertBefore(tr, next);
      tr.setAttribute("aria-rowindex", String(first + i + 2));
      fill(tr, id);
    });
    above.style.height = `${first * ROW}px`;
    below.style.height = `${(places.length - last) * ROW}px`;
    table.setAttribute("aria-rowcount", String(places.length + 1));
  }

  return {
    node,
    /** @param {{columns: Column[], rows: Map<number, Cell[]>, order: number[], total: number | null, glow?: Map<number, Set<number>>}} now */
    update(now) {
      const other = now.columns !== columns;
      ({ columns, rows, order, total } = now);
      if (other) [widths, sort] = [[], sort.at < columns.length ? sort : { at: -1, down: false }];
      glow = now.glow ?? new Map();
      beat = !beat;
      if (other) for (const tr of live.values()) tr.cellsDrawn = null;
      widen(other ? [...rows.values()].slice(-500) : [...glow.keys()].map((id) => rows.get(id) ?? []));
      draw(true);
      glow = new Map();
    },
    close: () => resized.disconnect(),
  };
}

// ---------------------------------------------------------------- the strip of figures

const epoch = (/** @type {string | null | undefined} */ iso) => (iso ? Date.parse(iso) : null);
const behindEvents = (/** @type {Vitals} */ v) => {
  const [event, mark] = [epoch(v.event_time), epoch(v.watermark)];
  return event === null || mark === null ? null : event - mark;
};
/** @typedef {[label: string, of: (v: Vitals) => number | null, words: (n: number) => string]} Figure */
/** @typedef {{name: string, says: string, figures: Figure[], aside?: (v: Vitals) => string, wide?: boolean}} Tile   a line for each figure */
/** @type {Tile[]} */
const TILES = [
  { name: "events/s", says: "events a second that came in, and that were processed", wide: true, figures: [["in", (v) => v.in_rate, rate], ["processed", (v) => v.out_rate, rate]] },
  { name: "behind", says: "records on the topic that were not processed yet", figures: [["records", (v) => v.behind, count]], aside: (v) => counted(Object.values(v.lag ?? {}).flat().length, "partition") },
  { name: "batch", says: "time of the last micro-batch", figures: [["", (v) => v.batch_ms, span]] },
  { name: "latency", says: "from event to result", figures: [["", (v) => v.latency_ms, span]] },
  { name: "watermark", says: "how far the watermark is behind the newest event time; the watermark in UTC", figures: [["behind", behindEvents, span]], aside: (v) => shown(v.watermark ?? "", "time").slice(5, 16) },
  { name: "state", says: "rows and bytes that the query keeps", figures: [["rows", (v) => v.state_rows, count]], aside: (v) => ((v.state_bytes ?? null) === null ? "" : bytes(v.state_bytes)) },
];
const FATES = ["used", "late", "duplicate", "quarantined"];

/** Round up to a few figures and zeros, so that a scale moves seldom. @param {number} top */
function roomy(top) {
  const power = 10 ** Math.floor(Math.log10(top || 1));
  return power * ([1, 1.5, 2, 3, 5, 7].find((n) => n * power >= top) ?? 10);
}

/** Figures as tiles with small moving lines. @param {(what: string) => void} open asks for the events, or the partitions, behind a figure */
function strip(open) {
  /** @type {Vitals[]} */ let ring = [];
  /** @type {{at: number, label: string}[]} */ let marks = [];
  let pointed = /** @type {number | null} */ (null);
  const tiles = TILES.map((tile) => {
    const figures = tile.figures.map(([label]) => ({ value: h("b"), label: h("small", {}, label) }));
    const lines = tile.figures.map((_, i) => h("polyline", { class: `rta-line${i}` }));
    const cuts = h("path", { class: "rta-cut" }), cursor = h("path", { class: "rta-cursor" });
    const labels = h("div", { class: "rta-labels" });
    const aside = tile.name === "behind" ? h("button", { title: "list the partitions", onclick: () => open("lag") }) : h("span");
    const svg = h("svg", { viewBox: "0 0 240 36", preserveAspectRatio: "none", "aria-hidden": "true" }, cuts, ...lines, cursor);
    const node = h("div", { class: `rta-tile${tile.wide ? " rta-wide" : ""}`, role: "group", "aria-label": tile.name, title: tile.says, "data-tile": tile.name },
      h("div", { class: "rta-name" }, h("span", {}, tile.name), aside), h("div", { class: "rta-figures" }, ...figures.map((f) => h("span", {}, f.value, f.label))), h("div", { class: "rta-plot" }, svg, labels));
    return { ...tile, node, boxes: figures, lines, cuts, cursor, labels, margin: aside };
  });
  const fates = FATES.map((what) => {
    const value = h("b");
    const node = what === "used" ? h("span", {}, value, h("small", {}, what)) : h("button", { "data-what": what, title: `list the ${what} events`, onclick: () => open(what) }, value, h("small", {}, what));
    return { what, value, node };
  });
  const fate = h("div", { class: "rta-tile rta-fates", role: "group", "aria-label": "what became of the events", "data-tile": "events" }, h("div", { class: "rta-name" }, "events"), h("div", { class: "rta-fate" }, ...fates.map((f) => f.node)));
  const when = h("div", { class: "rta-when" });
  const row = h("div", { class: "rta-tiles" }, ...tiles.slice(0, 5).map((t) => t.node), fate, tiles[5].node);
  row.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
    const plot = /** @type {Element} */ (event.target).closest(".rta-tile")?.querySelector(".rta-plot")?.getBoundingClientRect();
    const [from, to] = range();
    pointed = plot ? from + ((event.clientX - plot.left) / plot.width) * (to - from) : null;
    draw();
  });
  row.addEventListener("pointerleave", () => { pointed = null; draw(); });

  function range() {
    const to = ring.at(-1)?.at ?? 0;
    return [Math.min(ring[0]?.at ?? 0, to - SPAN), to];
  }

  /** Name the marks beside their lines, as far as there is room; the newest first. @param {any} node @param {{label: string, x: number}[]} named */
  function label(node, named) {
    const width = node.clientWidth || 240;
    let free = width + 1;
    node.replaceChildren();
    for (const { label, x } of named.reverse()) {
      const wide = 6 * label.length + 6;
      if (x * width + wide < free) node.append(h("span", { style: `left: ${(x * width).toFixed(0)}px` }, label));
      free = x * width;
    }
  }

  function draw() {
    const [from, to] = range(), x = (/** @type {number} */ at) => ((at - from) / (to - from)) * 240;
    const now = pointed === null ? ring.at(-1) : ring.reduce((best, v) => (Math.abs(v.at - /** @type {number} */ (pointed)) < Math.abs(best.at - /** @type {number} */ (pointed)) ? v : best), ring[0]);
    const visible = marks.filter((m) => m.at >= from && m.at <= to);
    const told = pointed === null ? visible.slice(-3) : visible.filter((m) => Math.abs(x(m.at) - x(/** @type {number} */ (pointed))) < 4);
    say(when, (pointed === null || !now ? "" : `at ${clock(now.at)}${told.length ? ": " : ""}`) + told.map((m) => `${clock(m.at)} ${m.label}`).join(" · "));
    when.classList.toggle("rta-marked", told.length > 0);
    const cuts = visible.map((m) => `M${x(m.at).toFixed(1)} 0V36`).join("");
    for (const tile of tiles) {
      tile.node.hidden = !now || !ring.some((v) => tile.figures.some(([, of]) => (of(v) ?? null) !== null));
      if (tile.node.hidden || !now) continue;
      tile.figures.forEach(([, of, words], i) => {
        const value = of(now) ?? null;
        say(tile.boxes[i].value, value === null ? "–" : words(value));
      });
      const series = tile.lines.map((_, i) => ring.map((v) => [v.at, tile.figures[i][1](v)]).filter(([, y]) => (y ?? null) !== null));
      const top = roomy(1.05 * Math.max(0, ...series.flat().map(([, y]) => /** @type {number} */ (y))));
      series.forEach((points, i) => tile.lines[i].setAttribute("points", points.map(([at, y]) => `${x(/** @type {number} */ (at)).toFixed(1)},${(35 - (34 * Math.max(0, /** @type {number} */ (y))) / top).toFixed(1)}`).join(" ")));
      tile.cuts.setAttribute("d", cuts);
      tile.cursor.setAttribute("d", pointed === null ? "" : `M${x(now.at).toFixed(1)} 0V36`);
      if (tile.wide) label(tile.labels, visible.map((m) => ({ ...m, x: x(m.at) / 240 })));
      say(tile.margin, tile.aside?.(now) ?? "");
    }
    fate.hidden = !now || FATES.every((what) => (now[what] ?? null) === null);
    for (const f of fates) {
      f.node.hidden = (now?.[f.what] ?? null) === null;
      if (!f.node.hidden) say(f.value, grouped.format(now?.[f.what]));
      f.node.classList.toggle("rta-some", f.what !== "used" && now?.[f.what] > 0);
    }
  }

  return { node: h("div", { class: "rta-strip" }, row, when), /** @param {Vitals[]} vitals @param {typeof marks} events */ update: (vitals, events) => { [ring, marks] = [vitals, events]; draw(); } };
}

// ---------------------------------------------------------------- the chart

/**
 * Let the scales of a compiled chart hold still: an end of the axis moves outwards at once, inwards only if the data
 * fills less than half of it.
 * @param {any} vega
 */
function steady(vega) {
  for (const scale of vega.scales ?? []) {
    const { data, fields, field } = scale.domain ?? {};
    if (scale.type !== "linear" || !data || scale.domainMax !== undefined || !(fields ?? (typeof field === "string" && [field]))?.every((/** @type {any} */ f) => typeof f === "string")) continue;
    const names = (fields ?? [field]).map((/** @type {string} */ f, /** @type {number} */ i) => {
      const signal = `rta_${scale.name}_${i}`;
      vega.data.push({ name: `${signal}_data`, source: data, transform: [{ type: "extent", field: f, signal }] });
      return signal;
    });
    const held = `rta_${scale.name}_held`, top = `max(${names.map((/** @type {string} */ n) => `${n}[1]`).join(",")})`;
    (vega.signals ??= []).push({ name: held, value: 0, on: [{ events: names.map((/** @type {string} */ signal) => ({ signal })), update: `isValid(${top}) && (${top} > ${held} || ${top} < ${held} / 2) ? ${top} : ${held}` }] });
    scale.domainMax = { signal: `${held} > 0 ? ${held} : ${top}` };
  }
  return vega;
}

/** Copy rows: Vega marks those that it holds. @param {any[]} values */
const copied = (values) => values.map((value) => ({ ...value }));

/** A chart that takes new data without being drawn anew. @param {any} embed */
function plot(embed) {
  const node = h("div", { class: "rta-chart", hidden: "" });
  let spec = /** @type {any} */ (null), values = /** @type {any[]} */ ([]), made = /** @type {any} */ (null), turn = 0;
  const single = () => !["layer", "facet", "hconcat", "vconcat", "concat", "repeat"].some((k) => k !== "layer" && k in spec) && !spec.encoding?.row && !spec.encoding?.column && !spec.encoding?.facet;
  const room = () => Math.max(240, node.clientWidth - 2);
  const fluid = () => single() && (spec.width === undefined || spec.width === "container");
  const resized = new ResizeObserver(() => { if (made && fluid() && node.clientWidth) made.view.width(room()).runAsync(); });
  resized.observe(node);

  async function build() {
    const mine = ++turn, look = getComputedStyle(node), dim = look.getPropertyValue("--rta-dim"), line = look.getPropertyValue("--rta-line");
    const dark = luminance(look.color) > 0.5;
    const words = { labelColor: dim, titleColor: look.color, labelFont: look.fontFamily, titleFont: look.fontFamily };
    const config = { background: "transparent", font: look.fontFamily, view: { stroke: null }, title: { color: look.color }, legend: words, header: words,
      axis: { ...words, gridColor: line, domainColor: line, tickColor: line, titleFontWeight: 500, labelFontSize: 11, titleFontSize: 11, labelLimit: 120 }, axisY: { minExtent: 44 }, axisX: { minExtent: 20 }, range: dark ? { category: { scheme: "set2" } } : {} };
    const drawn = single() ? { ...spec, width: fluid() ? room() : spec.width, autosize: { type: "fit", contains: "padding", resize: true } } : spec;
    const inner = h("div");
    const first = values;
    const patch = (/** @type {any} */ vega) => {
      for (const data of vega.data) if (data.name === "rta") data.values = copied(first);
      return steady(vega);
    };
    const result = await embed(inner, { ...drawn, background: null }, { actions: false, renderer: "canvas", config, patch, tooltip: { theme: dark ? "dark" : "light" } });
    if (mine !== turn) return result.finalize();
    made?.finalize();
    made = node.rtaView = result;
    node.replaceChildren(inner);
    if (first !== values) fill();
  }

  function fill() {
    made?.view.change("rta", made.view.changeset().remove(() => true).insert(copied(values))).runAsync();
  }

  return {
    node,
    /** @param {any} wanted @param {any[]} data @param {boolean} fresh */
    update(wanted, data, fresh) {
      const other = JSON.stringify(wanted) !== JSON.stringify(spec);
      [spec, values] = [wanted, data];
      node.hidden = !spec;
      if (spec && !values.length && !made) node.replaceChildren(h("p", { class: "rta-empty" }, "no rows to draw yet"));
      else if (spec && (other || !turn)) build().catch((error) => node.replaceChildren(h("p", { class: "rta-note" }, `the chart cannot be drawn: ${error.message}`)));
      else if (spec && fresh) fill();
    },
    theme: () => { if (spec) build(); },
    close: () => { turn++; resized.disconnect(); made?.finalize(); },
  };
}

/** @param {string} color rgb(…) @returns {number} 0 black, 1 white */
function luminance(color) {
  const [r = 0, g = 0, b = 0] = (color.match(/[\d.]+/g) ?? []).map(Number);
  return (0.3 * r + 0.59 * g + 0.11 * b) / 255;
}

// ---------------------------------------------------------------- frames

/** What the page knows: nothing yet. */
const blank = () => ({ seq: -1, title: "", kind: "", mode: "", state: "", verdict: { text: "", level: "idle" }, can: ["pause", "stop", "restart"], every: 1,
  columns: /** @type {Column[]} */ ([]), key: /** @type {string[]} */ ([]), rows: /** @type {Map<number, Cell[]>} */ (new Map()), order: /** @type {number[]} */ ([]), total: /** @type {number | null} */ (null),
  history: /** @type {Vitals[]} */ ([]), marks: /** @type {{at: number, label: string}[]} */ ([]), spec: /** @type {any} */ (null), values: /** @type {any[]} */ ([]) });

/**
 * Take a frame in: it says what changed, or that it is old, or that one before it is missing.
 * @param {ReturnType<typeof blank>} now @param {Frame} frame @param {boolean} asked a full frame was asked for, so one of a kernel that counts anew is good
 * @returns {"old" | "gap" | {glow: Map<number, Set<number>>}}
 */
function take(now, frame, asked) {
  if (frame.full ? frame.seq <= now.seq && !asked : frame.seq <= now.seq) return "old";
  if (!frame.full && frame.seq !== now.seq + 1) return "gap";
  const was = now.rows, glow = new Map(), columns = now.columns;
  if (frame.full) Object.assign(now, blank());
  for (const name of ["seq", "title", "kind", "mode", "state", "verdict", "can", "every", "columns", "key", "total", "marks", "spec", "values"]) {
    if (name in frame) /** @type {any} */ (now)[name] = frame[name];
  }
  if (JSON.stringify(columns) === JSON.stringify(now.columns)) now.columns = columns; // the same: widths and sort stay
  for (const [id, cells] of frame.put ?? []) {
    const old = was.get(id);
    const fresh = cells.map((/** @type {Cell} */ cell, /** @type {number} */ i) => (old && Object.is(old[i], cell) ? -1 : i)).filter((/** @type {number} */ i) => i >= 0);
    if (fresh.length && was.size) glow.set(id, new Set(fresh));
    now.rows.set(id, fresh.length || !old ? cells : old);
  }
  if (frame.order) {
    now.order = frame.order.filter((/** @type {number} */ id) => now.rows.has(id));
    const kept = new Set(now.order);
    for (const id of now.rows.keys()) if (!kept.has(id)) now.rows.delete(id);
  }
  const vitals = [...(frame.history ?? []), ...(frame.vitals ? [frame.vitals] : [])];
  for (const v of vitals) if (v.at > (now.history.at(-1)?.at ?? -1)) now.history.push(v);
  now.history.splice(0, now.history.length - RING);
  return { glow };
}

// ---------------------------------------------------------------- the page

const BUTTONS = /** @type {const} */ ({ pause: ["running"], resume: ["paused"], stop: ["running", "paused"], restart: ["running", "paused", "stopped", "ended", "failed"] });
const DOING = { pause: "pausing", resume: "resuming", stop: "stopping", restart: "restarting" };

/**
 * Show a live view in an element, until the returned function is called.
 * @param {HTMLElement} el @param {Channel} channel
 */
export function mount(el, { send, listen, chart = typeof vegaEmbed === "function" ? vegaEmbed : null }) {
  const now = blank();
  let queue = /** @type {Frame[]} */ ([]), drawing = 0, asked = 0, heard = Date.now(), gone = false, missed = false;
  let wish = /** @type {{what: keyof typeof BUTTONS, at: number} | null} */ (null);
  let panel = /** @type {any} */ (null);

  const title = h("strong", { class: "rta-title" }), kind = h("span", { class: "rta-kind" }), state = h("span", { class: "rta-state", role: "status" }), verdict = h("span", { class: "rta-verdict" });
  const buttons = ["pause", "stop", "restart"].map((what) => h("button", { "data-do": what, onclick: (/** @type {any} */ e) => press(e.currentTarget) }));
  const note = h("p", { class: "rta-note", role: "status", hidden: "" });
  const table = grid("rows"), figures = strip(open), picture = chart ? plot(chart) : null;
  const drawer = h("div", { class: "rta-drawer", hidden: "", onkeydown: (/** @type {KeyboardEvent} */ e) => { if (e.key === "Escape") shut(); } });
  const parts = h("div", { class: "rta-body" }, ...(picture ? [picture.node] : []), table.node);
  const root = h("section", { class: "rta-live", "aria-label": "live view", "data-lm-suppress-shortcuts": "true" },
    h("style", {}, STYLE), h("header", {}, h("span", { class: "rta-dot", "aria-hidden": "true" }), title, kind, state, verdict, h("span", { class: "rta-buttons" }, ...buttons)), note, figures.node, drawer, parts);
  el.append(root);

  /** @param {any} button */
  function press(button) {
    if (button.getAttribute("aria-disabled") === "true") return;
    wish = { what: button.dataset.do, at: Date.now() };
    tell({ do: wish.what });
    drawHead();
  }

  /** @param {object} message */
  function tell(message) {
    try {
      send(message);
    } catch (error) {
      console.warn("rta: the kernel cannot be reached", error); // its channel is closed
      lost();
    }
  }

  /** Say that what is seen is the last picture, until news come. */
  function lost() {
    gone = true;
    drawHead();
  }

  function hello() {
    asked = Date.now();
    tell({ do: "hello" });
  }

  /** @param {string} what */
  function open(what) {
    if (panel?.what === what) return shut();
    shut();
    const rows = grid(what), said = h("span", { class: "rta-said" }, what === "lag" ? "" : "asking the kernel…");
    panel = { what, rows, said, at: Date.now(), from: document.activeElement, full: what === "lag" };
    drawer.replaceChildren(h("div", { class: "rta-drawer-head" }, h("strong", {}, what === "lag" ? "behind, by partition" : `${what} events`), said, h("button", { "aria-label": `close ${what}`, onclick: shut }, "close")), rows.node);
    rows.node.hidden = true;
    drawer.hidden = false;
    if (what === "lag") drawLag();
    else tell({ do: "list", what });
  }

  function shut() {
    if (!panel) return;
    panel.rows.close();
    if (drawer.contains(document.activeElement)) panel.from?.focus?.();
    panel = null;
    drawer.hidden = true;
  }

  function drawLag() {
    const lag = Object.entries(now.history.at(-1)?.lag ?? {}), flat = lag.flatMap(([topic, parts]) => parts.map((/** @type {number} */ n, /** @type {number} */ p) => [topic, p, n]));
    panel.columns ??= [{ name: "topic", type: "text" }, { name: "partition", type: "number" }, { name: "records behind", type: "number" }];
    fillPanel(panel.columns, flat);
  }

  /** @param {Column[]} columns @param {Cell[][]} rows */
  function fillPanel(columns, rows) {
    panel.rows.node.hidden = !rows.length;
    panel.rows.update({ columns, rows: new Map(rows.map((cells, i) => [i, cells])), order: rows.map((_, i) => i), total: null });
  }

  /** @param {Frame} list */
  function answer(list) {
    if (panel?.what !== list.what) return;
    panel.full = true;
    say(panel.said, list.note ?? (list.rows.length ? "" : "none"));
    fillPanel(list.columns, list.rows);
  }

  function drawHead() {
    const silent = Date.now() - heard, limit = 1000 * Math.max(10, 5 * now.every), alive = ["running", "paused", ""].includes(now.state);
    const stale = gone || (alive && silent > limit);
    root.classList.toggle("rta-stale", stale);
    root.dataset.level = stale ? "idle" : now.verdict?.level ?? "idle";
    root.dataset.state = now.state;
    say(title, now.title);
    say(kind, [now.kind, now.kind === "query" ? now.mode : ""].filter(Boolean).join(", "));
    say(state, `${stale ? "was " : ""}${now.state || "waiting"}`);
    say(verdict, now.verdict?.text ?? "");
    root.setAttribute("aria-label", `live view of ${now.title}`);
    for (const button of buttons) {
      const what = button.dataset.do === "pause" || button.dataset.do === "resume" ? (now.state === "paused" ? "resume" : "pause") : button.dataset.do;
      button.dataset.do = what;
      button.hidden = !now.can.includes(what === "resume" ? "pause" : what);
      button.setAttribute("aria-disabled", String(gone || !(/** @type {any} */ (BUTTONS)[what].includes(now.state))));
      button.setAttribute("aria-label", `${what} ${now.title}`);
      say(button, what);
    }
    const picture = now.seq < 0 ? "" : `; the picture is of ${clock(heard)}`;
    const waits = wish ?? (panel && !panel.full ? { what: "list", at: panel.at } : null), long = waits && Date.now() - waits.at > 3000;
    const text = gone ? `the kernel is gone: nothing moves any more${picture}`
      : stale ? `no news for ${span(silent)}: is the kernel alive?${picture.replace(";", "")}`
      : waits && (wish || long) ? `${wish ? DOING[wish.what] : "asking"}…${long ? " the kernel has not answered yet: is a cell running?" : ""}` : "";
    say(note, text);
    note.hidden = !text;
  }

  /** Draw all that came since the last picture, once. */
  function draw() {
    drawing = 0;
    if (document.hidden) { missed = true; queue = []; return; }
    const frames = queue, glow = new Map(), [before, spec, values, columns] = [now.state, now.spec, now.values, now.columns];
    let rows = false, strips = false, drew = false;
    queue = [];
    for (const frame of frames) {
      const news = take(now, frame, asked > 0);
      if (news === "gap" && (!asked || Date.now() - asked > 2000)) hello();
      if (typeof news === "string") continue;
      if (frame.full) asked = 0;
      for (const [id, cells] of news.glow) glow.set(id, new Set([...(glow.get(id) ?? []), ...cells]));
      drew = true;
      rows ||= frame.full || frame.put || frame.order || "total" in frame;
      strips ||= frame.full || frame.vitals || frame.marks;
      if (frame.full || now.state !== before) wish = null;
      if (frame.list) answer(frame.list);
    }
    if (!drew) return drawHead();
    drawHead();
    if (strips) figures.update(now.history, now.marks);
    if (strips && panel?.what === "lag") drawLag();
    if (rows || columns !== now.columns) table.update({ columns: now.columns, rows: now.rows, order: now.order, total: now.total, glow });
    table.node.hidden = !now.columns.length;
    if (picture && (now.spec || spec)) picture.update(now.spec, now.values, now.values !== values);
    tell({ do: "ack", seq: now.seq });
  }

  /** @param {Frame} frame */
  function hear(frame) {
    [heard, gone] = [Date.now(), false];
    if (document.hidden) { missed = true; return; } // nothing is drawn for nobody; a full frame comes when somebody looks
    queue.push(frame);
    drawing ||= requestAnimationFrame(draw);
  }

  function tick() {
    if (!document.hidden) drawHead();
  }
  function seen() {
    if (document.hidden) return;
    if (missed) asked = 0;
    missed = false;
    hello();
  }
  const theme = () => picture?.theme();
  const scheme = matchMedia("(prefers-color-scheme: dark)"), lab = new MutationObserver(theme);
  scheme.addEventListener("change", theme);
  lab.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name"] });
  document.addEventListener("visibilitychange", seen);
  const timer = setInterval(tick, 1000);
  const deaf = listen(hear, lost);
  drawHead();
  hello();

  return () => {
    deaf?.();
    clearInterval(timer);
    cancelAnimationFrame(drawing);
    scheme.removeEventListener("change", theme);
    lab.disconnect();
    document.removeEventListener("visibilitychange", seen);
    shut();
    table.close();
    picture?.close();
    root.remove();
  };
}

/** @param {{model: any, el: HTMLElement}} cell */
function render({ model, el }) {
  return mount(el, {
    send: (message) => model.send(message),
    listen(hear, lost) {
      model.on("msg:custom", hear);
      model.on("comm_live_update", lost); // the kernel ended or began anew
      return () => {
        model.off("msg:custom", hear);
        model.off("comm_live_update", lost);
      };
    },
  });
}

export default { render };

const STYLE = `
.rta-live {
  --rta-bg: var(--jp-layout-color0, #fff); --rta-raised: var(--jp-layout-color1, #fff); --rta-tint: var(--jp-layout-color2, #f3f4f6);
  --rta-ink: var(--jp-ui-font-color1, #1f2328); --rta-dim: var(--jp-ui-font-color2, #656d76); --rta-line: var(--jp-border-color2, #d8dee4);
  --rta-brand: var(--jp-brand-color1, #1976d2); --rta-second: var(--jp-accent-color1, #2e9e6b); --rta-hot: color-mix(in srgb, var(--jp-brand-color1, #1976d2) 28%, transparent);
  --rta-good: var(--jp-success-color1, #2e8540); --rta-warn: var(--jp-warn-color1, #d98200); --rta-bad: var(--jp-error-color1, #d32f2f); --rta-idle: var(--jp-ui-font-color3, #9aa2ab);
  container-type: inline-size; box-sizing: border-box; max-width: 100%; padding: 8px 10px; border: 1px solid var(--rta-line); border-radius: 4px;
  background: var(--rta-bg); color: var(--rta-ink); font: 13px/1.4 var(--jp-ui-font-family, system-ui, -apple-system, "Segoe UI", Roboto, sans-serif); font-variant-numeric: tabular-nums;
}
@media (prefers-color-scheme: dark) {
  .rta-live {
    --rta-bg: var(--jp-layout-color0, #14171c); --rta-raised: var(--jp-layout-color1, #1a1e24); --rta-tint: var(--jp-layout-color2, #222831);
    --rta-ink: var(--jp-ui-font-color1, #e3e7ec); --rta-dim: var(--jp-ui-font-color2, #9aa4b0); --rta-line: var(--jp-border-color2, #2f3640); --rta-idle: var(--jp-ui-font-color3, #6b7480);
    --rta-brand: var(--jp-brand-color1, #64a8f0); --rta-second: var(--jp-accent-color1, #63c794); --rta-hot: color-mix(in srgb, var(--jp-brand-color1, #64a8f0) 32%, transparent);
    --rta-good: var(--jp-success-color1, #57ab5a); --rta-warn: var(--jp-warn-color1, #e0a030); --rta-bad: var(--jp-error-color1, #f4645a);
  }
}
.rta-live *, .rta-live *::before { box-sizing: border-box; }
.rta-live [hidden] { display: none !important; }
.rta-live[data-level=good] { --rta-level: var(--rta-good); } .rta-live[data-level=warn] { --rta-level: var(--rta-warn); }
.rta-live[data-level=bad] { --rta-level: var(--rta-bad); } .rta-live[data-level=idle] { --rta-level: var(--rta-idle); }
.rta-live header { display: flex; flex-wrap: wrap; align-items: center; gap: 2px 8px; min-height: 28px; }
.rta-dot { width: 9px; height: 9px; border-radius: 50%; background: var(--rta-level); flex: none; }
.rta-title { font-size: 14px; font-weight: 600; overflow-wrap: anywhere; }
.rta-kind, .rta-state { color: var(--rta-dim); font-size: 12px; }
.rta-verdict { padding: 1px 8px; border-radius: 9px; background: color-mix(in srgb, var(--rta-level) 16%, transparent); overflow-wrap: anywhere; }
.rta-verdict:empty { display: none; }
.rta-buttons { display: inline-flex; gap: 4px; margin-left: auto; }
.rta-live button { font: inherit; color: inherit; background: none; border: 0; border-radius: 3px; padding: 0; margin: 0; cursor: pointer; text-align: inherit; }
.rta-buttons button, .rta-drawer-head button { border: 1px solid var(--rta-line); background: var(--rta-raised); padding: 2px 10px; font-size: 12px; }
.rta-live button:hover { background: var(--rta-tint); }
.rta-live button[aria-disabled=true] { opacity: .45; cursor: default; }
.rta-live :focus-visible { outline: 2px solid var(--rta-brand); outline-offset: 1px; }
.rta-note { margin: 6px 0 0; padding: 3px 8px; border-left: 3px solid var(--rta-warn); background: color-mix(in srgb, var(--rta-warn) 12%, transparent); }
.rta-tiles { display: flex; flex-wrap: wrap; gap: 6px; margin-top: 8px; }
.rta-tile { flex: 1 1 112px; min-width: 0; padding: 4px 8px 5px; border: 1px solid var(--rta-line); border-radius: 3px; background: var(--rta-raised); }
.rta-tile.rta-wide { flex: 3 1 210px; } .rta-tile:is([data-tile=state], [data-tile=behind]) { flex-basis: 150px; } .rta-tile[data-tile=watermark] { flex-basis: 162px; }
.rta-name { display: flex; justify-content: space-between; gap: 8px; color: var(--rta-dim); font-size: 11px; white-space: nowrap; }
.rta-name > :last-child { overflow: hidden; text-overflow: ellipsis; } .rta-live .rta-name button { text-decoration: underline dotted; text-underline-offset: 2px; }
.rta-figures { display: flex; gap: 12px; white-space: nowrap; overflow: hidden; }
.rta-tile b { font-size: 15px; font-weight: 600; } .rta-tile small { margin-left: 4px; color: var(--rta-dim); font-size: 11px; }
.rta-wide .rta-figures span:first-child b { color: var(--rta-brand); } .rta-wide .rta-figures span:last-child b { color: var(--rta-second); }
.rta-plot { position: relative; } .rta-plot svg { display: block; width: 100%; height: 28px; overflow: visible; }
.rta-plot :is(polyline, path) { fill: none; stroke-width: 1.4; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
.rta-line0 { stroke: var(--rta-brand); } .rta-line1 { stroke: var(--rta-second); }
.rta-plot .rta-cut { stroke: var(--rta-bad); stroke-width: 1; } .rta-plot .rta-cursor { stroke: var(--rta-dim); stroke-width: 1; }
.rta-labels { position: absolute; inset: 0; overflow: hidden; pointer-events: none; } .rta-labels span { position: absolute; top: 0; padding: 0 3px; font-size: 10px; line-height: 12px; color: var(--rta-bad); white-space: nowrap; }
.rta-fate { display: grid; grid-template-columns: max-content max-content; gap: 1px 14px; margin-top: 1px; } .rta-fate > * { white-space: nowrap; }
.rta-tile.rta-fates { flex: 1 1 236px; } .rta-fate b { font-size: 14px; } .rta-fate button small { text-decoration: underline dotted; text-underline-offset: 2px; } .rta-fate .rta-some b { color: var(--rta-bad); }
.rta-when { height: 15px; margin: 2px 0 -6px; color: var(--rta-dim); font-size: 11px; line-height: 15px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; } .rta-marked::before { content: "│ "; color: var(--rta-bad); }
.rta-drawer { margin-top: 6px; padding: 6px 8px; border: 1px solid var(--rta-line); border-radius: 3px; }
.rta-drawer-head { display: flex; align-items: center; gap: 10px; } .rta-drawer-head button { margin-left: auto; } .rta-said { color: var(--rta-dim); }
.rta-body { display: grid; gap: 10px; margin-top: 6px; } .rta-body > * { min-width: 0; }
@container (min-width: 980px) { .rta-body:has(.rta-chart:not([hidden])) { grid-template-columns: 1fr 1fr; } }
.rta-chart { overflow-x: auto; min-height: 60px; } .rta-empty { color: var(--rta-dim); }
.rta-bar { display: flex; align-items: center; gap: 10px; margin: 4px 0; }
.rta-bar input { font: inherit; width: 150px; min-width: 60px; padding: 1px 6px; color: inherit; background: var(--rta-raised); border: 1px solid var(--rta-line); border-radius: 3px; } .rta-counts { color: var(--rta-dim); }
.rta-scroller { max-height: 330px; overflow: auto; overflow-anchor: none; contain: content; resize: vertical; border: 1px solid var(--rta-line); border-radius: 3px; background: var(--rta-raised); }
.rta-drawer .rta-scroller { max-height: 190px; }
.rta-live table { table-layout: fixed; min-width: 100%; border-collapse: separate; border-spacing: 0; margin: 0; font-size: 12.5px; }
.rta-live thead { position: sticky; top: 0; z-index: 1; }
.rta-live th { height: 25px; padding: 0; background: var(--rta-tint); border-bottom: 1px solid var(--rta-line); font-weight: 600; text-align: left; }
.rta-live th button { display: flex; width: 100%; height: 24px; align-items: center; gap: 3px; padding: 0 9px; white-space: nowrap; } .rta-live th span { overflow: hidden; text-overflow: ellipsis; } .rta-live th i { font-style: normal; font-size: 8px; }
.rta-live td { height: ${ROW}px; padding: 0 9px; line-height: ${ROW - 1}px; border-bottom: 1px solid color-mix(in srgb, var(--rta-line) 50%, transparent); white-space: nowrap; text-align: left; }
.rta-live td:not([data-type=number], [data-type=time], [data-type=bool]) { overflow: hidden; text-overflow: ellipsis; }
.rta-live [data-type=number], .rta-live [data-type=decimal] { text-align: right; } .rta-live th:is([data-type=number], [data-type=decimal]) button { flex-direction: row-reverse; }
.rta-live td[data-type=json] { font-family: var(--jp-code-font-family, ui-monospace, monospace); font-size: 12px; }
.rta-live tr:hover td { background: var(--rta-tint); } .rta-live .rta-null { color: var(--rta-idle); font-style: italic; }
.rta-live .rta-hot { animation: rta-hot 1.4s ease-out; } .rta-live .rta-hot2 { animation: rta-hot2 1.4s ease-out; }
@keyframes rta-hot { from { background-color: var(--rta-hot); } } @keyframes rta-hot2 { from { background-color: var(--rta-hot); } }
.rta-stale .rta-verdict { opacity: .6; } .rta-stale > :is(.rta-strip, .rta-body, .rta-drawer) { filter: grayscale(1); opacity: .5; }
@media (prefers-reduced-motion: reduce) { .rta-live * { animation: none !important; transition: none !important; } }
@container (max-width: 420px) { .rta-buttons { margin-left: 0; width: 100%; } .rta-buttons button { flex: 1; text-align: center; padding: 5px; } .rta-tile.rta-wide { flex-basis: 100%; } }
`;
