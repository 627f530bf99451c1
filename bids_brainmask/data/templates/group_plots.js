// SPDX-License-Identifier: Apache-2.0
/* Distributions of metrics, as drawings (SVG). */

const MANY = 1000; // images; with more, plots that are out of view are removed
const DRAWN = 2000; // images at most that are points, and outliers; of more, every nth is
const COLORS = ["c1", "c2", "c3", "c4", "c5", "c6", "c7"]; // of the style, as are those below
const FIXED = {
  group: {},
  contrast: {},
  rating: { accept: "accept", exclude: "exclude", unsure: "unsure", unrated: "muted" },
  outlier: { outlier: "exclude", "not an outlier": "muted" },
};

/** What colors are by: its label, the class of an image, and the column that this depends on. */
const COLOR_BY = {
  group: ["group", (image) => image.group || "no group", "group"],
  rating: ["rating", (image) => rated(image).rating || "unrated"],
  outlier: ["outliers", (image) => (image.outlier ? "outlier" : "not an outlier")],
  contrast: [
    "contrast",
    (image) => {
      const given = value(image, "contrast_enhanced");
      return given === null ? "unknown" : given ? "contrast-enhanced" : "no contrast agent";
    },
    "contrast_enhanced",
  ],
};

/** Whether colors would differ. */
function differs([key, [, , column]]) {
  if (column) return distinct(column).length > 1;
  return key === "rating" || (outliers.size > 0 && outliers.size < images.length);
}

/** Make what says which class a value of a fact is of; many numbers are in four quarters. */
function classOf(name) {
  const column = at.get(name);
  const none = (found) => found === null || !isKnown(found);
  const asItIs = (found) => (none(found) ? "n/a" : `${show(found)}`);
  if (!data.columns[column].number) return asItIs;
  const sorted = numbersOf(column).filter((number) => !none(number)).sort();
  if (new Set(sorted).size <= COLORS.length) return asItIs;
  const cuts = [0.25, 0.5, 0.75].map((share) => sorted[Math.floor(share * (sorted.length - 1))]);
  const ends = [sorted[0], ...cuts, sorted[sorted.length - 1]].map(show);
  const quarters = cuts.concat(Infinity).map((_, index) => `${ends[index]} to ${ends[index + 1]}`);
  return (found) => (none(found) ? "n/a" : quarters[cuts.filter((cut) => found > cut).length]);
}

const FACTS = new Map(); // what says the class of an image, by the names of facts
const CLASSES = new Map(); // the classes that there are
for (const name of data.facts) {
  const said = classOf(name);
  FACTS.set(name, (image) => said(value(image, name)));
  CLASSES.set(name, [...new Set(distinct(name).map(said))].sort());
  COLOR_BY[`fact:${name}`] = [data.columns[at.get(name)].title, FACTS.get(name), name];
}

const nth = Math.ceil(images.length / DRAWN);
const nthOutlier = Math.ceil(outliers.size / DRAWN);

let passed = 0; // outliers
/** Images that are points of the plots: every nth, and every nth outlier. */
const points = images.filter((image) => {
  if (!image.outlier) return image.index % nth === 0;
  passed += 1;
  return passed % nthOutlier === 0;
});

/** Count the images of each class, and list those that are points. */
function counted() {
  const [, of, column] = COLOR_BY[$("color").value];
  const found = new Map();
  const add = (image, count) => {
    const name = of(image);
    if (!found.has(name)) found.set(name, { name, count: 0, members: [] });
    found.get(name).count += count;
    return found.get(name).members;
  };
  if (column && at.has(column)) {
    const some = new Map(); // by value: an image that has it, and how many have it
    for (const [index, one] of valuesOf(at.get(column)).entries()) {
      const there = some.get(one);
      if (there) there[1] += 1;
      else some.set(one, [images[index], 1]);
    }
    for (const [image, count] of some.values()) add(image, count);
  } else for (const image of images) add(image, 1);
  for (const image of points) add(image, 0).push(image);
  return found;
}

/** Sort images into classes of a color each, the largest first; the smallest share one. */
function classes() {
  const found = counted();
  const sorted = [...found.values()].sort((a, b) => b.count - a.count);
  const fixed = new Map(Object.entries(FIXED[$("color").value] ?? {}));
  const own = sorted.slice(0, COLORS.length).map((one, index) => {
    return { ...one, color: fixed.get(one.name) ?? COLORS[index] };
  });
  const rest = sorted.slice(COLORS.length);
  if (rest.length) {
    const members = rest.flatMap((one) => one.members);
    const count = rest.reduce((sum, one) => sum + one.count, 0);
    own.push({ name: `${rest.length} others`, count, members, color: "muted" });
  }
  return own;
}

let shades = [];

function legend() {
  shades = classes();
  $("legend").replaceChildren(
    ...shades.map(({ name, count, color }) => {
      const swatch = make("span", { className: "swatch" });
      swatch.style.color = `var(--${color})`;
      return make("li", { title: name }, swatch, ` ${shorten(name, 40)} (${count})`);
    }),
  );
}

const AREA = { left: 10, width: 20, top: 2, height: 54 }; // of a plot, as in the style, px
const WIDE = 1000; // units of a plot from left to right, however wide it is
const NEAR = 12; // px from the pointer to a point

const strips = data.metrics.map((metric) => {
  const title = metric.units ? `${metric.title}, ${metric.units}` : metric.title;
  const plot = make("div", { className: "plot", role: "img" });
  plot.setAttribute("aria-label", title);
  const here = make("span", { className: "here" });
  const name = make("span", { title: metric.description, textContent: title });
  const mark = make("div", { className: "mark", hidden: true });
  const box = make("div", { className: "box" }, plot, mark);
  const figure = make("figure", { className: "strip" }, make("figcaption", {}, name, here), box);
  const strip = { metric, title, plot, here, mark, box, figure, drawn: false, seen: false, values: null };
  plot.addEventListener("pointermove", (event) => hover(strip, event));
  plot.addEventListener("pointerleave", () => tip.remove());
  plot.addEventListener("click", (event) => {
    const image = nearest(strip, event);
    if (!image) return;
    select(image, false);
    open(image);
  });
  return strip;
});

/** Sort the values of a plot, once it is wanted: there are many plots of very many images. */
function prepare(strip) {
  if (strip.values) return;
  const { metric, plot, title } = strip;
  strip.values = measures(metric);
  const sorted = (strip.sorted = sortedOf(strip.values));
  const [low, high] = [sorted[0], sorted[sorted.length - 1]];
  const margin = (high - low) / 40; // else points at the ends are cut
  strip.range = [low - margin, high + margin];
  const middle = withUnits(sorted[Math.floor(sorted.length / 2)], metric.units);
  const ends = `${show(low)} to ${withUnits(high, metric.units)}`;
  plot.setAttribute("aria-label", `${title}: ${sorted.length} images, median ${middle}, ${ends}`);
}

const height = (image) => 1.4 * scatter(image.index) - 0.7;

/** Place of a number from left to right, from 0 to 1. */
const across = ({ range: [low, high] }, number) => (number - low) / (high - low);

/** Where something is from the left, in the style's words. */
const fromEdge = (share) => `calc(${AREA.left}px + (100% - ${AREA.width}px) * ${share})`;

/** Place of an image from top to bottom, px. */
const down = (image) => (AREA.height * (1 - height(image) / 1.05)) / 2;

/** Make an element of a drawing. */
function shape(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, given] of Object.entries(attributes)) element.setAttribute(name, given);
  element.append(...children);
  return element;
}

/** Points as one path: lines too short to see, whose round ends are the dots.

An element for each would be thousands in each of many plots. */
function dots(strip, members, look, color) {
  const known = members.filter((image) => isKnown(strip.values[image.index]));
  const x = (image) => (WIDE * across(strip, strip.values[image.index])).toFixed(1);
  const path = shape("path", {
    class: look,
    d: known.map((image) => `M${x(image)},${down(image).toFixed(1)}h.01`).join(""),
  });
  path.style.stroke = `var(--${color})`;
  return path;
}

/** Round numbers within a range, some at most. */
function ticks([low, high], most) {
  const least = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = power * ([1, 2, 5].find((factor) => factor * power >= least) ?? 10);
  const first = Math.ceil(low / step);
  const count = Math.floor(high / step) - first + 1;
  return Array.from({ length: count }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

/** Mark the selected image in all plots, unless the view is over them. */
function pointLater() {
  if ($("view").open) return;
  for (const strip of strips) if (!LARGE || strip.drawn) point(strip);
}

/** Say what the selected image's value is, and how many have less. */
function point(strip) {
  prepare(strip);
  const number = selected ? strip.values[selected.index] : NaN;
  const below = place(strip.sorted, number);
  const equal = place(strip.sorted, number, true) - below;
  const rank = Math.round((100 * (below + equal / 2)) / strip.sorted.length);
  const said = `${withUnits(number, strip.metric.units)} · percentile ${rank}`;
  strip.here.textContent = isKnown(number) ? said : "";
  strip.mark.hidden = !isKnown(number);
  if (!isKnown(number)) return;
  strip.mark.style.left = fromEdge(across(strip, number));
  strip.mark.style.setProperty("--y", `${AREA.top + down(selected)}px`);
}

/** Box and whiskers, which reach as far as values within 1.5 boxes of it do (Tukey). */
function box(strip) {
  const { sorted } = strip;
  const quantile = (share) => {
    const at = share * (sorted.length - 1);
    const low = sorted[Math.floor(at)];
    return low + (at % 1) * (sorted[Math.ceil(at)] - low);
  };
  const [q1, median, q3] = [0.25, 0.5, 0.75].map(quantile);
  const reach = 1.5 * (q3 - q1);
  const ends = [sorted[place(sorted, q1 - reach)], sorted[place(sorted, q3 + reach, true) - 1]];
  const [left, from, middle, to, right] = [ends[0], q1, median, q3, ends[1]].map((number) => {
    return (WIDE * across(strip, number)).toFixed(1);
  });
  const lines = `M${left},27H${from}M${from},5H${to}V49H${from}ZM${middle},5V49M${to},27H${right}`;
  return shape("path", { class: "tukey", d: lines });
}

/** Draw a plot; the colors are of the style, and change with it. */
function draw(strip) {
  prepare(strip);
  const numbers = ticks(strip.range, 6);
  const grid = numbers.map((number) => `M${(WIDE * across(strip, number)).toFixed(1)},0v54`).join("");
  const labels = numbers.map((number) => {
    const label = make("span", { className: "tick", textContent: `${number}` });
    label.style.left = fromEdge(across(strip, number));
    return label;
  });
  const usual = shades.map(({ members, color }) => {
    return dots(strip, members.filter((image) => !image.outlier), "dots", color);
  });
  const rings = shades.flatMap(({ members, color }) => {
    const some = members.filter((image) => image.outlier);
    return some.length ? [dots(strip, some, "ring", "ink"), dots(strip, some, "odd", color)] : [];
  });
  const drawing = shape(
    "svg",
    { viewBox: `0 0 ${WIDE} ${AREA.height}`, preserveAspectRatio: "none" },
    ...[shape("path", { class: "grid", d: grid }), ...usual, box(strip), ...rings],
  );
  strip.plot.replaceChildren(drawing, ...labels);
  strip.drawn = true;
  if (LARGE && selected) point(strip);
}

/** Point of a plot that is next to the pointer; null for none. */
function nearest(strip, { clientX, clientY }) {
  const area = strip.plot.getBoundingClientRect();
  const [x, y] = [clientX - area.left - AREA.left, clientY - area.top - AREA.top];
  let [found, least] = [null, NEAR ** 2];
  for (const image of points) {
    const right = across(strip, strip.values[image.index]) * (area.width - AREA.width);
    const far = (right - x) ** 2 + (down(image) - y) ** 2;
    if (far < least) [found, least] = [image, far];
  }
  return found;
}

const tip = make("div", { className: "tip" });

/** Show a name and a number in a plot. */
function showTip(box, name, number) {
  tip.replaceChildren(name, make("b", { textContent: number }));
  box.append(tip);
}

/** Say which image is at the pointer. */
function hover(strip, event) {
  const image = strip.drawn && nearest(strip, event);
  strip.plot.style.cursor = image ? "pointer" : "";
  if (!image) {
    tip.remove();
    return;
  }
  const number = strip.values[image.index];
  const share = across(strip, number);
  showTip(strip.box, shorten(image.name), `${number} ${strip.metric.units}`.trim());
  tip.style.left = fromEdge(share);
  tip.style.top = `${AREA.top + AREA.height + 4}px`;
  tip.style.transform = `translateX(${-100 * share}%)`;
}
