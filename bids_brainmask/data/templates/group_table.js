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

function columns() {
  const numbers = {
    hozAlign: "right",
    headerHozAlign: "right",
    sorter: "number",
    headerFilterFunc: (text, number) => condition(text)(number),
  };
  const shown = [SCORE, ...data.doubts, "outlier_reasons", "group", ...data.first];
  const first = shown.filter((name) => at.has(name));
  const others = [...new Set([...first, ...at.keys()])].map((name) => {
    const { title, units, description, number } = data.columns[at.get(name)];
    const head = units ? `${title}, ${units}` : title;
    const width = Math.max(126, Math.min(200, 40 + 4.5 * head.length)); // for two lines
    const more = { visible: first.includes(name), ...(number ? { ...numbers, width } : {}) };
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
    column("Name", "name", "Name of the image; opens its report", name),
    column("Rating", "rating", "Your rating", { formatter: verdict, width: 92 }),
    ...others,
    column("Comment", "comment", "Your comment", {}),
  ];
}

const record = (image) => ({
  id: image.index,
  name: image.name,
  rating: rated(image).rating,
  comment: rated(image).comment,
  ...Object.fromEntries(image.row.map((found, index) => [`c${index}`, found])),
});

/** Value of an image in a column of the table. */
function fieldOf(image, field) {
  if (field === "name") return image.name;
  if (field === "rating" || field === "comment") return rated(image)[field];
  return image.row[Number(field.slice(1))];
}

const isNumber = (field) => /^c\d+$/.test(field) && data.columns[Number(field.slice(1))].number;

/** Filter and sort very many images, for which Tabulator would need too long.

The filters and the order are those that Tabulator has in its headings. */
function choice(filters, sorters) {
  let found = images;
  for (const { field, value: text } of filters) {
    const number = isNumber(field) && condition(`${text}`);
    const words = `${text}`.toLowerCase();
    found = found.filter((image) => {
      const there = fieldOf(image, field);
      return number ? number(there) : `${there ?? ""}`.toLowerCase().includes(words);
    });
  }
  for (const { field, dir } of [...sorters].reverse()) {
    const direction = dir === "desc" ? -1 : 1;
    const empty = (value) => value === null || value === "";
    const keyed = found.map((image) => [fieldOf(image, field), image]);
    const compareTwo = isNumber(field)
      ? ([a], [b]) => direction * (a - b)
      : ([a], [b]) => direction * ((`${a}` > `${b}`) - (`${a}` < `${b}`));
    keyed.sort((a, b) => {
      if (empty(a[0]) || empty(b[0])) return empty(a[0]) - empty(b[0]);
      return compareTwo(a, b);
    });
    found = keyed.map(([, image]) => image);
  }
  return found;
}

let chosen = images; // of very many: those that the filters of the table leave

/** Settings of a table of very many images: it has a page of them at a time. */
const MANY_ROWS = {
  ajaxURL: "rows",
  ajaxRequestFunc: (url, config, { page: number, size, filter = [], sort = [] }) => {
    chosen = choice(filter, sort);
    $("count").textContent = `${chosen.length} of ${images.length} images`;
    const some = chosen.slice((number - 1) * size, number * size);
    const last = Math.max(1, Math.ceil(chosen.length / size));
    return Promise.resolve({ last_page: last, data: some.map(record) });
  },
  ...{ pagination: true, paginationMode: "remote", paginationSize: 100 },
  ...{ sortMode: "remote", filterMode: "remote" },
};

/** Row of an image; none if the table does not show it. */
function rowOf(image) {
  if (!LARGE) return table.getRow(image.index);
  return table.getRows().find((row) => row.getIndex() === image.index);
}

function build() {
  if (table) return;
  table = new Tabulator("#table", {
    ...(LARGE ? MANY_ROWS : { data: images.map(record) }),
    columns: columns(),
    height: 540,
    layout: "fitData",
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
    choose();
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

/** List the columns with check boxes to show and hide them. */
function choose() {
  const boxes = table.getColumns().map((one) => {
    const box = make("input", { type: "checkbox", checked: one.isVisible() });
    box.addEventListener("change", () => (box.checked ? one.show() : one.hide()));
    return make("label", {}, box, one.getDefinition().title);
  });
  $("chooser").replaceChildren(...boxes);
}

function filtered() {
  const names = [...at.keys()];
  const shown = LARGE ? chosen : table.getData("active").map(({ id }) => images[id]);
  const rows = shown.map((image) => {
    const { rating, comment } = rated(image);
    return [...image.row, rating, comment];
  });
  return tsv([[...names, "rating", "comment"], ...rows]);
}
