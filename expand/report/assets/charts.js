// Elements, scales, and a plot that redraws itself at its width. Everything from the data is written as text.

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  return fill(node, attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

// --- numbers as text -------------------------------------------------------------------------------------------------

const PREFIXES = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]];

function digits(value, count = 3) {
  if (value === 0) return "0";
  const places = Math.max(0, count - 1 - Math.floor(Math.log10(Math.abs(value))));
  return value.toLocaleString("en", { minimumFractionDigits: 0, maximumFractionDigits: Math.min(places, 8) });
}

function amount(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "s") return duration(value);
  if (unit === "ms") return `${digits(value)} ms`;
  const [size, prefix] = PREFIXES.find(([size]) => value >= size) || [1, ""];
  return `${digits(value / size)} ${prefix}${unit === "MACs" ? "" : " "}${unit}`.replace("  ", " ");
}

function duration(seconds) {
  if (seconds < 60) return `${digits(seconds, seconds < 10 ? 2 : 3)} s`;
  if (seconds < 3600) return `${digits(seconds / 60)} min`;
  return seconds < 172800 ? `${digits(seconds / 3600)} h` : `${digits(seconds / 86400)} days`;
}

// Rounds as expand/core/accuracy.py does: six decimals of the fraction, then half away from zero in whole numbers.
const tenths = (value) => Math.floor((Math.floor(Math.abs(value) * 1e6 + 0.5) + 500) / 1000);
const percent = (value) => (value === null || value === undefined ? "–" : (value < 0 && tenths(value) ? "−" : "") + (tenths(value) / 10).toFixed(1));
const points = (value) => (value === null || value === undefined ? "–" : (value < 0 && tenths(value) ? "" : "+") + percent(value));
const many = (count, noun, plural) => `${count.toLocaleString("en")} ${count === 1 ? noun : plural || noun + "s"}`;

// --- scales ----------------------------------------------------------------------------------------------------------

function scale(low, high, from, to, log) {
  const f = log ? Math.log : (v) => v;
  const [a, b] = [f(low), f(high)];
  const map = (value) => from + ((f(value) - a) / (b - a || 1)) * (to - from);
  return Object.assign(map, { low, high, ticks: (most) => (log ? logTicks(low, high, most) : linearTicks(low, high, most)) });
}

function linearTicks(low, high, most) {
  const rough = (high - low) / Math.max(most, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) ticks.push(Number((n * step).toPrecision(12)));
  return ticks;
}

function logTicks(low, high, most) {
  for (const steps of [[1, 1.5, 2, 3, 4, 5, 7], [1, 2, 5], [1, 3], [1]]) {
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
      for (const step of steps) ticks.push(Number((step * 10 ** power).toPrecision(6)));
    const inside = ticks.filter((tick) => tick >= low && tick <= high);
    if (inside.length < 3 && steps.length === 7) return linearTicks(low, high, most);
    if (inside.length <= most) return inside;
  }
  const powers = [];
  const every = Math.ceil(Math.log10(high / low) / most);
  for (let power = Math.ceil(Math.log10(low)); 10 ** power <= high; power += every) powers.push(10 ** power);
  return powers;
}

// --- a plot ----------------------------------------------------------------------------------------------------------

// plot({x, y, label, height, draw}): `x` and `y` say low, high, log, title and the text of a tick. `draw(area)` draws into
// area.root with area.sx and area.sy and may return marks [{x, y, text, pick}] in pixels, which pointer and arrow keys visit.
function plot(options) {
  const figure = el("figure");
  const host = el("div");
  figure.append(host);
  if (options.caption) figure.append(el("figcaption", {}, options.caption));
  let width = 0;
  const redraw = () => {
    width = host.clientWidth || 800;
    host.replaceChildren(drawn(options, width));
  };
  const changed = () => { if (Math.abs((host.clientWidth || 800) - width) > 2) redraw(); };
  new ResizeObserver(() => requestAnimationFrame(changed)).observe(host); // in the next frame: drawing may itself change the size
  figure.redraw = redraw;
  window.addEventListener("beforeprint", redraw);
  return figure;
}

function drawn(options, width) {
  const { x, y } = options.axes();
  const height = options.exact ? options.height : Math.round(Math.min(options.height || 430, Math.max(260, width * 0.72)));
  const box = { left: 46, right: width - 14, top: 26, bottom: height - 44 };
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, tabindex: 0, role: "img", "aria-label": options.label });
  const sx = scale(x.low, x.high, box.left, box.right, x.log);
  const sy = scale(y.low, y.high, box.bottom, box.top, y.log);
  for (const tick of sx.ticks(Math.max(3, Math.floor((box.right - box.left) / 84)))) {
    root.append(svg("line", { class: "grid", x1: sx(tick), x2: sx(tick), y1: box.top, y2: box.bottom }));
    root.append(svg("text", { class: "quiet", x: sx(tick), y: box.bottom + 17, "text-anchor": "middle" }, x.show(tick)));
  }
  for (const tick of sy.ticks(6)) {
    root.append(svg("line", { class: "grid", x1: box.left, x2: box.right, y1: sy(tick), y2: sy(tick) }));
    root.append(svg("text", { class: "quiet", x: box.left - 7, y: sy(tick) + 4, "text-anchor": "end" }, y.show(tick)));
  }
  root.append(svg("text", { x: box.right, y: height - 6, "text-anchor": "end" }, x.title));
  root.append(svg("text", { x: 2, y: 13 }, y.title));
  const marks = options.draw({ root, sx, sy, box, width, height }) || [];
  visit(root, marks);
  return root;
}

// The mark under the pointer, or the one selected with the arrow keys, gets a ring and a description; click or Enter picks it.
function visit(root, marks) {
  if (!marks.length) return;
  const ordered = [...marks].sort((a, b) => a.x - b.x || a.y - b.y);
  const ring = svg("circle", { r: 9, fill: "none", stroke: "var(--ink)", "stroke-width": 1.6, visibility: "hidden" });
  root.append(ring);
  let at = -1;
  const show = (mark) => {
    ring.setAttribute("cx", mark.x);
    ring.setAttribute("cy", mark.y);
    ring.setAttribute("visibility", "visible");
    tell(mark.text, root, mark);
  };
  const hide = () => { ring.setAttribute("visibility", "hidden"); hush(); };
  const nearest = (event) => {
    const place = root.getBoundingClientRect();
    const [px, py] = [event.clientX - place.left, event.clientY - place.top];
    let best = null, least = 26;
    for (const mark of marks) {
      const gap = Math.hypot(mark.x - px, mark.y - py);
      if (gap < least) [best, least] = [mark, gap];
    }
    return best;
  };
  root.addEventListener("pointermove", (event) => { const mark = nearest(event); if (mark) show(mark); else hide(); });
  root.addEventListener("pointerleave", hide);
  root.addEventListener("blur", hide);
  root.addEventListener("click", (event) => { const mark = nearest(event); if (mark && mark.pick) mark.pick(); });
  root.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) at = at < 0 ? (step > 0 ? 0 : ordered.length - 1) : (at + step + ordered.length) % ordered.length;
    else if (event.key === "Escape") { at = -1; hide(); }
    else if (event.key === "Enter" && at >= 0 && ordered[at].pick) ordered[at].pick();
    if (step) { show(ordered[at]); event.preventDefault(); }
  });
}

function tell(text, root, mark) {
  const tip = document.getElementById("tip"), place = root.getBoundingClientRect();
  tip.textContent = text;
  tip.hidden = false;
  const left = Math.min(place.left + mark.x + 14, document.documentElement.clientWidth - tip.offsetWidth - 6);
  let top = place.top + mark.y + 14;
  if (top + tip.offsetHeight > window.innerHeight) top = Math.max(place.top + mark.y - tip.offsetHeight - 14, 4);
  tip.style.left = `${Math.max(left, 4) + window.scrollX}px`;
  tip.style.top = `${top + window.scrollY}px`;
}

function hush() { document.getElementById("tip").hidden = true; }

// --- parts of plots --------------------------------------------------------------------------------------------------

const dot = (x, y, r, color, extra = {}) => svg("circle", { cx: x, cy: y, r, fill: color, stroke: "var(--paper)", "stroke-width": 1, ...extra });
const diamond = (x, y, r, color) => svg("path", { d: `M${x} ${y - r}L${x + r} ${y}L${x} ${y + r}L${x - r} ${y}Z`, fill: color, stroke: "var(--paper)", "stroke-width": 1 });
const line = (spots, color, width, extra = {}) => svg("polyline", { points: spots.map((p) => `${p[0].toFixed(1)},${p[1].toFixed(1)}`).join(" "), fill: "none", stroke: color, "stroke-width": width, "stroke-linejoin": "round", ...extra });

function bar(area, x, value, noise, color = "var(--dot)") {
  if (!noise) return;
  const [low, high] = [area.sy(Math.max(value - noise, area.sy.low)), area.sy(Math.min(value + noise, area.sy.high))];
  area.root.append(svg("path", { d: `M${x} ${low}V${high}M${x - 3} ${low}h6M${x - 3} ${high}h6`, stroke: color, "stroke-opacity": 0.55, fill: "none" }));
}

// The steps of a front from left to right: the best accuracy up to each cost.
function stairs(spots, end) {
  const corners = [];
  spots.forEach((spot, index) => {
    if (index) corners.push([spot[0], spots[index - 1][1]]);
    corners.push(spot);
  });
  if (spots.length) corners.push([end, spots[spots.length - 1][1]]);
  return corners;
}

// Labels beside their spots. A label that would cover another label or a dot is left out; the pointer still shows it.
function labels(area, wanted, dots, color) {
  const taken = [];
  const size = parseFloat(getComputedStyle(document.documentElement).fontSize) * 0.78;
  for (const { x, y, text } of wanted) {
    const wide = text.length * size * 0.54;
    const tries = [[-8, -8, "end"], [0, -13, "middle"], [9, 15, "start"], [0, 21, "middle"], [-10, 4, "end"], [10, 4, "start"], [9, -8, "start"], [-9, 16, "end"]];
    let best = null;
    for (const [dx, dy, anchor] of tries) {
      const left = x + dx - (anchor === "end" ? wide : anchor === "middle" ? wide / 2 : 0);
      const own = { left, right: left + wide, top: y + dy - size, bottom: y + dy + 3 };
      if (own.left < area.box.left || own.right > area.box.right + 8 || own.top < area.box.top - 8 || own.bottom > area.box.bottom) continue;
      if (taken.some((o) => own.left < o.right + 3 && o.left < own.right + 3 && own.top < o.bottom && o.top < own.bottom)) continue;
      const covered = dots.filter((d) => d[0] > own.left - 3 && d[0] < own.right + 3 && d[1] > own.top - 3 && d[1] < own.bottom + 3).length;
      if (!best || covered < best.covered) best = { covered, dx, dy, anchor, own };
    }
    if (!best || best.covered > 2) continue;
    taken.push(best.own);
    area.root.append(svg("text", { class: "halo", x: x + best.dx, y: y + best.dy, "text-anchor": best.anchor, style: `fill:${color}` }, text));
  }
}

// A legend above the plot at its right: [[mark, text], ...]; marks are drawn by `key(x, y)`.
function legend(area, entries) {
  let x = area.box.right;
  for (const [key, text] of [...entries].reverse()) {
    const label = svg("text", { class: "quiet", x, y: 13, "text-anchor": "end" }, text);
    area.root.append(label);
    x -= text.length * 6.3 + 13;
    area.root.append(key(x, 9));
    x -= 16;
  }
}
