// SPDX-License-Identifier: Apache-2.0
/* The data of the page about all images, and what makes nodes, texts and files of them.

The data may be hostile. It is added to the page as text (`make`), and to Tabulator as nodes. */

const data = JSON.parse(document.getElementById("data").textContent);
const beside = Boolean(globalThis.brainmaskData); // whether the images are in files beside the page
const parts = globalThis.brainmaskData ?? [data.lists];
delete globalThis.brainmaskData;
const lists = new Map(); // those that were read

/** List with a place for each image; texts of very many images are read when first wanted. */
function list(name) {
  if (!lists.has(name)) {
    const some = parts.map((part) => part[name]);
    for (const part of parts) delete part[name];
    lists.set(name, [].concat(...some.map((one) => (typeof one === "string" ? JSON.parse(one) : one))));
  }
  return lists.get(name);
}

const at = new Map(data.columns.map((column, index) => [column.name, index]));
const numbers = new Map(); // of columns, by their indices

/** Numbers of a column, by the indices of images; NaN for one that is not known. */
function numbersOf(column) {
  if (!numbers.has(column)) {
    const read = list(`c${column}`);
    const found = new Float64Array(read.length);
    for (let i = 0; i < read.length; i += 1) found[i] = read[i] ?? NaN;
    numbers.set(column, found);
    if (data.columns[column].number) lists.delete(`c${column}`); // it takes several times the memory
  }
  return numbers.get(column);
}

const isKnown = (number) => !Number.isNaN(number);

/** Values of a column, as numbers if it has numbers alone. */
const valuesOf = (column) => (data.columns[column].number ? numbersOf(column) : list(`c${column}`));

/** Value of an image in a column, by their indices; null for one that is not known. */
function cell(index, column) {
  const found = valuesOf(column)[index];
  return isKnown(found) ? found : null;
}

/** Value of an image in a column; null for one that is not known, or no column. */
const value = (image, name) => (at.has(name) ? cell(image.index, at.get(name)) : null);

const [SCORE, WHY] = ["outlier_score", "outlier_reasons"];
const outliers = new Set(data.outliers);
const split = (text) => `${text ?? ""}`.split(/;\s*/).filter(Boolean);
const NO_LESIONS = [];

class ImageRow {
  card = null;
  lesions = NO_LESIONS;
  lesionThumbnail = null;
  constructor(name, index) {
    this.name = name;
    this.index = index;
    this.outlier = outliers.has(index);
  }
  get link() {
    return list("links")[this.index];
  }
  get mask() {
    return list("masks")[this.index];
  }
  get thumbnail() {
    return list("thumbnails")[this.index];
  }
  get row() {
    return data.columns.map((_, column) => cell(this.index, column));
  }
  get group() {
    return `${value(this, "group") ?? ""}`;
  }
  get doubts() {
    return data.doubts.flatMap((name) => split(value(this, name)));
  }
  get reasons() {
    return [...this.doubts, ...split(value(this, WHY))];
  }
}

const images = list("names").map((name, index) => new ImageRow(name, index));
const LARGE = beside || images.length > 10000; // then the table is sorted and filtered by this script

/** Whether each image is doubtful. */
const doubtful = images.map(() => false);
for (const name of data.doubts) {
  for (const [index, text] of list(`c${at.get(name)}`).entries()) if (text) doubtful[index] = true;
}

/** Values of all images in a column, each once. */
const distinct = (name) => [...new Set(at.has(name) ? valuesOf(at.get(name)) : [])];

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

const metricNumbers = new Map(); // of metrics of several columns, by their names

/** A metric's numbers, by the indices of images: the smallest of its columns; NaN for none. */
function measures(metric) {
  if (metric.columns.length === 1) return numbersOf(metric.columns[0]);
  if (!metricNumbers.has(metric.name)) {
    const [found, ...others] = metric.columns.map((column) => numbersOf(column).slice());
    for (const other of others) {
      other.forEach((number, index) => {
        if (!(found[index] <= number) && isKnown(number)) found[index] = number;
      });
    }
    metricNumbers.set(metric.name, found);
  }
  return metricNumbers.get(metric.name);
}

const sorted = new WeakMap(); // known numbers, by the lists that they are of

/** Known numbers of a list, from the smallest. */
function sortedOf(numbers) {
  if (!sorted.has(numbers)) sorted.set(numbers, numbers.filter(isKnown).sort());
  return sorted.get(numbers);
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

/** Sort indices of images by a number of each; unknown ones are last in both directions.

What has the same number stays in its order. The browser sorts numbers faster than anything else:
each has the place of an image's number, and then the place that the image has now. */
function sortBy(indices, keys, direction = 1) {
  const known = sortedOf(keys);
  const [last, length] = [known.length, indices.length];
  const both = new Float64Array(length);
  for (let now = 0; now < length; now += 1) {
    const number = keys[indices[now]];
    const there = isKnown(number) ? place(known, number) : last;
    both[now] = (direction < 0 && there < last ? last - 1 - there : there) * length + now;
  }
  return Uint32Array.from(both.sort(), (one) => indices[one % length]);
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
