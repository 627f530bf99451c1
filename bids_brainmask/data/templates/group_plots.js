// SPDX-License-Identifier: Apache-2.0
/* Distributions of metrics, and volumes over sessions, drawn by Plotly. */

const MANY = 1000; // images; with more, plots that are out of view are removed
const DRAWN = 5000; // images at most that are points, beside outliers; of more, every nth is
const COLORS = ["c1", "c2", "c3", "c4", "c5", "c6", "c7"]; // of the style, as are those below
const FIXED = {
  group: {},
  contrast: {},
  rating: { accept: "accept", exclude: "exclude", unsure: "unsure", unrated: "muted" },
  outlier: { outlier: "exclude", "not an outlier": "muted" },
};

const theme = () => {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(`--${name}`).trim();
  const axis = { gridcolor: color("line"), linecolor: color("line"), zeroline: false };
  const layout = {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: color("muted"), family: style.fontFamily, size: 11 },
    hoverlabel: { bgcolor: color("sheet"), bordercolor: color("muted"), font: { size: 12 } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: color("muted"), activecolor: color("ink") },
    xaxis: axis,
    yaxis: axis,
  };
  layout.hoverlabel.font.color = color("ink");
  return { color, template: { layout } };
};

const COLOR_BY = {
  group: ["group", (image) => image.group || "no group"],
  rating: ["rating", (image) => rated(image).rating || "unrated"],
  outlier: ["outliers", (image) => (image.outlier ? "outlier" : "not an outlier")],
  contrast: [
    "contrast",
    (image) => {
      const given = value(image, "contrast_enhanced");
      return given === null ? "unknown" : given ? "contrast-enhanced" : "no contrast agent";
    },
  ],
};
/** Say which of a fact's values an image has; of many numbers, which quarter they are in. */
function classOf(name) {
  const column = data.columns[at.get(name)];
  const numbers = images.map((image) => value(image, name)).filter((x) => typeof x === "number");
  const sorted = numbers.sort((a, b) => a - b);
  if (!column.number || new Set(sorted).size <= COLORS.length) {
    return (image) => (value(image, name) === null ? "n/a" : `${show(value(image, name))}`);
  }
  const cuts = [0.25, 0.5, 0.75].map((share) => sorted[Math.floor(share * (sorted.length - 1))]);
  const ends = [sorted[0], ...cuts, sorted[sorted.length - 1]].map(show);
  return (image) => {
    const number = value(image, name);
    if (number === null) return "n/a";
    const quarter = cuts.filter((cut) => number > cut).length;
    return `${ends[quarter]} to ${ends[quarter + 1]}`;
  };
}

const FACTS = new Map(data.facts.map((name) => [name, classOf(name)]));
for (const [name, of] of FACTS) COLOR_BY[`fact:${name}`] = [data.columns[at.get(name)].title, of];

/** Sort images into classes of a color each, the largest first; the smallest share one. */
function classes() {
  const of = COLOR_BY[$("color").value][1];
  const found = new Map();
  for (const image of images) {
    const name = of(image);
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(image);
  }
  const sorted = [...found].sort((a, b) => b[1].length - a[1].length);
  const fixed = new Map(Object.entries(FIXED[$("color").value] ?? {}));
  const own = sorted.slice(0, COLORS.length).map(([name, members], index) => {
    return { name, members, color: fixed.get(name) ?? COLORS[index] };
  });
  const rest = sorted.slice(COLORS.length);
  if (rest.length) {
    const members = rest.flatMap(([, some]) => some);
    own.push({ name: `${rest.length} others`, members, color: "muted" });
  }
  return own;
}

let shades = [];

function legend() {
  shades = classes();
  $("legend").replaceChildren(
    ...shades.map(({ name, members, color }) => {
      const swatch = make("span", { className: "swatch" });
      swatch.style.color = `var(--${color})`;
      return make("li", { title: name }, swatch, ` ${shorten(name, 40)} (${members.length})`);
    }),
  );
}

const AREA = { left: 10, width: 20, top: 2, height: 54 }; // of a plot, within its element, px

const strips = data.metrics.map((metric) => {
  const title = metric.units ? `${metric.title}, ${metric.units}` : metric.title;
  const plot = make("div", { className: "plot", role: "img" });
  plot.setAttribute("aria-label", title);
  const here = make("span", { className: "here" });
  const name = make("span", { title: metric.description, textContent: title });
  const mark = make("div", { className: "mark", hidden: true });
  const box = make("div", { className: "box" }, plot, mark);
  const figure = make("figure", { className: "strip" }, make("figcaption", {}, name, here), box);
  return { metric, title, plot, here, mark, figure, drawn: false, seen: false, values: null };
});

/** Sort the values of a plot, once it is wanted: there are many plots of very many images. */
function prepare(strip) {
  if (strip.values) return;
  const { metric, plot, title } = strip;
  strip.values = images.map((image) => measure(image, metric));
  const known = strip.values.filter((number) => number !== null);
  const sorted = (strip.sorted = Float64Array.from(known).sort());
  const [low, high] = [sorted[0], sorted[sorted.length - 1]];
  const margin = (high - low) / 40; // else points at the ends are cut
  strip.range = [low - margin, high + margin];
  const middle = withUnits(sorted[Math.floor(sorted.length / 2)], metric.units);
  const ends = `${show(low)} to ${withUnits(high, metric.units)}`;
  plot.setAttribute("aria-label", `${title}: ${sorted.length} images, median ${middle}, ${ends}`);
}

const nth = Math.ceil(images.length / DRAWN);

/** Whether an image is a point of the plots; outliers are. */
const isPoint = (image) => image.outlier || image.index % nth === 0;

const height = (image) => 1.4 * scatter(image.index) - 0.7;

/** Points of a class as one path: lines too short to see, whose round ends are the dots.

A marker of each would be an element of each, 5,000 in each of many plots. */
function dots(strip, { members, color }, style) {
  const path = members
    .filter((image) => strip.values[image.index] !== null && !image.outlier && isPoint(image))
    .map((image) => {
      const y = height(image);
      return `M${strip.values[image.index]},${y}V${y + 0.01}`;
    });
  const line = { color: style(color), width: 4.5 };
  const shape = { type: "path", layer: "between", opacity: 0.6, line };
  return path.length ? [{ ...shape, path: path.join("") }] : [];
}

/** All points, unseen, for the pointer to find. */
function targets(strip) {
  const shown = images.filter((image) => strip.values[image.index] !== null && isPoint(image));
  return {
    x: shown.map((image) => strip.values[image.index]),
    y: shown.map(height),
    text: shown.map((image) => image.label),
    customdata: shown.map((image) => image.index),
    mode: "none",
    type: "scatter",
    hovertemplate: `%{text}<br><b>%{x}</b> ${plotText(strip.metric.units)}<extra></extra>`,
    showlegend: false,
  };
}

/** Points of outliers, which are larger. */
function rings(strip, style) {
  const shown = shades.flatMap(({ members, color }) =>
    members
      .filter((image) => image.outlier && strip.values[image.index] !== null)
      .map((image) => [image, style(color)]),
  );
  const line = { width: 1.2, color: style("ink") };
  return {
    x: shown.map(([image]) => strip.values[image.index]),
    y: shown.map(([image]) => height(image)),
    mode: "markers",
    type: "scatter",
    marker: { size: 8, opacity: 1, color: shown.map(([, color]) => color), line },
    hoverinfo: "skip",
    showlegend: false,
  };
}

/** Number of sorted values that are less than a number; `orEqual`, or equal to it. */
function place(sorted, number, orEqual = false) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < number || (orEqual && sorted[middle] === number)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Mark the selected image in all plots, unless the view is over them. */
function pointLater() {
  if ($("view").open) return;
  for (const strip of strips) if (!LARGE || strip.drawn) point(strip);
}

/** Say what the selected image's value is, and how many have less. */
function point(strip) {
  prepare(strip);
  const number = selected && strip.values[selected.index];
  const below = place(strip.sorted, number);
  const equal = place(strip.sorted, number, true) - below;
  const rank = Math.round((100 * (below + equal / 2)) / strip.sorted.length);
  strip.here.textContent =
    number === null ? "" : `${withUnits(number, strip.metric.units)} · percentile ${rank}`;
  // A separate element: in Plotly, moving a line redraws everything.
  strip.mark.hidden = number === null;
  if (number === null) return;
  const { left, width, top, height: tall } = AREA;
  const [low, high] = strip.range;
  const x = `${left}px + (100% - ${width}px) * ${(number - low) / (high - low)}`;
  strip.mark.style.left = `calc(${x})`;
  strip.mark.style.setProperty("--y", `${top + (tall * (1 - height(selected) / 1.05)) / 2}px`);
}

/** Box and whiskers, which reach as far as values within 1.5 boxes of it do (Tukey). */
function box(sorted) {
  const quantile = (share) => {
    const at = share * (sorted.length - 1);
    const low = sorted[Math.floor(at)];
    return low + (at % 1) * (sorted[Math.ceil(at)] - low);
  };
  const [q1, median, q3] = [0.25, 0.5, 0.75].map(quantile);
  const reach = 1.5 * (q3 - q1);
  const lowerfence = sorted[place(sorted, q1 - reach)];
  const upperfence = sorted[place(sorted, q3 + reach, true) - 1];
  const found = { q1, median, q3, lowerfence, upperfence };
  const lists = Object.entries(found).map(([name, number]) => [name, [number]]);
  const where = { type: "box", orientation: "h", y: [0], width: 1.7 };
  return { ...where, ...Object.fromEntries(lists) };
}

function draw(strip) {
  prepare(strip);
  const { color, template } = theme();
  const look = { hoverinfo: "skip", fillcolor: "rgba(0,0,0,0)", showlegend: false };
  const line = { color: color("muted"), width: 1 };
  const traces = [{ ...box(strip.sorted), ...look, line }, rings(strip, color), targets(strip)];
  const layout = {
    template,
    height: AREA.top + AREA.height + 18,
    margin: { l: AREA.left, r: AREA.width - AREA.left, t: AREA.top, b: 18 },
    hovermode: "closest",
    hoverdistance: 12,
    dragmode: false,
    shapes: shades.flatMap((shade) => dots(strip, shade, color)),
    xaxis: { fixedrange: true, nticks: 8, range: strip.range },
    yaxis: { fixedrange: true, visible: false, range: [-1.05, 1.05] },
  };
  Plotly.purge(strip.plot); // else old shapes would remain
  Plotly.newPlot(strip.plot, traces, layout, { displayModeBar: false, responsive: true });
  strip.plot.on("plotly_click", clicked);
  strip.drawn = true;
  if (LARGE && selected) point(strip);
}

function clicked({ points }) {
  const image = images[points[0].customdata];
  if (!image) return;
  select(image, false);
  open(image);
}

let waiting = false;

/** Draw what is in sight and not drawn yet, one at a time, so that the page stays quick. */
function work() {
  const strip = strips.find((one) => one.seen && !one.drawn);
  waiting = Boolean(strip);
  if (!strip) return;
  draw(strip);
  requestAnimationFrame(work);
}

function start() {
  if (!waiting) requestAnimationFrame(work);
  waiting = true;
}

let later = 0;

/** Draw everything again that is drawn, in other colors. */
function redraw() {
  legend();
  clearTimeout(later);
  later = setTimeout(() => {
    for (const strip of strips) if (strip.drawn) draw(strip);
    for (const plot of plots) if (plot.drawn) drawPlot(plot);
  }, 60);
}

const sight = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const strip = strips.find((one) => one.figure === entry.target);
    strip.seen = entry.isIntersecting;
    if (!strip.seen && strip.drawn && images.length > MANY) {
      Plotly.purge(strip.plot);
      strip.drawn = false;
    }
  }
  start();
});

const plots = data.plots.map((plot) => {
  const box = make("div", { className: "plot", role: "img" });
  box.setAttribute("aria-label", `${plot.title} over sessions, ${plot.lines.length} lines`);
  return { ...plot, box, drawn: false };
});

/** Lines as one trace, with gaps between them. */
function trace(plot, lines, look) {
  const made = { x: [], y: [], text: [], customdata: [] };
  for (const { name, points } of lines) {
    const first = points[0][1];
    const change = $("scale").value === "change";
    if (change && !first) continue;
    for (const [session, volume, index] of [...points, [null, null, -1]]) {
      made.x.push(session ?? points[0][0]);
      made.y.push(change && volume !== null ? (100 * (volume - first)) / first : volume);
      made.text.push(plotText(name));
      made.customdata.push(index);
    }
  }
  const hovertemplate = "%{text}<br>%{x}: <b>%{y:.4~g}</b><extra></extra>";
  return { ...made, ...look, type: "scatter", hovertemplate, showlegend: false };
}

function drawPlot(plot) {
  const { color, template } = theme();
  const usual = { color: color("c1"), size: 5 };
  const here = { color: color("c6"), size: 8, width: 2.5 };
  const mine = (line) => selected && line.points.some((point) => point[2] === selected.index);
  const units = $("scale").value === "change" ? "change, %" : plot.units;
  const titled = (text) => ({ text, font: { color: color("muted"), size: 12 } });
  const title = { ...titled(plot.title), x: 0.01, xanchor: "left" };
  title.font.color = color("ink");
  const layout = {
    template,
    title,
    height: 330,
    margin: { l: 64, r: 16, t: 36, b: 40 },
    hovermode: "closest",
    xaxis: { type: "category", categoryorder: "array", categoryarray: plot.sessions },
    yaxis: { title: titled(units) },
  };
  layout.xaxis.ticktext = plot.sessions.map((name) => plotText(shorten(name, 24)));
  layout.xaxis.tickvals = plot.sessions;
  const line = { width: 1, color: usual.color };
  const traces = [
    trace(plot, plot.lines, { mode: "lines+markers", marker: usual, line, opacity: 0.45 }),
    trace(plot, plot.lines.filter(mine), { mode: "lines+markers", marker: here, line: here }),
  ];
  // By name, because one of the default buttons sends the data to Plotly's server.
  const buttons = [["toImage", "zoom2d", "pan2d", "resetScale2d"]];
  const settings = { displaylogo: false, responsive: true, modeBarButtons: buttons };
  Plotly.react(plot.box, traces, layout, settings);
  if (!plot.drawn) plot.box.on("plotly_click", clicked);
  plot.drawn = true;
}

let resting = 0;

/** Draw lines again once the selection has come to rest. */
function drawPlotsLater() {
  clearTimeout(resting);
  resting = setTimeout(() => plots.filter((plot) => plot.drawn).forEach(drawPlot), 200);
}

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
