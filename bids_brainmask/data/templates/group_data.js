// SPDX-License-Identifier: Apache-2.0
/* The data of the page about all images, and what makes nodes, texts and files of them.

The data may be hostile. It is added to the page as text (`make`), to Plotly's texts, which allow
some tags, with `plotText`, and to Tabulator as nodes. */

const data = JSON.parse(document.getElementById("data").textContent);
const beside = Boolean(globalThis.brainmaskData); // whether the images are in files beside the page
for (const part of globalThis.brainmaskData ?? []) {
  for (const [name, list] of Object.entries(JSON.parse(part))) data[name].push(...list);
}
delete globalThis.brainmaskData;
const LARGE = beside || data.names.length > 10000; // then the table is sorted and filtered by this script
const at = new Map(data.columns.map((column, index) => [column.name, index]));
const images = data.names.map((name, index) => ({
  index,
  name,
  link: data.links[index],
  mask: data.masks[index],
  thumbnail: data.thumbnails[index],
  row: data.rows[index],
}));

let live = false; // whether a server keeps the ratings

const $ = (id) => document.getElementById(id);

/** Make an element; strings become text, never tags. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "data") Object.assign(element.dataset, value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Value of an image in a column; null for one that is not known, or no column. */
const value = (image, name) => (at.has(name) ? image.row[at.get(name)] : null);

/** Smallest of an image's numbers in a metric's columns; null for none. */
function measure(image, metric) {
  if (metric.columns.length === 1) return image.row[metric.columns[0]];
  const found = metric.columns.map((column) => image.row[column]).filter((x) => x !== null);
  return found.length ? Math.min(...found) : null;
}

/** Write a number with four digits that count. */
function show(number) {
  if (number === null || typeof number !== "number") return number === null ? "n/a" : `${number}`;
  return Number.isInteger(number) ? `${number}` : `${Number(number.toPrecision(4))}`;
}

const withUnits = (number, units) => (units ? `${show(number)} ${units}` : show(number));

/** Shorten a text in its middle: both ends of a name say which it is. */
function shorten(text, length = 60) {
  const half = Math.floor((length - 1) / 2);
  return text.length <= length ? text : `${text.slice(0, half)}…${text.slice(-half)}`;
}

/** Make text fit Plotly's labels, which know tags and entities. */
const plotText = (text) =>
  shorten(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

/** Bounded part of a sequence that is spread evenly, for the places of points; in (0, 1). */
const scatter = (index) => (index * 0.6180339887498949 + 0.5) % 1;

const tell = (text) => ($("status").textContent = text);

const open = (image) => window.open(image.link, "_blank", "noopener");

/** Show a message until it is closed. */
function notice(text, ...more) {
  const close = make("button", { type: "button", textContent: "Close" });
  const box = make("div", { className: "notice told toolbar", role: "status" }, text, ...more, close);
  close.addEventListener("click", () => box.remove());
  // The view is over everything else; its notices move to the page when it is closed.
  if ($("view").open) $("stages").before(box);
  else $("notices").append(box);
  box.scrollIntoView({ block: "nearest" });
  return box;
}

/** Give the user a file. */
function save(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/tab-separated-values" }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

/** Write tab-separated values; what holds a quotation mark is quoted, as pandas expects. */
function tsv(rows) {
  const field = (found) => {
    const text = `${found ?? ""}`.replace(/[\t\r\n]+/g, " ").trim();
    return text === "" ? "n/a" : text.includes('"') ? `"${text.replace(/"/g, '""')}"` : text;
  };
  return rows.map((row) => `${row.map(field).join("\t")}\n`).join("");
}

/** Read tab- or comma-separated values into objects, by the names in the first line. */
function parse(text) {
  const lines = text.replace(/^\ufeff/, "").split(/\r\n|\n|\r/).filter((line) => line.trim());
  const mark = (lines[0] ?? "").includes("\t") ? "\t" : ",";
  const quoted = new RegExp(`"((?:[^"]|"")*)"(?:${mark}|$)|([^${mark}]*)(?:${mark}|$)`, "y");
  const split = (line) => {
    const fields = [];
    for (quoted.lastIndex = 0; quoted.lastIndex < line.length; ) {
      const [, inside, bare] = quoted.exec(line);
      fields.push((inside === undefined ? bare : inside.replace(/""/g, '"')).trim());
    }
    return fields.map((found) => (/^(n\/a|na|nan)$/i.test(found) ? "" : found));
  };
  const names = lines.length ? split(lines[0]).map((name) => name.toLowerCase()) : [];
  return lines.slice(1).map((line) => {
    const fields = split(line);
    return new Map(names.map((name, index) => [name, fields[index] ?? ""]));
  });
}

const SCORE = "outlier_score";
const outliers = new Set(data.outliers);
for (const image of images) {
  const reasons = (name) => `${value(image, name) ?? ""}`.split(/;\s*/).filter(Boolean);
  image.doubts = data.doubts.flatMap(reasons);
  image.reasons = [...image.doubts, ...reasons("outlier_reasons")];
  image.outlier = outliers.has(image.index);
  image.group = value(image, "group") === null ? "" : `${value(image, "group")}`;
  image.label = plotText(image.name);
}
