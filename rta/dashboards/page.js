// The page of a dashboard: one connection for all its parts. It stands behind live.js in one module, whose `mount` shows a view.

const board = /** @type {HTMLElement} */ (document.getElementById("board"));
const banner = /** @type {HTMLElement} */ (document.getElementById("status"));
/** @type {Map<string, {node: HTMLElement, html?: string, view?: string, end?: () => void}>} */
const shownParts = new Map();
/** @type {Map<string, {hear: (frame: any) => void, lost: (why: string) => void}>} */
const ears = new Map();
let socket = /** @type {WebSocket | null} */ (null), wait = 1000, lostAt = 0, ending = "", told = { text: "starting", level: "idle" };

// A page that runs no code made of text: Vega's expressions are interpreted, so no policy needs unsafe-eval.
const chart = typeof vegaEmbed === "function" ? (el, spec, options) => vegaEmbed(el, spec, { ...options, ast: true }) : null;

function drawStatus() {
  const lost = lostAt ? (ending || "no connection") + `; what you see is of ${clock(lostAt)}` : "";
  const text = [told.text, lost].filter(Boolean).join("; ");
  say(banner, text);
  banner.hidden = !text;
  banner.dataset.level = lost ? "bad" : told.level;
  board.classList.toggle("lost", Boolean(lost));
}

/** @param {any} part */
function partOf(part) {
  const old = shownParts.get(part.id);
  if (old && old.view === part.view && old.html === part.html) return;
  old?.end?.();
  const node = h("div", { class: part.kind, "data-part": part.id });
  const now = { node, html: part.html, view: part.view, end: undefined };
  old?.node.replaceWith(node);
  shownParts.set(part.id, now);
  // Made safe by the server; the page's policy lets no script in it run.
  if (!part.view) node.innerHTML = part.html;
  else {
    now.end = mount(node, {
      send: (message) => tell({ view: part.view, ...message }),
      listen(hear, lost) {
        ears.set(part.view, { hear, lost });
        return () => ears.delete(part.view);
      },
      chart,
    });
  }
}

/** Show what is new of the page. @param {any} page */
function takePage({ title, status, order, parts }) {
  document.title = title;
  told = status;
  parts.forEach(partOf);
  for (const [id, part] of shownParts) {
    if (order.includes(id)) continue;
    part.end?.();
    part.node.remove();
    shownParts.delete(id);
  }
  order.forEach((id, at) => {
    const node = shownParts.get(id)?.node;
    if (node && board.children[at] !== node) board.insertBefore(node, board.children[at] ?? null);
  });
  drawStatus();
}

/** @param {object} message */
function tell(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function connect() {
  if (socket && socket.readyState <= WebSocket.OPEN) return;
  const address = new URL("feed", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  address.search = location.search;
  const mine = (socket = new WebSocket(address));
  mine.onopen = () => {
    [wait, lostAt, ending] = [1000, 0, ""];
    for (const view of ears.keys()) tell({ view, do: "hello" });
  };
  mine.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.page) takePage(message.page);
    else ears.get(message.view)?.hear(message.frame);
  };
  mine.onclose = ({ reason }) => {
    lostAt ||= Date.now();
    ending ||= reason;
    for (const { lost } of ears.values()) lost(ending || "no connection");
    drawStatus();
    setTimeout(connect, wait);
    wait = Math.min(15_000, wait * 2);
  };
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) connect(); });
connect();
