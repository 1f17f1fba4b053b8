// The picture of a ripple: events as boxes, causes as lines, left to right.

const WIDTH = 166, HEIGHT = 42, ACROSS = 26, DOWN = 12, MARGIN = 16, BETWEEN = 30, LIMIT = 400;
const SVG = "http://www.w3.org/2000/svg";
const bad = new Set(["data_rejected", "code_rejected", "training_set_failed", "run_failed", "candidate_refused",
  "model_version_denied", "replica_failed", "rollout_rolled_back", "event_parked", "approval_denied"]);

export const nameOf = (type) => type.slice(type.lastIndexOf(".") + 1);
export const wordsOf = (type) => nameOf(type).replaceAll("_", " ");
export const serviceOf = (type) => type.split(".")[2] ?? "";

// layout gives every event a column, one right of its cause's, and a row. The longest
// line of effects goes straight on in its cause's row; a shorter one takes the nearest
// row below in which there is room for all of it.
export function layout(events) {
  const nodes = new Map();
  for (const e of events.slice(0, LIMIT)) nodes.set(e.id, { event: e, effects: [], column: 0, row: 0 });
  const roots = [];
  for (const n of nodes.values()) {
    const cause = nodes.get(n.event.cause);
    if (cause && cause !== n) { n.cause = cause; cause.effects.push(n); } else roots.push(n);
  }
  const length = new Map();
  for (const n of [...nodes.values()].reverse()) {
    length.set(n, 1 + Math.max(0, ...n.effects.map((x) => length.get(x) ?? 0)));
  }
  const taken = new Set();
  const room = (n, row) => {
    for (let c = n.column; c < n.column + length.get(n); c++) if (taken.has(`${c} ${row}`)) return false;
    return true;
  };
  const waiting = [...roots];
  while (waiting.length > 0) {
    const n = waiting.shift();
    n.column = n.cause ? n.cause.column + 1 : 0;
    let row = n.cause ? n.cause.row + 1 : 0;
    while (!room(n, row)) row++;
    for (let x = n; x; x = x.straightOn) { // the whole line takes its place before any side of it
      x.column = x === n ? n.column : x.cause.column + 1;
      x.row = row;
      taken.add(`${x.column} ${row}`);
      const [longest, ...sides] = x.effects.toSorted((a, b) => length.get(b) - length.get(a) || a.event.sequence - b.event.sequence);
      x.straightOn = longest;
      waiting.push(...sides);
    }
  }
  const all = [...nodes.values()];
  return { nodes: all, columns: 1 + Math.max(0, ...all.map((n) => n.column)), more: Math.max(0, events.length - LIMIT) };
}

function make(name, attributes, ...children) {
  const el = document.createElementNS(SVG, name);
  for (const [k, v] of Object.entries(attributes)) el.setAttribute(k, v);
  el.append(...children);
  return el;
}

const clip = (s, n) => (s.length > n ? s.slice(0, n - 1) + "…" : s);
const left = (n) => MARGIN + n.x * (WIDTH + ACROSS);
const top = (n) => n.y;

// bands cuts the columns into bands that fit a width, to be read one below the other
// as the lines of a text are, and gives every node its place. Each band has only the
// rows that it needs.
function bands(nodes, columns, width) {
  const per = Math.max(2, Math.floor((width - 2 * MARGIN + ACROSS) / (WIDTH + ACROSS)));
  let y = MARGIN;
  for (let from = 0; from < columns; from += per) {
    const band = nodes.filter((n) => n.column >= from && n.column < from + per);
    const rows = [...new Set(band.map((n) => n.row))].toSorted((a, b) => a - b);
    for (const n of band) {
      n.x = n.column - from;
      n.y = y + rows.indexOf(n.row) * (HEIGHT + DOWN);
      n.band = from;
      n.above = y - BETWEEN / 2;
    }
    y += rows.length * (HEIGHT + DOWN) - DOWN + BETWEEN;
  }
  return { width: 2 * MARGIN + Math.min(per, columns) * (WIDTH + ACROSS) - ACROSS, height: y - BETWEEN + MARGIN };
}

// line is the way from a cause to its effect: a curve, or, to the next band, around.
function line(n) {
  const x1 = left(n.cause) + WIDTH, y1 = top(n.cause) + HEIGHT / 2, x2 = left(n), y2 = top(n) + HEIGHT / 2;
  if (n.band === n.cause.band) return `M${x1} ${y1} C${x2 - ACROSS / 2} ${y1} ${x2 - ACROSS / 2} ${y2} ${x2} ${y2}`;
  return `M${x1} ${y1} h${MARGIN / 2} V${n.above} H${x2 - MARGIN / 2} V${y2} H${x2}`;
}

// draw returns the picture, as wide as there is room for. known are ids drawn before: others fade in. waiting are
// ids of approvals that wait. choose is called with the event of a chosen box.
export function draw(events, { room, known, waiting, chosen, choose }) {
  const { nodes, columns, more } = layout(events);
  const { width, height } = bands(nodes, columns, room);
  const svg = make("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Events of the ripple" });
  const path = new Set();
  for (let n = nodes.find((x) => x.event.id === chosen); n; n = n.cause) path.add(n);
  for (const n of nodes) {
    if (!n.cause) continue;
    svg.append(make("path", { class: path.has(n) ? "edge lit" : "edge", d: line(n) }));
  }
  for (const n of nodes) {
    const e = n.event, name = nameOf(e.type);
    const classes = ["node", serviceOf(e.type)];
    if (bad.has(name)) classes.push("bad");
    if (waiting.has(e.id)) classes.push("wait");
    if (path.has(n)) classes.push("lit");
    if (known && !known.has(e.id)) classes.push("fresh");
    const label = make("text", { x: 12, y: e.note ? 17 : 26 }, clip(wordsOf(e.type), 23));
    const g = make("g", {
      class: classes.join(" "), transform: `translate(${left(n)} ${top(n)})`, tabindex: 0, role: "button", "data-event": e.id,
      "aria-label": `${wordsOf(e.type)}${e.note ? ", " + e.note : ""}, by ${serviceOf(e.type)}`,
    }, make("rect", { class: "box", width: WIDTH, height: HEIGHT, rx: 5 }), make("rect", { class: "bar", width: 4, height: HEIGHT, rx: 2 }), label);
    if (e.note) g.append(make("text", { class: "note", x: 12, y: 33 }, clip(e.note, 24)));
    g.append(make("title", {}, `${wordsOf(e.type)} (${serviceOf(e.type)})${e.note ? "\n" + e.note : ""}`));
    g.addEventListener("click", () => choose(e));
    g.addEventListener("keydown", (k) => {
      if (k.key === "Enter" || k.key === " ") { k.preventDefault(); choose(e); }
    });
    svg.append(g);
  }
  return { svg, more };
}
