// SPDX-License-Identifier: Apache-2.0
/* Ratings of images: stored by the browser, exported, imported and merged. */

const CODES = { accept: 1, exclude: -1, unsure: 0 }; // as MRIQC's raters write them
const DONE = { accept: "Accepted", exclude: "Excluded", unsure: "Unsure" };
const TABLE = [
  ...["participant_id", "session_id", "image", "rating", "rater_1", "comment", "time"],
  ...["rater", "seconds", "mask_sha256"],
];
const NAME = `${data.key[0]}:rater`; // under which the browser keeps the rater's name

const STORE = data.key.join(":");
const known = new Map(images.map((image) => [image.name, image]));
let ratings = load(STORE); // by name: {rating, comment, time, mask, seconds}
let since = Date.now(); // when the image that is looked at was selected
let kept = true;

/** Read the ratings that a page stored, for images of this page only. */
function load(key) {
  const found = new Map();
  try {
    for (const one of JSON.parse(localStorage.getItem(key)) ?? []) {
      const [name, rating, comment, time, mask = "", seconds = ""] = one;
      const whole = rating === "" || rating in CODES;
      const kept = { rating, comment: `${comment}`, time, mask: `${mask}`, seconds };
      if (known.has(name) && whole) found.set(name, kept);
    }
  } catch {
    // Not written by this page, or a browser without storage: `keep` reports the latter.
  }
  return found;
}

function keep() {
  const all = [...ratings].map(([name, r]) => {
    return [name, r.rating, r.comment, r.time, r.mask, r.seconds];
  });
  try {
    localStorage.setItem(STORE, JSON.stringify(all));
    kept = true;
  } catch {
    if (kept) notice("This browser cannot store ratings. Export them before you close the page.");
    kept = false;
  }
}

/** Rating and comment of an image, empty for none. */
const NOTHING = { rating: "", comment: "", time: "", mask: "", seconds: "" };
const rated = (image) => ratings.get(image.name) ?? NOTHING;

/** Whether the mask of an image is another one than when it was rated. */
function isStale(image) {
  const { rating, mask } = rated(image);
  return Boolean(rating && mask && image.mask && mask !== image.mask);
}

const now = () => new Date().toISOString().replace(/\.\d+Z$/, "Z");

const undone = []; // images with the ratings that they had before, the last one at the end

/** Change a rating or a comment, and store it. */
function rate(image, change) {
  if (!("rating" in change)) return put(image, change);
  undone.push([image, rated(image)]);
  const taken = image === selected ? Math.round((Date.now() - since) / 1000) : "";
  return put(image, { ...change, mask: image.mask, seconds: taken });
}

/** Give the image that was rated last the rating that it had before. */
function undo() {
  if (!undone.length) return;
  const [image, { rating, mask, seconds }] = undone.pop();
  put(image, { rating, mask, seconds });
  select(image);
}

function put(image, change) {
  const made = { ...rated(image), ...change, time: now() };
  if (made.rating || made.comment) ratings.set(image.name, made);
  else ratings.delete(image.name);
  keep();
  refresh([image]);
  if ("rating" in change) {
    tell(`${image.name}: ${change.rating || "no rating"}. ${$("progress").textContent}`);
  }
}

function ratingTable() {
  const rows = images.map((image) => {
    const { rating, comment, time, mask, seconds } = rated(image);
    const [participant, session] = ["participant_id", "session_id"].map((c) => value(image, c));
    const path = value(image, "image") ?? image.name;
    const rater = time && $("rater").value.trim();
    return [participant, session, path, rating, CODES[rating], comment, time, rater, seconds, mask];
  });
  return tsv([TABLE, ...rows]);
}

/** Map the names in tables of ratings to images; null for a name of several images. */
function directory() {
  const found = new Map();
  const add = (key, image) => {
    if (found.has(key) && found.get(key) !== image) found.set(key, null);
    else found.set(key, image);
  };
  for (const image of images) {
    add(`${value(image, "image")}`, image);
    add(image.name, image);
    const [participant, session] = ["participant_id", "session_id"].map((c) => value(image, c));
    const person = `${participant}`.replace(/^sub-/, "");
    add(`\t${person}`, image);
    add(`\t${person}\t${`${session ?? ""}`.replace(/^ses-/, "")}`, image);
  }
  return found;
}

/** Read a rating in the form of this page, MRIQC or Qoala-T; null: unknown value. */
function understand(row) {
  const words = { accept: "accept", include: "accept", exclude: "exclude", unsure: "unsure" };
  const said = (row.get("rating") || row.get("rater_1") || "").toLowerCase();
  if (said === "") return "";
  if (said in words) return words[said];
  return Object.keys(CODES).find((word) => Number(said) === CODES[word]) ?? null;
}

/** Merge a table of ratings into those of this page; the newer of two is used.

Where a rating of the table differs from the one here, both are told of. A table without times
changes no rating that is here. */
function merge(text) {
  const where = directory();
  const told = { taken: 0, same: 0, older: 0, differing: [], unknown: [], odd: [] };
  for (const row of parse(text)) {
    const person = (row.get("participant_id") || row.get("subject_id") || "").replace(/^sub-/, "");
    const session = (row.get("session_id") || "").replace(/^ses-/, "");
    const path = row.get("image") || row.get("bids_name") || "";
    const rating = understand(row);
    const comment = row.get("comment") || "";
    if (rating === "" && !comment) continue;
    const name = path || [person, session].filter(Boolean).join(" ");
    const image = where.get(path || (session ? `\t${person}\t${session}` : `\t${person}`));
    if (rating === null) told.odd.push(name);
    else if (!image) told.unknown.push(name);
    else {
      const [time, mask, seconds] = ["time", "mask_sha256", "seconds"].map((c) => row.get(c) || "");
      take(image, { rating, comment, time, mask, seconds }, told);
    }
  }
  keep();
  refresh(images);
  return told;
}

function take(image, found, told) {
  const mine = rated(image);
  if (mine.rating && found.rating && mine.rating !== found.rating) {
    told.differing.push(`${shorten(image.name)} (${mine.rating} here, ${found.rating} there)`);
  }
  if (mine.rating === found.rating && mine.comment === found.comment) told.same += 1;
  else if (mine.time && (!found.time || found.time <= mine.time)) told.older += 1;
  else {
    told.taken += 1;
    ratings.set(image.name, { ...found, time: found.time || now() });
  }
}

/** Report the result of an import. */
function tellOf(told, file) {
  const some = (names) => {
    const more = names.length > 5 ? ` and ${names.length - 5} more` : "";
    return names.slice(0, 5).map((name) => shorten(name, 90)).join(", ") + more;
  };
  const parts = [`${file}: ${told.taken} ratings imported`];
  if (told.same) parts.push(`${told.same} unchanged`);
  if (told.older) {
    parts.push(`${told.older} ignored, because the rating here is newer or the table has no time`);
  }
  if (told.differing.length) parts.push(`rated differently: ${some(told.differing)}`);
  if (told.unknown.length) parts.push(`unknown or ambiguous images: ${some(told.unknown)}`);
  if (told.odd.length) parts.push(`unknown values of ratings: ${some(told.odd)}`);
  notice(`${parts.join("; ")}.`);
}

/** Offer the ratings of an earlier page of the same dataset, with fewer or more images. */
function offer() {
  const others = [];
  try {
    const start = `${data.key.slice(0, 2).join(":")}:`;
    for (let i = 0; i < localStorage.length; i += 1) {
      const key = localStorage.key(i);
      if (key.startsWith(start) && key !== STORE) others.push(...load(key));
    }
  } catch {
    return;
  }
  const news = new Map(others.sort((a, b) => (a[1].time < b[1].time ? -1 : 1)));
  if (ratings.size || !news.size) return;
  const button = make("button", { type: "button", className: "main", textContent: "Use them" });
  const text = `This browser has ratings of ${news.size} of these images, from an earlier version of this page.`;
  const box = notice(text, button);
  button.addEventListener("click", () => {
    ratings = news;
    keep();
    refresh(images);
    box.remove();
  });
}

/** Update the ratings of some images everywhere on the page. */
function refresh(changed) {
  const counts = { accept: 0, exclude: 0, unsure: 0 };
  for (const { rating } of ratings.values()) if (rating) counts[rating] += 1;
  const done = counts.accept + counts.exclude + counts.unsure;
  $("progress").textContent = `${done} of ${images.length} rated`;
  $("bar").replaceChildren(
    ...Object.entries(counts).map(([word, count]) => {
      const part = make("span", { data: { rating: word } });
      part.style.width = `${(100 * count) / Math.max(1, images.length)}%`;
      return part;
    }),
  );
  const numbers = { ...counts, all: images.length, unrated: images.length - done };
  numbers.outliers = outliers.size;
  for (const chip of $("chips").children) {
    chip.lastChild.textContent = ` ${numbers[chip.dataset.only]}`;
  }
  for (const image of changed) if (image.card) dress(image);
  if (table) {
    table.updateData(
      changed.map((i) => ({ id: i.index, rating: rated(i).rating, comment: rated(i).comment })),
    );
  }
  if ($("color").value === "rating") redraw();
}
