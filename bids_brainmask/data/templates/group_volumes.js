// SPDX-License-Identifier: Apache-2.0
/* Volumes over sessions, as drawings, and the order in which plots are drawn. */

const LINES = 1000; // lines at most over sessions, beside that of the selected image; likewise
const MARKED = 200; // lines at most that have a dot at each session
const FIELD = { left: 64, width: 80, top: 8, height: 280 }; // of the lines, as in the style, px
const SESSIONS = 12; // names of sessions at most

const plots = data.plots.map((plot) => {
  const every = Math.ceil(plot.lines.length / LINES);
  const shown = plot.lines.filter((_, index) => index % every === 0);
  const some = every > 1 ? `, one in ${every} is drawn` : "";
  const box = make("div", { className: "lines", role: "img" });
  box.setAttribute("aria-label", `${plot.title} over sessions, ${plot.lines.length} lines${some}`);
  const said = make("span", { className: "muted" });
  const caption = make("figcaption", {}, make("b", {}, plot.title), " ", said);
  const figure = make("figure", {}, caption, box);
  const place = new Map(plot.sessions.map((name, index) => [name, (index + 0.5) / plot.sessions.length]));
  const made = { ...plot, shown, some, said, place, figure, plot: box, spots: [], drawn: false, seen: false };
  box.addEventListener("pointermove", (event) => hoverLine(made, event));
  box.addEventListener("pointerleave", () => tip.remove());
  box.addEventListener("click", (event) => {
    const image = images[nearestSpot(made, event)?.index];
    if (!image) return;
    select(image, false);
    open(image);
  });
  return made;
});

/** Points of a line: places from left to right, and volumes or their changes in percent. */
function spotsOf(plot, { name, points }) {
  const first = points[0][1];
  const change = $("scale").value === "change";
  if (change && !first) return []; // no percentage of nothing
  return points.map(([session, volume, index]) => {
    const y = change ? (100 * (volume - first)) / first : volume;
    return { x: plot.place.get(session), y, name, session, index };
  });
}

/** Place of a number from top to bottom, px. */
const depth = ({ range: [low, high] }, number) => (FIELD.height * (high - number)) / (high - low);

/** Lines as one path, or the dots of their points. */
function drawn(plot, lines, look) {
  const at = ({ x, y }) => `${(WIDE * x).toFixed(1)},${depth(plot, y).toFixed(1)}`;
  const line = (spots) => `M${spots.map(at).join("L")}`;
  const dot = (spots) => spots.map((spot) => `M${at(spot)}h.01`).join("");
  return shape("path", { class: look, d: lines.map(look.endsWith("dots") ? dot : line).join("") });
}

/** Where something is from the left, in the style's words. */
const fromLeft = (share) => `calc(${FIELD.left}px + (100% - ${FIELD.width}px) * ${share})`;

function drawPlot(plot) {
  const mine = plot.lines.filter((line) => line.points.some(([, , index]) => index === selected?.index));
  const [usual, here] = [plot.shown, mine].map((lines) => {
    return lines.map((line) => spotsOf(plot, line)).filter((spots) => spots.length);
  });
  plot.spots = [...usual.flat(), ...here.flat()];
  const sorted = Float64Array.from(plot.spots, ({ y }) => y).sort();
  const [low, high] = sorted.length ? [sorted[0], sorted[sorted.length - 1]] : [0, 1];
  const margin = (high - low) / 20 || 1;
  plot.range = [low - margin, high + margin];
  plot.said.textContent = `${$("scale").value === "change" ? "change, %" : plot.units}${plot.some}`;
  const numbers = ticks(plot.range, 6);
  const grid = numbers.map((number) => `M0,${depth(plot, number).toFixed(1)}h${WIDE}`).join("");
  const drawing = shape(
    "svg",
    { viewBox: `0 0 ${WIDE} ${FIELD.height}`, preserveAspectRatio: "none" },
    shape("path", { class: "grid", d: grid }),
    drawn(plot, usual, "usual"),
    ...(usual.length > MARKED ? [] : [drawn(plot, usual, "usual dots")]),
    ...[drawn(plot, here, "mine"), drawn(plot, here, "mine dots")],
  );
  const left = numbers.map((number) => {
    const label = make("span", { className: "level", textContent: `${number}` });
    label.style.top = `${FIELD.top + depth(plot, number)}px`;
    return label;
  });
  const step = Math.ceil(plot.sessions.length / SESSIONS);
  const below = plot.sessions.filter((_, index) => index % step === 0).map((name) => {
    const label = make("span", { className: "tick", title: name, textContent: shorten(name, 24) });
    label.style.left = fromLeft(plot.place.get(name));
    return label;
  });
  plot.plot.replaceChildren(drawing, ...left, ...below);
  plot.drawn = true;
}

/** Point of a line that is next to the pointer; null for none. */
function nearestSpot(plot, { clientX, clientY }) {
  const area = plot.plot.getBoundingClientRect();
  const [x, y] = [clientX - area.left - FIELD.left, clientY - area.top - FIELD.top];
  let [found, least] = [null, NEAR ** 2];
  for (const spot of plot.spots) {
    const far = (spot.x * (area.width - FIELD.width) - x) ** 2 + (depth(plot, spot.y) - y) ** 2;
    if (far < least) [found, least] = [spot, far];
  }
  return found;
}

/** Say whose volume is at the pointer. */
function hoverLine(plot, event) {
  const spot = plot.drawn && nearestSpot(plot, event);
  plot.plot.style.cursor = spot && spot.index >= 0 ? "pointer" : "";
  if (!spot) {
    tip.remove();
    return;
  }
  const units = $("scale").value === "change" ? "%" : plot.units;
  showTip(plot.plot, `${shorten(spot.name)}, ${shorten(spot.session, 24)}`, withUnits(spot.y, units));
  tip.style.left = fromLeft(spot.x);
  tip.style.top = `${FIELD.top + depth(plot, spot.y) + NEAR}px`;
  tip.style.transform = `translateX(${-100 * spot.x}%)`;
}

let resting = 0;

/** Draw lines again once the selection has come to rest. */
function drawPlotsLater() {
  clearTimeout(resting);
  resting = setTimeout(() => plots.filter((plot) => plot.drawn).forEach(drawPlot), 200);
}

let waiting = false;

/** Do something when the browser has nothing else to do, or half a second later; Safari cannot tell. */
const idle = (act) =>
  globalThis.requestIdleCallback ? requestIdleCallback(act, { timeout: 500 }) : setTimeout(act, 30);

/** Draw one thing that is in sight and not drawn yet, whenever the browser has nothing else to do. */
function work() {
  const one = [...strips, ...plots].find(({ seen, drawn }) => seen && !drawn);
  waiting = Boolean(one);
  if (!one) return;
  if (one.metric) draw(one);
  else drawPlot(one);
  idle(work);
}

function start() {
  if (!waiting) idle(work);
  waiting = true;
}

let later = 0;

/** Draw everything again that is in sight, in other colors. */
function redraw() {
  legend();
  clearTimeout(later);
  later = setTimeout(() => {
    for (const one of [...strips, ...plots]) one.drawn = false;
    start();
  }, 60);
}

const sight = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const one = [...strips, ...plots].find(({ figure }) => figure === entry.target);
    one.seen = entry.isIntersecting;
    if (one.seen || !one.drawn || !one.metric || images.length <= MANY) continue;
    one.plot.replaceChildren();
    one.drawn = false;
  }
  start();
});

/** Do something when an element first comes near the window. */
function near(element, act) {
  const watch = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      watch.disconnect();
      act();
    },
    { rootMargin: "300px" },
  );
  watch.observe(element);
}
