// SPDX-License-Identifier: Apache-2.0
/* The table of all images, made with Tabulator. */

let table = null;

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
  const first = [SCORE, "outlier_reasons", "group", ...data.first].filter((name) => at.has(name));
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

function build() {
  if (table) return;
  table = new Tabulator("#table", {
    data: images.map((image) => ({
      id: image.index,
      name: image.name,
      rating: rated(image).rating,
      comment: rated(image).comment,
      ...Object.fromEntries(image.row.map((found, index) => [`c${index}`, found])),
    })),
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
  table.on("dataFiltered", (filters, rows) => count(rows.length));
  table.on("tableBuilt", () => {
    count(images.length);
    choose();
  });
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
  const rows = table.getData("active").map(({ id }) => {
    const { rating, comment } = rated(images[id]);
    return [...images[id].row, rating, comment];
  });
  return tsv([[...names, "rating", "comment"], ...rows]);
}
