// SPDX-License-Identifier: Apache-2.0
/* The table of all images, made with Tabulator. */

let table = null;
let tableReady = false; // whether the table takes changes
const changedBefore = new Set(); // images whose ratings changed before

/** Read a condition on numbers: `5` for at least 5, `<5`, `2..4`, `n/a`. */
function condition(text) {
  const said = text.replace(/\s+/g, "");
  if (said === "" || said.toLowerCase() === "n/a") return (x) => said === "" || x === null;
  const [low, high] = said.split("..");
  if (high !== undefined) return (x) => x !== null && x >= Number(low) && x <= Number(high || Infinity);
  const [, sign, number] = /^([<>]?=?)(.*)$/.exec(said);
  const limit = Number(number);
  if (number === "" || Number.isNaN(limit)) return () => true; // still being typed
  const tests = { "<": (x) => x < limit, "<=": (x) => x <= limit, ">": (x) => x > limit };
  const test = { ...tests, "=": (x) => x === limit }[sign] ?? ((x) => x >= limit);
  return (x) => x !== null && test(x);
}

/** Common options of all columns; nodes, because Tabulator treats strings as HTML. */
const column = (title, field, tip, more) => ({
  title,
  field,
  titleFormatter: () => make("span", { title: tip, textContent: title }),
  formatter: (cell) => {
    const found = cell.getValue();
    const text = found === null || found === "" ? "" : show(found);
    return make("span", { title: text, textContent: text });
  },
  headerFilter: "input",
  headerFilterPlaceholder: "",
  maxInitialWidth: 300,
  sorterParams: { alignEmptyValues: "bottom" },
  sorter: "alphanum",
  ...more,
});

/** All columns of the table; `shown` are those that it has at first. */
function columns() {
  const numbers = {
    hozAlign: "right",
    headerHozAlign: "right",
    sorter: "number",
    headerFilterFunc: (text, number) => condition(text)(number),
  };
  const first = [SCORE, ...data.doubts, WHY, "group", ...data.first].filter((name) => at.has(name));
  const others = [...new Set([...first, ...at.keys()])].map((name) => {
    const { title, units, description, number } = data.columns[at.get(name)];
    const head = units ? `${title}, ${units}` : title;
    const width = Math.max(126, Math.min(200, 40 + 4.5 * head.length)); // for two lines
    const more = { shown: first.includes(name), ...(number ? { ...numbers, width } : {}) };
    return column(head, `c${at.get(name)}`, description, more);
  });
  const name = {
    frozen: true,
    formatter: (cell) => {
      const image = images[cell.getRow().getIndex()];
      const text = { title: image.name, textContent: shorten(image.name, 44) };
      return make("a", { href: image.link, target: "_blank", rel: "noopener", ...text });
    },
  };
  const verdict = (cell) => {
    const rating = cell.getValue();
    return make("span", { className: "verdict", textContent: rating, data: { rating } });
  };
  return [
    column("Name", "name", "Name of the image; opens its report", { ...name, shown: true }),
    column("Rating", "rating", "Your rating", { formatter: verdict, width: 92, shown: true }),
    ...others,
    column("Comment", "comment", "Your comment", { shown: true }),
  ].map(({ shown, ...definition }) => ({ shown, definition }));
}

const record = (image) => ({
  id: image.index,
  name: image.name,
  rating: rated(image).rating,
  comment: rated(image).comment,
  ...Object.fromEntries(image.row.map((found, index) => [`c${index}`, found])),
});

/** Values of all images in a column of the table. */
function fieldOf(field) {
  if (field === "name") return list("names");
  if (field === "rating" || field === "comment") return images.map((image) => rated(image)[field]);
  return valuesOf(Number(field.slice(1)));
}

const isNumber = (field) => /^c\d+$/.test(field) && data.columns[Number(field.slice(1))].number;

const places = new Map(); // of texts in the columns that were sorted

/** Numbers to sort a column of the table by: texts by their places among all, NaN for none. */
function keysOf(field) {
  const values = fieldOf(field);
  if (isNumber(field)) return values;
  if (places.has(field)) return places.get(field);
  const texts = values.map((found) => `${found ?? ""}`);
  const sorted = [...new Set(texts)].filter(Boolean).sort();
  const where = new Map(sorted.map((text, place) => [text, place]));
  const keys = Float64Array.from(texts, (text) => where.get(text) ?? NaN);
  if (field !== "rating" && field !== "comment") places.set(field, keys); // those change
  return keys;
}

/** Filter and sort very many images, for which Tabulator would need too long; gives indices.

The filters and the order are those that Tabulator has in its headings. */
function choice(filters, sorters) {
  let found = Uint32Array.from(images, (image) => image.index);
  for (const { field, value: text } of filters) {
    const values = fieldOf(field);
    const number = isNumber(field) && condition(`${text}`);
    const words = `${text}`.toLowerCase();
    found = found.filter((index) => {
      const there = values[index];
      if (number) return number(isKnown(there) ? there : null);
      return `${there ?? ""}`.toLowerCase().includes(words);
    });
  }
  for (const { field, dir } of [...sorters].reverse()) {
    found = sortBy(found, keysOf(field), dir === "desc" ? -1 : 1);
  }
  return found;
}

let chosen = []; // indices, of very many: those that the filters of the table leave

/** Settings of a table of very many images: it has a page of them at a time. */
const MANY_ROWS = {
  ajaxURL: "rows",
  ajaxRequestFunc: (url, config, { page: number, size, filter = [], sort = [] }) => {
    chosen = choice(filter, sort);
    $("count").textContent = `${chosen.length} of ${images.length} images`;
    const some = [...chosen.slice((number - 1) * size, number * size)];
    const last = Math.max(1, Math.ceil(chosen.length / size));
    const answer = { last_page: last, data: some.map((index) => record(images[index])) };
    return new Promise((done) => setTimeout(() => done(answer))); // the page answers in between
  },
  ...{ pagination: true, paginationMode: "remote", paginationSize: 100, renderVerticalBuffer: 100 },
  ...{ sortMode: "remote", filterMode: "remote" },
};

/** Row of an image; none if the table does not show it. */
function rowOf(image) {
  if (!LARGE) return table.getRow(image.index);
  return table.getRows().find((row) => row.getIndex() === image.index);
}

function build() {
  if (table) return;
  const all = columns();
  table = new Tabulator("#table", {
    ...(LARGE ? MANY_ROWS : { data: images.map(record) }),
    columns: all.filter(({ shown }) => shown).map(({ definition }) => definition),
    height: 540,
    layout: "fitData",
    headerFilterLiveFilterDelay: 150, // ms after the last letter
    nestedFieldSeparator: false,
    placeholder: make("span", { textContent: "No image matches." }),
    initialSort: at.has(SCORE) ? [{ column: `c${at.get(SCORE)}`, dir: "desc" }] : [],
    rowFormatter: (row) => {
      row.getElement().classList.toggle("here", selected?.index === row.getIndex());
    },
  });
  table.on("rowClick", (event, row) => {
    if (!event.target.closest("a")) select(images[row.getIndex()], false);
  });
  const count = (shown) => ($("count").textContent = `${shown} of ${images.length} images`);
  if (!LARGE) table.on("dataFiltered", (filters, rows) => count(rows.length));
  table.on("tableBuilt", () => {
    if (!LARGE) count(images.length);
    choose(all);
    tableReady = true;
    updateRows([...changedBefore]);
    changedBefore.clear();
  });
}

/** Show the ratings of some images in the table. */
function updateRows(changed) {
  if (!table || !changed.length) return;
  if (!tableReady) {
    for (const image of changed) changedBefore.add(image); // the table takes nothing while it is made
    return;
  }
  const update = (image) => {
    const { rating, comment } = rated(image);
    return { id: image.index, rating, comment };
  };
  if (!LARGE) table.updateData(changed.map(update));
  else for (const image of changed.slice(0, 1000)) rowOf(image)?.update(update(image));
}

/** List the columns with check boxes to show and hide them.

The table gets a column when it is first shown: cells that nobody sees would take most of its time. */
function choose(all) {
  const boxes = all.map(({ shown, definition }) => {
    const box = make("input", { type: "checkbox", checked: shown });
    let there = shown;
    box.addEventListener("change", () => {
      if (!there) table.addColumn(definition, true, "comment");
      else if (box.checked) table.showColumn(definition.field);
      else table.hideColumn(definition.field);
      there = true;
    });
    return make("label", {}, box, definition.title);
  });
  $("chooser").replaceChildren(...boxes);
}

function filtered() {
  const names = [...at.keys()];
  const shown = LARGE ? [...chosen] : table.getData("active").map(({ id }) => id);
  const rows = shown.map((index) => {
    const { rating, comment } = rated(images[index]);
    return [...images[index].row, rating, comment];
  });
  return tsv([[...names, "rating", "comment"], ...rows]);
}
