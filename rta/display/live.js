/**
 * The page of a live view: a strip of figures, a table that updates in place, a chart.
 *
 * One module for the cell (`render`, by anywidget) and for a dashboard (`mount`); it stands alone, for a widget's
 * module is one text. Frames come from the kernel: a full one holds all, the next ones what changed. Whatever comes
 * from events becomes a text node: no markup is ever made of data.
 *
 * @typedef {null | boolean | string | number} Cell
 * @typedef {{name: string, type: "text" | "number" | "decimal" | "time" | "bool" | "json"}} Column
 * @typedef {Record<string, any>} Frame   seq, and what is new: columns, put, order, vitals, …; if it is full, all
 * @typedef {Record<string, any> & {at: number}} Vitals   figures of a moment
 * @typedef {{at: number, label: string}} Mark   what happened, on the time axis
 * @typedef {Map<number, Set<number>>} Glow   the cells that changed, by row
 * @typedef {{columns: Column[], rows: Map<number, Cell[]>, order: number[], total: number | null}} Rows
 *
 * @typedef {object} Channel
 * @property {(message: object) => void} send   to the kernel; it may throw if there is none any more
 * @property {(hear: (frame: Frame) => void, lost: (why?: string) => void) => (() => void) | void} listen   returns how to end
 * @property {any} [chart]   vegaEmbed; without it there are no charts
 */

const ROW = 24; // px: each row of a table is as high, so that a place is a row's number
const SPARE = 12; // rows drawn above and below what is seen
const WIDEST = 40; // characters of a column
const MEASURED = 500; // rows that tell how wide columns are at first
const RING = 240; // vitals in the small lines
const SPAN = 30_000; // ms: the small lines show at least as much
const PLOT = { width: 240, height: 36 }; // their units
const GLOW = /** @type {[string, number][]} */ ([["rta-hot", 500], ["rta-warm", 1_300]]); // how what changed looks, and for how many ms
const PATIENCE = 3_000; // ms: then a person is told what the page waits for

// ---------------------------------------------------------------- words for figures

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 20 });
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 3 });
const words = new Intl.Collator("en", { numeric: true });

/** @param {number} n */
const count = (n) => (Math.abs(n) < 1e6 ? grouped.format(Math.round(n)) : compact.format(n));
/** @param {number} n */
const rate = (n) => (Math.abs(n) < 10 ? grouped.format(Math.round(n * 10) / 10) : count(n));
/** Three digits, or all before the point. @param {number} n */
const figure = (n) => (n >= 100 ? count(n) : grouped.format(Number(n.toPrecision(3))));
/** @param {number} n */
function bytes(n) {
  const power = Math.min(4, Math.floor(Math.log10(Math.max(1, n)) / 3));
  return `${Number((n / 1000 ** power).toPrecision(3))} ${["B", "kB", "MB", "GB", "TB"][power]}`;
}
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

/**
 * Say a cell in words: integers with separators, decimals as they came, times without T and Z.
 * @param {Cell} cell @param {string} type
 */
function shown(cell, type) {
  const text = String(cell ?? null);
  if (type === "number" && /^-?\d+$/.test(text)) return text.replace(/\B(?=(\d{3})+$)/g, ",");
  return type === "time" ? text.replace("T", " ").replace(/(?:\.0+)?(?:Z|\+00:00)$/, "") : text;
}

/** Order two exact decimals that floats cannot tell apart. @param {string} a @param {string} b */
function exactly(a, b) {
  if (![a, b].every((text) => /^-?\d+(\.\d+)?$/.test(text))) return words.compare(a, b);
  const [[i, f = ""], [j, g = ""]] = [a.split("."), b.split(".")], digits = Math.max(f.length, g.length);
  const [x, y] = [BigInt(i + f.padEnd(digits, "0")), BigInt(j + g.padEnd(digits, "0"))];
  return x < y ? -1 : x > y ? 1 : 0;
}

/** Order two cells by their type; null is the least, NaN the greatest. @param {Cell} a @param {Cell} b @param {string} type */
function compare(a, b, type) {
  if (a === b) return 0;
  if (a === null || b === null) return a === null ? -1 : 1;
  const [s, t] = [String(a), String(b)];
  if (type === "text" || type === "json") return words.compare(s, t);
  const [x, y] = type === "time" ? [Date.parse(s), Date.parse(t)] : [Number(a), Number(b)];
  if (Number.isNaN(x) || Number.isNaN(y)) return Number(Number.isNaN(x)) - Number(Number.isNaN(y));
  if (x !== y) return x < y ? -1 : 1;
  return type === "time" ? words.compare(s, t) : exactly(s, t);
}

// ---------------------------------------------------------------- elements

const SVG = new Set(["svg", "polyline", "path"]);

/**
 * Make an element; strings among the children become text.
 * @param {string} tag @param {Record<string, any>} [traits] attributes, and listeners as onclick
 * @param {...(Node | string)} children @returns {any}
 */
function h(tag, traits = {}, ...children) {
  const svg = "http://www.w3.org/2000/svg";
  const node = SVG.has(tag) ? document.createElementNS(svg, tag) : document.createElement(tag);
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
  let now = /** @type {Rows} */ ({ columns: [], rows: new Map(), order: [], total: null });
  let glow = /** @type {Glow} */ (new Map()), cooling = 0;
  let places = /** @type {number[]} */ ([]); // ids from the top of the table to its end
  let widths = /** @type {number[]} */ ([]);
  let sort = { at: -1, down: false };
  const texts = new WeakMap(), live = new Map(); // text of rows, elements of those that are drawn
  const warm = new Map(); // cells that glow → since when
  let spare = /** @type {any[]} */ ([]); // elements of rows that are not seen any more

  const counts = h("span", { class: "rta-counts" });
  const filter = h("input", {
    type: "search", placeholder: "filter", "aria-label": `filter ${name}`, spellcheck: "false", oninput: again,
  });
  const head = h("tr"), cols = h("colgroup"), above = h("tr"), below = h("tr");
  const body = h("tbody", {}, above, below);
  const table = h("table", { "aria-label": name }, cols, h("thead", {}, head), body);
  const scroller = h("div", {
    class: "rta-scroller", tabindex: "0", role: "region", "aria-label": `${name}, rows`, onscroll: drawRows,
  }, table);
  const resized = new ResizeObserver(drawRows);
  resized.observe(scroller);

  /** The person wants another order or other rows: they begin at the top. */
  function again() {
    arrange();
    drawSort();
    scroller.scrollTop = 0;
    drawRows();
  }

  /** @param {number} at */
  function sortBy(at) {
    if (sort.at !== at) sort = { at, down: false };
    else sort = sort.down ? { at: -1, down: false } : { at, down: true };
    again();
  }

  function drawSort() {
    now.columns.forEach((_, i) => {
      const mine = sort.at === i;
      head.children[i].setAttribute("aria-sort", mine ? (sort.down ? "descending" : "ascending") : "none");
      say(head.children[i].querySelector("i"), mine ? (sort.down ? "▼" : "▲") : "");
    });
  }

  /** Begin anew for other columns. */
  function drawHead() {
    head.replaceChildren(...now.columns.map(({ name, type }, i) => {
      const title = `${name}: ${type}${type === "time" ? ", UTC" : ""}; sort`;
      const button = h("button", { title, onclick: () => sortBy(i) }, h("span", {}, name), h("i", { "aria-hidden": "true" }));
      return h("th", { scope: "col", "data-type": type }, button);
    }), h("th", { "aria-hidden": "true" }));
    if (sort.at >= now.columns.length) sort = { at: -1, down: false };
    for (const tr of live.values()) tr.remove();
    live.clear();
    spare = [];
    widths = now.columns.map((c) => c.name.length + 2);
    widen([...now.rows.values()].slice(-MEASURED), true);
  }

  /** Widen columns for what came; they never shrink, so nothing jumps. @param {Cell[][]} news @param {boolean} grew */
  function widen(news, grew) {
    for (const cells of news) {
      now.columns.forEach((c, i) => {
        const wide = Math.min(WIDEST, shown(cells[i], c.type).length);
        if (wide > widths[i]) [widths[i], grew] = [wide, true];
      });
    }
    if (!grew) return;
    cols.replaceChildren(...widths.map((wide) => h("col", { style: `width: calc(${wide}ch + 18px)` })), h("col"));
    table.style.width = `calc(${widths.reduce((a, b) => a + b, 0)}ch + ${18 * widths.length}px)`;
  }

  /** @param {number} id @returns {Cell[]} */
  const cellsOf = (id) => now.rows.get(id) ?? [];

  /** @param {number} id */
  function text(id) {
    const cells = cellsOf(id), said = () => cells.map((cell, i) => shown(cell, now.columns[i]?.type)).join("\n");
    if (!texts.has(cells)) texts.set(cells, said().toLowerCase());
    return texts.get(cells);
  }

  /** Find out which rows are shown, in which order, and say how many they are. */
  function arrange() {
    const wanted = filter.value.trim().toLowerCase(), { at, down } = sort, type = now.columns[at]?.type;
    places = wanted ? now.order.filter((id) => text(id).includes(wanted)) : now.order.slice();
    if (type) places.sort((a, b) => (down ? -1 : 1) * compare(cellsOf(a)[at], cellsOf(b)[at], type));
    const held = grouped.format(now.order.length), more = now.total !== null && now.total !== now.order.length;
    const all = more ? grouped.format(now.total ?? 0) : "";
    if (wanted) say(counts, `${grouped.format(places.length)} of ${held} shown${all && `, ${all} in all`}`);
    else say(counts, `${held}${all && ` of ${all}`} row${held === "1" && !all ? "" : "s"}`);
  }

  /** Where the row at the top of what the person looks at is now, though others came and went. @param {number[]} before */
  function held(before) {
    const top = scroller.scrollTop, first = Math.floor(top / ROW);
    if (top < ROW) return top;
    const found = new Map(places.map((id, at) => [id, at]));
    for (let at = first; at < before.length; at++) {
      const moved = found.get(before[at]);
      if (moved !== undefined) return (moved - (at - first)) * ROW + (top % ROW);
    }
    return top;
  }

  /** How a cell glows now; it fades in steps, since an animation would paint all of them sixty times a second. @param {any} td */
  function warmth(td) {
    const age = Date.now() - (warm.get(td) ?? 0), found = GLOW.find(([, until]) => age < until);
    if (!found) warm.delete(td);
    return found?.[0] ?? "";
  }

  function cool() {
    for (const td of [...warm.keys()]) {
      const look = warmth(td);
      for (const [name] of GLOW) td.classList.toggle(name, name === look);
    }
    cooling = warm.size ? setTimeout(cool, 400) : 0;
  }

  /** @param {any} tr @param {number} id */
  function fill(tr, id) {
    const cells = cellsOf(id), hot = glow.get(id), same = tr.idDrawn === id;
    if (tr.cellsDrawn === cells && same && !hot) return;
    now.columns.forEach((c, i) => {
      const td = tr.children[i], said = shown(cells[i], c.type);
      say(td, said);
      if (said.length > WIDEST || td.title) td.title = said.length > WIDEST ? said : "";
      if (hot?.has(i)) warm.set(td, Date.now());
      else if (!same) warm.delete(td);
      const look = `${cells[i] === null ? "rta-null " : ""}${warmth(td)}`;
      if (td.className !== look) td.className = look;
    });
    [tr.cellsDrawn, tr.idDrawn] = [cells, id];
  }

  const blankRow = () => h("tr", {}, ...now.columns.map((c) => h("td", { "data-type": c.type })), h("td"));

  /** Draw the rows that are seen; elements of rows that stay are kept, so a selection stays too. */
  function drawRows() {
    const top = Math.min(Math.floor(scroller.scrollTop / ROW), places.length), first = Math.max(0, top - SPARE);
    const last = Math.min(places.length, first + Math.ceil((scroller.clientHeight || 330) / ROW) + 2 * SPARE);
    const wanted = places.slice(first, last), keep = new Set(wanted);
    for (const [id, tr] of live) {
      if (keep.has(id)) continue;
      live.delete(id);
      tr.remove();
      spare.push(tr);
    }
    let next = above.nextSibling;
    wanted.forEach((id, i) => {
      const tr = live.get(id) ?? spare.pop() ?? blankRow();
      live.set(id, tr);
      if (tr === next) next = next.nextSibling;
      else body.insertBefore(tr, next);
      tr.setAttribute("aria-rowindex", String(first + i + 2));
      fill(tr, id);
    });
    spare.splice(2 * SPARE);
    above.style.height = `${first * ROW}px`;
    below.style.height = `${(places.length - last) * ROW}px`;
    table.setAttribute("aria-rowcount", String(places.length + 1));
  }

  return {
    node: h("div", { class: "rta-grid" }, h("div", { class: "rta-bar" }, filter, counts), scroller),
    /** @param {Rows} news @param {Glow} [hot] */
    update(news, hot = new Map()) {
      const before = places, other = news.columns !== now.columns;
      [now, glow] = [{ ...news }, hot];
      if (other) drawHead();
      else widen([...glow.keys()].map(cellsOf), false);
      arrange();
      drawSort();
      const top = held(before);
      above.style.height = "0px"; // room to scroll in, whatever was drawn before
      below.style.height = `${places.length * ROW}px`;
      if (Math.abs(top - scroller.scrollTop) >= 1) scroller.scrollTop = top;
      drawRows();
      glow = new Map();
      cooling ||= warm.size && setTimeout(cool, 400);
    },
    close() {
      resized.disconnect();
      clearTimeout(cooling);
    },
  };
}

// ---------------------------------------------------------------- tiles

/** The rows of a view as tiles: a large figure each, its change, a small line. */
function headline() {
  const node = h("div", { class: "rta-kpis", hidden: "" });
  const drawn = new Map(); // name → elements, and the cells that they show

  /** @param {Cell[]} cells */
  function tileOf([name]) {
    const parts = { value: h("b"), unit: h("small"), change: h("div", { class: "rta-change" }), line: h("polyline", { class: "rta-line0" }) };
    const box = { viewBox: `0 0 ${PLOT.width} ${PLOT.height}`, preserveAspectRatio: "none", "aria-hidden": "true" };
    const label = h("div", { class: "rta-name" }, h("span", {}, String(name)));
    const plot = h("div", { class: "rta-plot" }, h("svg", box, parts.line));
    const tile = h("div", { class: "rta-kpi", role: "group", "aria-label": String(name) }, label, h("div", {}, parts.value, parts.unit), parts.change, plot);
    return { tile, plot, ...parts, cells: /** @type {Cell[]} */ ([]) };
  }

  /** @param {any} parts @param {Cell[]} cells */
  function fill(parts, cells) {
    const [, value, unit, change, than, trend, past] = cells, by = Number(change), before = than || "before";
    say(parts.value, String(value));
    say(parts.unit, String(unit ?? ""));
    const said = by ? `${by > 0 ? "▲" : "▼"} ${figure(Math.abs(by))} than ${before}` : `= as ${before}`;
    say(parts.change, known(change) ? said : "");
    parts.change.dataset.trend = trend ?? "";
    const line = JSON.parse(String(past ?? "[]")), low = Math.min(...line), wide = Math.max(...line) - low || 1;
    parts.plot.hidden = line.length < 2;
    const x = (/** @type {number} */ at) => (at / (line.length - 1)) * PLOT.width;
    const y = (/** @type {number} */ n) => PLOT.height - 1 - ((PLOT.height - 2) * (n - low)) / wide;
    if (line.length > 1) parts.line.setAttribute("points", line.map((/** @type {number} */ n, /** @type {number} */ at) => `${x(at).toFixed(1)},${y(n).toFixed(1)}`).join(" "));
    parts.cells = cells;
  }

  return {
    node,
    /** @param {Rows} rows */
    update({ rows, order }) {
      const shown = order.map((id) => rows.get(id) ?? []), names = new Set(shown.map(([name]) => name));
      for (const [name, { tile }] of drawn) {
        if (names.has(name)) continue;
        tile.remove();
        drawn.delete(name);
      }
      shown.forEach((cells, at) => {
        const [name] = cells, parts = drawn.get(name) ?? tileOf(cells);
        drawn.set(name, parts);
        if (node.children[at] !== parts.tile) node.insertBefore(parts.tile, node.children[at] ?? null);
        if (parts.cells !== cells) fill(parts, cells);
      });
    },
  };
}

// ---------------------------------------------------------------- the strip of figures

/** @typedef {[label: string, of: (v: Vitals) => number | null | undefined, words: (n: number) => string]} Figure */
/** @typedef {{name: string, says: string, figures: Figure[], aside?: (v: Vitals) => string, wide?: boolean}} Tile */

/** @param {Vitals} v how far the watermark is behind the newest event, in ms */
const behindEvents = (v) => (v.event_time && v.watermark ? Date.parse(v.event_time) - Date.parse(v.watermark) : null);

/** Each figure of a tile has a line. @type {Tile[]} */
const TILES = [
  {
    name: "events/s", says: "events a second that came in, and that were processed", wide: true,
    figures: [["in", (v) => v.in_rate, rate], ["processed", (v) => v.out_rate, rate]],
  },
  {
    name: "behind", says: "records on the topic that were not processed yet",
    figures: [["records", (v) => v.behind, count]],
    aside: (v) => counted(Object.values(v.lag ?? {}).flat().length, "partition"),
  },
  { name: "batch", says: "time of the last micro-batch", figures: [["", (v) => v.batch_ms, span]] },
  { name: "latency", says: "from event to result", figures: [["", (v) => v.latency_ms, span]] },
  {
    name: "watermark", says: "how far the watermark is behind the newest event time; the watermark, UTC",
    figures: [["behind", behindEvents, span]], aside: (v) => shown(v.watermark ?? "", "time").slice(5, 16),
  },
  {
    name: "state", says: "rows and bytes that the query keeps",
    figures: [["rows", (v) => v.state_rows, count]], aside: (v) => (known(v.state_bytes) ? bytes(v.state_bytes) : ""),
  },
];
const FATES = ["used", "late", "duplicate", "quarantined"];

/** @param {any} value */
const known = (value) => value !== null && value !== undefined;

/** Round up to a few figures and zeros, so that a scale moves seldom. @param {number} top */
function roomy(top) {
  const power = 10 ** Math.floor(Math.log10(top || 1));
  return power * ([1, 1.5, 2, 3, 5, 7].find((n) => n * power >= top) ?? 10);
}

/** Figures as tiles with small moving lines. @param {(what: string) => void} open lists what is behind a figure */
function strip(open) {
  let ring = /** @type {Vitals[]} */ ([]), marks = /** @type {Mark[]} */ ([]);
  let pointed = /** @type {number | null} */ (null); // the moment that the pointer is on
  const tiles = TILES.map(tileOf), fates = FATES.map(fateOf);
  const fate = h("div", { class: "rta-tile rta-fates", role: "group", "aria-label": "what became of events", "data-tile": "events", hidden: "" },
    h("div", { class: "rta-name" }, "events"), h("div", { class: "rta-fate" }, ...fates.map((f) => f.node)));
  const when = h("div", { class: "rta-when" });
  const row = h("div", { class: "rta-tiles", onpointermove: point, onpointerleave: leave },
    ...tiles.slice(0, 5).map((t) => t.node), fate, tiles[5].node);

  /** @param {Tile} tile */
  function tileOf(tile) {
    const values = tile.figures.map(() => h("b")), lines = values.map((_, i) => h("polyline", { class: `rta-line${i}` }));
    const cuts = h("path", { class: "rta-cut" }), cursor = h("path", { class: "rta-cursor" });
    const labels = h("div", { class: "rta-labels", "aria-hidden": "true" });
    const listed = { title: "list the partitions", onclick: () => open("lag") };
    const aside = tile.name === "behind" ? h("button", listed) : h("span");
    const box = { viewBox: `0 0 ${PLOT.width} ${PLOT.height}`, preserveAspectRatio: "none", "aria-hidden": "true" };
    const traits = { role: "group", "aria-label": tile.name, title: tile.says, "data-tile": tile.name, hidden: "" };
    const node = h("div", { class: `rta-tile${tile.wide ? " rta-wide" : ""}`, ...traits },
      h("div", { class: "rta-name" }, h("span", {}, tile.name), aside),
      h("div", { class: "rta-figures" }, ...values.map((b, i) => h("span", {}, b, h("small", {}, tile.figures[i][0])))),
      h("div", { class: "rta-plot" }, h("svg", box, cuts, ...lines, cursor), labels));
    return { tile, node, values, lines, cuts, cursor, labels, aside };
  }

  /** @param {string} what */
  function fateOf(what) {
    const value = h("b"), noun = h("small", {}, what);
    const asks = { "data-what": what, title: `list the ${what} events`, onclick: () => open(what) };
    return { what, value, node: what === "used" ? h("span", {}, value, noun) : h("button", asks, value, noun) };
  }

  /** @param {PointerEvent & {target: Element}} event */
  function point({ target, clientX }) {
    const plot = target.closest(".rta-tile")?.querySelector(".rta-plot")?.getBoundingClientRect(), [from, to] = range();
    pointed = plot ? from + ((clientX - plot.left) / plot.width) * (to - from) : null;
    draw();
  }
  function leave() {
    pointed = null;
    draw();
  }

  function range() {
    const to = ring.at(-1)?.at ?? 0;
    return [Math.min(ring[0]?.at ?? 0, to - SPAN), to];
  }

  /** Name the marks beside their lines, as far as there is room. @param {any} node @param {Mark[]} seen @param {(at: number) => number} x */
  function label(node, seen, x) {
    const width = node.clientWidth || PLOT.width;
    let free = width + 1;
    node.replaceChildren();
    for (const { at, label } of [...seen].reverse()) {
      const left = (x(at) / PLOT.width) * width;
      if (left + 6 * label.length + 6 < free) node.append(h("span", { style: `left: ${left.toFixed(0)}px` }, label));
      free = left;
    }
  }

  /** The moment that figures are shown of: the newest, or that under the pointer. */
  function moment() {
    if (pointed === null) return ring.at(-1);
    const at = pointed, far = (/** @type {Vitals} */ v) => Math.abs(v.at - at);
    return ring.reduce((best, v) => (far(v) < far(best) ? v : best), ring[0]);
  }

  function draw() {
    const [from, to] = range(), now = moment(), seen = marks.filter(({ at }) => at >= from && at <= to);
    const x = (/** @type {number} */ at) => ((at - from) / (to - from)) * PLOT.width;
    const stroke = (/** @type {number} */ at) => `M${x(at).toFixed(1)} 0V${PLOT.height}`;
    const cuts = seen.map(({ at }) => stroke(at)).join(""), cursor = now && pointed !== null ? stroke(now.at) : "";
    const told = pointed === null ? seen.slice(-3) : seen.filter(({ at }) => Math.abs(x(at) - x(pointed ?? 0)) < 4);
    const named = told.map(({ at, label }) => `${clock(at)} ${label}`).join(" · ");
    say(when, [cursor && now ? `at ${clock(now.at)}` : "", named].filter(Boolean).join(": "));
    when.classList.toggle("rta-marked", told.length > 0);

    for (const { tile, node, ...parts } of tiles) {
      const series = tile.figures.map(([, of]) => ring.filter((v) => known(of(v))).map((v) => [v.at, Number(of(v))]));
      node.hidden = !now || !series.flat().length;
      if (node.hidden || !now) continue;
      const top = roomy(1.05 * Math.max(0, ...series.flat().map(([, y]) => y)));
      const y = (/** @type {number} */ n) => PLOT.height - 1 - ((PLOT.height - 2) * Math.max(0, n)) / top;
      tile.figures.forEach(([, of, words], i) => {
        const value = of(now);
        say(parts.values[i], known(value) ? words(Number(value)) : "–");
        parts.lines[i].setAttribute("points", series[i].map(([at, n]) => `${x(at).toFixed(1)},${y(n).toFixed(1)}`).join(" "));
      });
      parts.cuts.setAttribute("d", cuts);
      parts.cursor.setAttribute("d", cursor);
      if (tile.wide) label(parts.labels, seen, x);
      say(parts.aside, tile.aside?.(now) ?? "");
    }
    fate.hidden = !now || !FATES.some((what) => known(now[what]));
    for (const { what, node, value } of fates) {
      const n = now?.[what];
      node.hidden = !known(n);
      if (known(n)) say(value, grouped.format(n));
      node.classList.toggle("rta-some", what !== "used" && n > 0);
    }
  }

  return {
    node: h("div", { class: "rta-strip" }, row, when),
    /** @param {Vitals[]} history @param {Mark[]} events */
    update(history, events) {
      [ring, marks] = [history, events];
      draw();
    },
  };
}

// ---------------------------------------------------------------- the chart

/**
 * Let the axes of a compiled chart hold still: an end moves outwards at once, and inwards only if the data fills less
 * than half of what was shown.
 * @param {any} vega
 */
function steady(vega) {
  for (const scale of vega.scales ?? []) {
    const { data, field, fields = [field] } = scale.domain ?? {};
    if (scale.type !== "linear" || !data || !fields.every((/** @type {any} */ f) => typeof f === "string")) continue;
    if (known(scale.domainMin) || known(scale.domainMax)) continue;
    const held = `rta_${scale.name}`, ends = fields.map((/** @type {string} */ _, /** @type {number} */ i) => `${held}_${i}`);
    fields.forEach((/** @type {string} */ field, /** @type {number} */ i) => {
      vega.data.push({ name: `${ends[i]}_data`, source: data, transform: [{ type: "extent", field, signal: ends[i] }] });
    });
    const of = (/** @type {number} */ end) => [...ends.map((/** @type {string} */ e) => `${e}[${end}]`), ...(scale.zero ? [0] : [])];
    const [low, high] = [`min(${of(0)})`, `max(${of(1)})`];
    const kept = `[min(${low}, ${held}[0]), max(${high}, ${held}[1])]`;
    const fills = `${held} && 2 * (${high} - ${low}) >= ${held}[1] - ${held}[0]`;
    const update = `isFinite(${low} + ${high}) ? (${fills} ? ${kept} : [${low}, ${high}]) : ${held}`;
    const events = ends.map((/** @type {string} */ signal) => ({ signal }));
    (vega.signals ??= []).push({ name: held, value: null, on: [{ events, update }] });
    scale.domainMin = { signal: `${held} ? ${held}[0] : null` };
    scale.domainMax = { signal: `${held} ? ${held}[1] : null` };
  }
  return vega;
}

/** Copy rows: Vega marks those that it holds. @param {any[]} values */
const copied = (values) => values.map((value) => ({ ...value }));

/** @param {any} spec whether it is one plot, which can be as wide as there is room */
const single = (spec) => !["facet", "hconcat", "vconcat", "concat", "repeat"].some((part) => part in spec) &&
  !["row", "column", "facet"].some((channel) => spec.encoding?.[channel]);

// Those of Okabe and Ito, as in the still pictures: people with any colour vision can tell them apart.
const COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#000000"];

/** Colours and fonts of a chart, as the page has them. @param {Element} node */
function look(node) {
  const style = getComputedStyle(node), of = (/** @type {string} */ name) => style.getPropertyValue(name);
  const [red = 0, green = 0, blue = 0] = (style.color.match(/[\d.]+/g) ?? []).map(Number), font = style.fontFamily;
  const dark = 0.3 * red + 0.59 * green + 0.11 * blue > 127; // light letters
  const text = { labelColor: of("--rta-dim"), titleColor: style.color, labelFont: font, titleFont: font };
  const lines = { gridColor: of("--rta-line"), domainColor: of("--rta-line"), tickColor: of("--rta-line") };
  const axis = { ...text, ...lines, titleFontWeight: 500, labelFontSize: 11, titleFontSize: 11, labelLimit: 120 };
  return {
    dark,
    config: {
      background: "transparent", font, view: { stroke: null }, title: { color: style.color }, legend: text, header: text, axis,
      axisX: { minExtent: 20, labelSeparation: 6 }, axisY: { minExtent: 44 }, // room for longer labels: the plot does not move
      range: { category: dark ? { scheme: "set2" } : COLOURS },
    },
  };
}

/** A chart that takes new data without being drawn anew. @param {any} embed */
function plot(embed) {
  const node = h("div", { class: "rta-chart", hidden: "" });
  let spec = /** @type {any} */ (null), values = /** @type {any[]} */ ([]);
  let made = /** @type {any} */ (null), turn = 0; // only the last one that was begun is shown
  const room = () => Math.max(240, node.clientWidth - 2);
  const fluid = () => single(spec) && (spec.width === undefined || spec.width === "container");
  let wore = ""; // the look that it was drawn with
  const resized = new ResizeObserver(() => {
    if (made && node.clientWidth && fluid()) made.view.width(room()).runAsync();
  });
  resized.observe(node);

  async function build() {
    const mine = ++turn, first = values, inner = h("div"), { dark, config } = look(node);
    wore = JSON.stringify({ dark, config });
    const size = { width: fluid() ? room() : spec.width, autosize: { type: known(spec.height?.step) ? "fit-x" : "fit", contains: "padding", resize: true } };
    const patch = (/** @type {any} */ vega) => {
      for (const data of vega.data) if (data.name === "rta") data.values = copied(first); // no empty picture before
      return steady(vega);
    };
    const options = { actions: false, renderer: "canvas", config, patch, tooltip: { theme: dark ? "dark" : "light" } };
    const result = await embed(inner, { ...spec, background: null, ...(single(spec) ? size : {}) }, options);
    if (mine !== turn) return result.finalize();
    made?.finalize();
    made = node.rtaView = result;
    node.replaceChildren(inner);
    if (first !== values) fill();
  }

  function fill() {
    made?.view.change("rta", made.view.changeset().remove(() => true).insert(copied(values))).runAsync();
  }

  /** Draw it anew if the theme is another; a page that changes its theme may be without a look for a moment. */
  function dress() {
    if (made && node.clientWidth && JSON.stringify(look(node)) !== wore) build().catch(failed);
  }

  const failed = (/** @type {Error} */ error) => tell(`the chart cannot be drawn: ${error.message}`, "rta-note");
  const tell = (/** @type {string} */ text, look = "rta-empty") => node.replaceChildren(h("p", { class: look }, text));

  return {
    node,
    /** @param {any} wanted @param {any[]} data @param {boolean} fresh whether the data is new */
    update(wanted, data, fresh) {
      const other = JSON.stringify(wanted) !== JSON.stringify(spec);
      [spec, values] = [wanted, data];
      node.hidden = !spec;
      if (!spec) return;
      if (!values.length && !made) tell("no rows to draw yet");
      else if (other || !turn) build().catch(failed);
      else if (fresh) fill();
    },
    dress,
    close() {
      turn++;
      resized.disconnect();
      made?.finalize();
    },
  };
}

// ---------------------------------------------------------------- frames

/** What the page knows: nothing yet. */
const blank = () => ({
  seq: -1, title: "", kind: "", mode: "", state: "", verdict: { text: "", level: "idle" }, every: 1,
  can: ["pause", "stop", "restart"],
  look: "table", columns: /** @type {Column[]} */ ([]), rows: /** @type {Map<number, Cell[]>} */ (new Map()),
  order: /** @type {number[]} */ ([]), total: /** @type {number | null} */ (null),
  history: /** @type {Vitals[]} */ ([]), marks: /** @type {Mark[]} */ ([]),
  spec: /** @type {any} */ (null), values: /** @type {any[]} */ ([]),
  controls: /** @type {{speed: number, at: string | null} | null} */ (null),
});
const TAKEN = ["controls", "seq", "title", "kind", "mode", "state", "verdict", "every", "can", "columns", "look", "total", "marks", "spec", "values"];

/**
 * Take a frame in: it says which cells changed, or that the frame is old, or that one before it is missing.
 * @param {ReturnType<typeof blank>} now @param {Frame} frame
 * @param {boolean} asked a full frame was asked for: then also one of a kernel that counts anew is good
 * @returns {"old" | "gap" | Glow}
 */
function take(now, frame, asked) {
  if (frame.seq <= now.seq && !(frame.full && asked)) return "old";
  if (!frame.full && frame.seq !== now.seq + 1) return "gap";
  const was = now.rows, columns = now.columns, glow = new Map();
  if (frame.full) Object.assign(now, blank());
  for (const name of TAKEN) if (name in frame) Object.assign(now, { [name]: frame[name] });
  if (JSON.stringify(columns) === JSON.stringify(now.columns)) now.columns = columns; // the same: widths and sort stay
  for (const [id, cells] of frame.put ?? []) {
    const old = was.get(id), changed = new Set();
    for (const [i, cell] of cells.entries()) if (!old || !Object.is(old[i], cell)) changed.add(i);
    if (changed.size && was.size) glow.set(id, changed);
    now.rows.set(id, changed.size || !old ? cells : old);
  }
  if (frame.order) {
    now.order = frame.order.filter((/** @type {number} */ id) => now.rows.has(id));
    const kept = new Set(now.order);
    for (const id of now.rows.keys()) if (!kept.has(id)) now.rows.delete(id);
  }
  for (const vitals of [...(frame.history ?? []), frame.vitals ?? []].flat()) {
    if (vitals.at > (now.history.at(-1)?.at ?? -1)) now.history.push(vitals);
  }
  now.history.splice(0, now.history.length - RING);
  return glow;
}

// ---------------------------------------------------------------- the page

/** Which buttons do something in which state. @type {Record<string, string[]>} */
const BUTTONS = {
  pause: ["running"], resume: ["paused"], stop: ["running", "paused"],
  restart: ["running", "paused", "stopped", "ended", "failed"],
};
/** @type {Record<string, string>} */
const DOING = { pause: "pausing", resume: "resuming", stop: "stopping", restart: "restarting" };
const LAG = [{ name: "topic", type: "text" }, { name: "partition", type: "number" }, { name: "records behind", type: "number" }];

/**
 * Show a live view in an element, until the returned function is called.
 * @param {HTMLElement} el @param {Channel} channel
 */
export function mount(el, { send, listen, chart = typeof vegaEmbed === "function" ? vegaEmbed : null }) {
  const now = blank();
  let queue = /** @type {Frame[]} */ ([]), drawing = 0; // what came since the last picture
  let dirty = { rows: false, strip: false, values: false }, hot = /** @type {Glow} */ (new Map()), inView = true;
  let asked = 0, heard = Date.now(), gone = ""; // when the page said hello, and last heard of the kernel; why it hears no more
  let wish = /** @type {{what: string, at: number} | null} */ (null); // a button was pressed
  let panel = /** @type {any} */ (null); // what is listed

  const title = h("strong", { class: "rta-title" }), kind = h("span", { class: "rta-kind" });
  const state = h("span", { class: "rta-state", role: "status" }), verdict = h("span", { class: "rta-verdict" });
  const buttons = ["pause", "stop", "restart"].map((what) => h("button", { "data-do": what, onclick: press }));
  const speed = h("input", { type: "number", min: "0", step: "any", "aria-label": "speed", onkeydown: enter, onchange: () => steer("speed", Number(speed.value)) });
  const seek = h("input", { type: "text", "aria-label": "seek", onkeydown: enter, onchange: () => steer("seek", seek.value.trim()) });
  const controls = h("div", { class: "rta-controls", role: "group", "aria-label": "replay", hidden: "" },
    h("label", {}, speed, " times as fast"), h("label", {}, "go to ", seek, " UTC"));
  const note = h("p", { class: "rta-note", role: "status", hidden: "" });
  const table = grid("rows"), kpis = headline(), figures = strip(open), picture = chart ? plot(chart) : null;
  const drawer = h("div", { class: "rta-drawer", hidden: "", onkeydown: escape });
  const root = h("section", { class: "rta-live", "data-lm-suppress-shortcuts": "true" }, // keys are ours, not JupyterLab's
    h("style", {}, STYLE),
    h("header", {}, h("span", { class: "rta-dot", "aria-hidden": "true" }), title, kind, state, verdict,
      h("span", { class: "rta-buttons" }, ...buttons)),
    note, controls, figures.node, drawer, kpis.node, h("div", { class: "rta-body" }, picture?.node ?? "", table.node));
  el.append(root);

  // What the page says

  /** @param {object} message */
  function tell(message) {
    try {
      send(message);
    } catch (error) {
      console.warn("rta: the kernel cannot be reached", error); // its channel is closed
      lost();
    }
  }

  function hello() {
    asked = Date.now();
    tell({ do: "hello" });
  }

  /** @param {{currentTarget: any}} event */
  function press({ currentTarget: button }) {
    if (button.getAttribute("aria-disabled") === "true") return;
    wish = { what: button.dataset.do, at: Date.now() };
    tell({ do: wish.what });
    drawHead();
  }

  /** JupyterLab keeps Enter from changing an input; to leave it does. @param {KeyboardEvent & {currentTarget: any}} event */
  function enter({ key, currentTarget: input }) {
    if (key === "Enter") input.blur();
  }

  /** @param {"speed" | "seek"} what @param {number | string} value */
  function steer(what, value) {
    if (value === "") return;
    tell({ do: what, value });
    seek.value = "";
  }

  // What is listed: events, or partitions

  /** @param {string} what */
  function open(what) {
    const again = panel?.what === what;
    shut();
    if (again) return;
    const lag = what === "lag", rows = grid(what), said = h("span", { class: "rta-said" }, lag ? "" : "asking the kernel…");
    panel = { what, rows, said, at: Date.now(), from: document.activeElement, answered: lag };
    const name = h("strong", {}, lag ? "behind, by partition" : `${what} events`);
    const close = h("button", { "aria-label": `close ${what}`, onclick: shut }, "close");
    drawer.replaceChildren(h("div", { class: "rta-drawer-head" }, name, said, close), rows.node);
    rows.node.hidden = true;
    drawer.hidden = false;
    if (lag) drawLag();
    else tell({ do: "list", what });
  }

  function shut() {
    if (!panel) return;
    panel.rows.close();
    if (drawer.contains(document.activeElement)) panel.from?.focus?.();
    panel = null;
    drawer.hidden = true;
  }

  /** @param {KeyboardEvent} event */
  function escape({ key }) {
    if (key === "Escape") shut();
  }

  /** @param {any} columns @param {Cell[][]} rows */
  function list(columns, rows) {
    panel.rows.node.hidden = !rows.length;
    panel.rows.update({ columns, rows: new Map(rows.entries()), order: [...rows.keys()], total: null });
  }

  function drawLag() {
    const topics = Object.entries(now.history.at(-1)?.lag ?? {});
    list(LAG, topics.flatMap(([topic, behind]) => behind.map((/** @type {number} */ n, /** @type {number} */ p) => [topic, p, n])));
  }

  /** @param {Frame} answer */
  function answered({ what, columns, rows, note: said }) {
    if (panel?.what !== what) return; // it was closed in the meantime
    panel.answered = true;
    say(panel.said, said ?? (rows.length ? "" : "none"));
    list(columns, rows);
  }

  // What is seen

  /** Say what a person has to know beside the picture. @param {boolean} stale @param {number} silent */
  function sentence(stale, silent) {
    const of = now.seq < 0 ? "" : `the picture is of ${clock(heard)}`;
    if (gone) return [`${gone}: nothing moves any more`, of].filter(Boolean).join("; ");
    if (stale) return `no news for ${span(silent)}: is the kernel alive? ${of}`;
    const since = wish?.at ?? (panel && !panel.answered ? panel.at : Infinity), long = Date.now() - since > PATIENCE;
    if (!wish && !long) return "";
    const busy = long ? " the kernel has not answered yet: is a cell running?" : "";
    return `${wish ? DOING[wish.what] : "asking"}…${busy}`;
  }

  function drawHead() {
    const silent = Date.now() - heard, moves = ["running", "paused", ""].includes(now.state);
    const stale = Boolean(gone) || (moves && silent > 1000 * Math.max(10, 5 * now.every));
    root.classList.toggle("rta-stale", stale);
    root.dataset.level = stale ? "idle" : (now.verdict?.level ?? "idle");
    root.dataset.state = now.state;
    root.setAttribute("aria-label", `live view of ${now.title}`);
    say(title, now.title);
    say(kind, [now.kind, now.kind === "query" ? now.mode : ""].filter(Boolean).join(", "));
    say(state, `${stale ? "was " : ""}${now.state || "waiting"}`);
    say(verdict, now.verdict?.text ?? "");
    for (const button of buttons) {
      const steers = ["pause", "resume"].includes(button.dataset.do);
      const what = steers ? (now.state === "paused" ? "resume" : "pause") : button.dataset.do;
      button.dataset.do = what;
      button.hidden = !now.can.includes(steers ? "pause" : what);
      button.setAttribute("aria-disabled", String(Boolean(gone) || !BUTTONS[what].includes(now.state)));
      button.setAttribute("aria-label", `${what} ${now.title}`);
      say(button, what);
    }
    controls.hidden = !now.controls || !now.can.includes("speed") || !BUTTONS.stop.includes(now.state);
    if (now.controls && document.activeElement !== speed) speed.value = String(now.controls.speed);
    seek.placeholder = now.controls?.at ?? "2013-01-05 07:00";
    const text = sentence(stale, silent);
    say(note, text);
    note.hidden = !text;
  }

  /** Take in all that came since the last picture, and draw once. */
  function draw() {
    drawing = 0;
    const frames = document.hidden ? [] : queue; // nothing is drawn for nobody: it asks for all when somebody looks
    let news = false;
    queue = [];
    for (const frame of frames) {
      if (frame.list && !("seq" in frame)) { answered(frame.list); continue; } // an answer alone: it belongs to no picture
      const before = { ...now }, glow = take(now, frame, asked > 0);
      if (glow === "gap" && (!asked || Date.now() - asked > 10_000)) hello();
      if (typeof glow === "string") continue;
      news = true;
      if (frame.full) asked = 0;
      if (frame.full || now.state !== before.state) wish = null;
      if (frame.list) answered(frame.list);
      for (const [id, cells] of glow) hot.set(id, new Set([...(hot.get(id) ?? []), ...cells]));
      dirty.rows ||= frame.full || frame.put || frame.order || "total" in frame || now.columns !== before.columns;
      dirty.strip ||= frame.full || frame.vitals || frame.marks;
      dirty.values ||= now.values !== before.values || now.spec !== before.spec;
    }
    drawHead();
    if (inView) drawParts();
    if (news) tell({ do: "ack", seq: now.seq });
  }

  function drawParts() {
    if (dirty.strip) figures.update(now.history, now.marks);
    if (dirty.strip && panel?.what === "lag") drawLag();
    const tiles = now.look === "tiles";
    if (dirty.rows) (tiles ? kpis : table).update(now, hot);
    table.node.hidden = tiles || !now.columns.length;
    kpis.node.hidden = !tiles;
    if (dirty.values) picture?.update(now.spec, now.values, true);
    [dirty, hot] = [{ rows: false, strip: false, values: false }, new Map()];
  }

  // What the page hears

  /** @param {Frame} frame */
  function hear(frame) {
    [heard, gone] = [Date.now() - (frame.age ?? 0), ""]; // who joins late is told how old the picture is
    queue.push(frame);
    drawing ||= requestAnimationFrame(draw);
    if (document.hidden) queue = [];
  }

  /** What is seen is the last picture, until news come. @param {string} [why] */
  function lost(why = "the kernel is gone") {
    gone = why;
    drawHead();
  }

  function looked() {
    if (document.hidden) return;
    queue = [];
    hello();
  }

  const scrolled = new IntersectionObserver((seen) => {
    inView = seen.at(-1)?.isIntersecting ?? true;
    if (inView) drawParts();
  });
  scrolled.observe(root);
  document.addEventListener("visibilitychange", looked);
  const timer = setInterval(() => {
    if (document.hidden) return;
    drawHead();
    picture?.dress();
  }, 1000);
  const deaf = listen(hear, lost);
  drawHead();
  hello();

  return () => {
    deaf?.();
    clearInterval(timer);
    cancelAnimationFrame(drawing);
    scrolled.disconnect();
    document.removeEventListener("visibilitychange", looked);
    shut();
    table.close();
    picture?.close();
    root.remove();
  };
}

/** Show a view in a cell. @param {{model: any, el: HTMLElement}} cell */
function render({ model, el }) {
  return mount(el, {
    send: (message) => model.send(message),
    listen(hear, lost) {
      model.on("msg:custom", hear);
      const ended = () => lost();
      model.on("comm_live_update", ended); // the kernel ended or began anew
      return () => {
        model.off("msg:custom", hear);
        model.off("comm_live_update", ended);
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
.rta-controls { display: flex; flex-wrap: wrap; gap: 4px 16px; margin-top: 6px; color: var(--rta-dim); }
.rta-controls input { font: inherit; width: 11.5em; padding: 1px 6px; color: var(--rta-ink); background: var(--rta-raised); border: 1px solid var(--rta-line); border-radius: 3px; }
.rta-note { margin: 6px 0 0; padding: 3px 8px; border-left: 3px solid var(--rta-warn); background: color-mix(in srgb, var(--rta-warn) 12%, transparent); }
.rta-tiles { display: flex; flex-wrap: wrap; gap: 6px; margin-top: 8px; }
.rta-strip:not(:has(.rta-tile:not([hidden]))) { display: none; }
.rta-tile { flex: 1 1 90px; max-width: 340px; min-width: 0; padding: 4px 8px 5px; border: 1px solid var(--rta-line); border-radius: 3px; background: var(--rta-raised); }
.rta-tile.rta-wide { flex: 3 1 200px; max-width: none; } .rta-tile[data-tile=state] { flex-basis: 118px; } .rta-tile[data-tile=behind] { flex-basis: 134px; } .rta-tile[data-tile=watermark] { flex-basis: 152px; }
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
.rta-kpis { display: grid; grid-template-columns: repeat(auto-fit, minmax(132px, 1fr)); gap: 8px; margin-top: 6px; }
.rta-kpi { min-width: 0; padding: 7px 10px; border: 1px solid var(--rta-line); border-radius: 4px; background: var(--rta-raised); } .rta-kpi .rta-name { font-size: 12px; }
.rta-kpi b { font-size: 26px; line-height: 1.2; font-weight: 600; overflow-wrap: anywhere; } .rta-kpi small { margin-left: 5px; color: var(--rta-dim); font-size: 12px; }
.rta-change { min-height: 18px; color: var(--rta-dim); font-size: 12px; } .rta-change[data-trend=good] { color: var(--rta-good); } .rta-change[data-trend=bad] { color: var(--rta-bad); }
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
.rta-live .rta-hot { background-color: var(--rta-hot); } .rta-live .rta-warm { background-color: color-mix(in srgb, var(--rta-hot) 45%, transparent); }
.rta-stale .rta-verdict { opacity: .6; } .rta-stale > :is(.rta-strip, .rta-body, .rta-drawer) { filter: grayscale(1); opacity: .5; }
@container (max-width: 420px) { .rta-buttons { margin-left: 0; width: 100%; } .rta-buttons button { flex: 1; text-align: center; padding: 5px; } .rta-tile.rta-wide { flex-basis: 100%; } .rta-tile { max-width: none; } }
`;
