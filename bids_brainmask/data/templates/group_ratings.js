// SPDX-License-Identifier: Apache-2.0
/* Ratings of images: stored by the browser or the server, exported, imported and merged.

Every rating has a rater. Those of the person at this page are `ratings`; the others' are `others`. */

const CODES = { accept: 1, exclude: -1, unsure: 0 }; // as MRIQC's raters write them
const DONE = { accept: "Accepted", exclude: "Excluded", unsure: "Unsure" };
const TABLE = [
  ...["participant_id", "session_id", "image", "rating", "rater_1", "comment", "time"],
  ...["rater", "seconds", "mask_sha256", "reasons"],
];
const REASONS = data.reasons; // by the letter that is pressed for each
const NAME = `${data.key[0]}:rater`; // under which the browser keeps the rater's name

const STORE = data.key.join(":");
const known = new Map(images.map((image) => [image.name, image]));
const NOTHING = { rating: "", comment: "", time: "", mask: "", seconds: "", reasons: [] };
let me = readName();
let ratings = new Map(); // by the name of the image, each like NOTHING
let others = new Map(); // the same, by the name of the rater
load();
let since = Date.now(); // when the image that is looked at was selected
let kept = true;

function readName() {
  try {
    return localStorage.getItem(NAME) ?? "";
  } catch {
    return ""; // A browser without storage: `keep` reports it.
  }
}

/** List the ratings that a page stored, for images of this page only. */
function stored(key) {
  const found = [];
  try {
    for (const one of JSON.parse(localStorage.getItem(key)) ?? []) {
      const [name, rating, comment, time, mask = "", seconds = "", reasons = [], rater = me] = one;
      if (!known.has(name) || (rating !== "" && !(rating in CODES))) continue;
      const list = Array.isArray(reasons) ? reasons.map((reason) => `${reason}`) : [];
      const whole = { rating, comment: `${comment}`, time, mask: `${mask}`, seconds, reasons: list };
      found.push([`${rater}`, name, whole]);
    }
  } catch {
    // Not written by this page, or a browser without storage: `keep` reports the latter.
  }
  return found;
}

/** Ratings of a rater; `others` gets a place for a new one. */
function of(rater) {
  if (rater === me) return ratings;
  if (!others.has(rater)) others.set(rater, new Map());
  return others.get(rater);
}

/** Read the ratings that the browser keeps. */
function load() {
  [ratings, others] = [new Map(), new Map()];
  for (const [rater, name, one] of stored(STORE)) of(rater).set(name, one);
}

/** Ratings of all raters, as [rater, name of the image, rating]. */
function everything() {
  const list = (rater, some) => [...some].map(([name, one]) => [rater, name, one]);
  return [...list(me, ratings), ...[...others].flatMap(([rater, some]) => list(rater, some))];
}

function keep() {
  if (live) return; // the server has them
  const all = everything().map(([rater, name, r]) => {
    return [name, r.rating, r.comment, r.time, r.mask, r.seconds, r.reasons, rater];
  });
  try {
    localStorage.setItem(STORE, JSON.stringify(all));
    kept = true;
  } catch {
    if (kept) notice("This browser cannot store ratings. Export them before you close the page.");
    kept = false;
  }
}

/** Take another rater's name: their ratings are shown as one's own, those of before as another's.

What was rated without a name belongs to the first name that is given. */
function rename(name) {
  if (name === me) return;
  const [before, mine] = [ratings, others.get(name) ?? new Map()];
  others.delete(name);
  if (me) others.set(me, before);
  const moved = me ? [] : [...before].filter(([image]) => !mine.has(image));
  [me, ratings] = [name, mine];
  for (const [image, one] of moved) {
    ratings.set(image, one);
    if (!live) continue;
    send(known.get(image), one);
    send(known.get(image), { ...NOTHING, time: now() }, "");
  }
  undone.length = 0;
  try {
    localStorage.setItem(NAME, me);
  } catch {
    // `keep` reports a browser without storage.
  }
  keep();
  refresh(images);
}

/** Rating and comment of an image, empty for none. */
const rated = (image) => ratings.get(image.name) ?? NOTHING;

/** Whether the mask of an image is another one than when it was rated. */
function isStale(image, { rating, mask } = rated(image)) {
  return Boolean(rating && mask && image.mask && mask !== image.mask);
}

const now = () => new Date().toISOString().replace(/\.\d+Z$/, "Z");

const undone = []; // images with the ratings that they had before, the last one at the end
const taken = []; // seconds of the last ratings

/** Change a rating, a reason or a comment, and store it. */
function rate(image, change) {
  if (!("rating" in change)) return put(image, change);
  undone.push([image, rated(image)]);
  const seconds = image === selected ? Math.round((Date.now() - since) / 1000) : "";
  if (seconds !== "" && change.rating && taken.push(seconds) > 20) taken.shift();
  return put(image, { ...change, mask: image.mask, seconds });
}

/** Give or take a reason. */
function reason(image, word) {
  const before = rated(image).reasons;
  const reasons = before.includes(word) ? before.filter((one) => one !== word) : [...before, word];
  put(image, { reasons, mask: image.mask });
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
  if (made.rating || made.comment || made.reasons.length) ratings.set(image.name, made);
  else ratings.delete(image.name);
  if (live) send(image, made);
  keep();
  refresh([image]);
  if ("rating" in change) {
    tell(`${image.name}: ${change.rating || "no rating"}. ${$("progress").textContent}`);
  }
}

/** Path of an image's mask, by which tables know it. */
const pathOf = (image) => `${value(image, "image") ?? image.name}`;

function ratingTable() {
  const row = (image, { rating, comment, time, mask, seconds, reasons }, rater) => {
    const [participant, session] = ["participant_id", "session_id"].map((c) => value(image, c));
    const said = [rating, CODES[rating], comment, time, rater, seconds, mask, reasons.join("; ")];
    return [participant, session, pathOf(image), ...said];
  };
  const mine = images.map((image) => row(image, rated(image), rated(image).time && me));
  const theirs = [...others].flatMap(([rater, some]) => {
    return [...some].map(([name, one]) => row(known.get(name), one, rater));
  });
  return tsv([TABLE, ...mine, ...theirs]);
}

/** Map the names in tables of ratings to images; null for a name of several images. */
function directory() {
  const found = new Map();
  const add = (key, image) => {
    if (found.has(key) && found.get(key) !== image) found.set(key, null);
    else found.set(key, image);
  };
  for (const image of images) {
    add(pathOf(image), image);
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

/** Split reasons, as tables have them. */
const reasonsOf = (text) => text.split(";").map((part) => part.trim()).filter(Boolean);

/** Merge a table of ratings into those of this page; of one rater's two, the newer is used.

Rows of another rater stay that rater's. Where a rating of the table differs from the one here,
both are told of. A table without times changes no rating that is here. */
function merge(text) {
  const where = directory();
  const told = { taken: 0, same: 0, older: 0, differing: [], unknown: [], odd: [] };
  for (const row of parse(text)) {
    const person = (row.get("participant_id") || row.get("subject_id") || "").replace(/^sub-/, "");
    const session = (row.get("session_id") || "").replace(/^ses-/, "");
    const path = row.get("image") || row.get("bids_name") || "";
    const rating = understand(row);
    const comment = row.get("comment") || "";
    const reasons = reasonsOf(row.get("reasons") || "");
    if (rating === "" && !comment && !reasons.length) continue;
    const name = path || [person, session].filter(Boolean).join(" ");
    const image = where.get(path || (session ? `\t${person}\t${session}` : `\t${person}`));
    if (rating === null) told.odd.push(name);
    else if (!image) told.unknown.push(name);
    else {
      const [time, mask, seconds] = ["time", "mask_sha256", "seconds"].map((c) => row.get(c) || "");
      take(image, { rating, comment, time, mask, seconds, reasons }, row.get("rater") || me, told);
    }
  }
  keep();
  refresh(images);
  return told;
}

function take(image, found, rater, told) {
  const mine = rated(image);
  if (mine.rating && found.rating && mine.rating !== found.rating) {
    told.differing.push(`${shorten(image.name)} (${mine.rating} here, ${found.rating} there)`);
  }
  const before = of(rater).get(image.name) ?? NOTHING;
  const same = ["rating", "comment"].every((name) => before[name] === found[name]);
  if (same && `${before.reasons}` === `${found.reasons}`) told.same += 1;
  else if (before.time && (!found.time || found.time <= before.time)) told.older += 1;
  else {
    told.taken += 1;
    const whole = { ...found, time: found.time || now() };
    of(rater).set(image.name, whole);
    if (live) send(image, whole, rater);
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
  const found = [];
  try {
    const start = `${data.key.slice(0, 2).join(":")}:`;
    for (let i = 0; i < localStorage.length; i += 1) {
      const key = localStorage.key(i);
      if (key.startsWith(start) && key !== STORE) found.push(...stored(key));
    }
  } catch {
    return;
  }
  found.sort((a, b) => (a[2].time < b[2].time ? -1 : 1));
  const news = new Set(found.map(([, name]) => name));
  if (ratings.size || others.size || !news.size) return;
  const button = make("button", { type: "button", className: "main", textContent: "Use them" });
  const text = `This browser has ratings of ${news.size} of these images, from an earlier version of this page.`;
  const box = notice(text, button);
  button.addEventListener("click", () => {
    for (const [rater, name, one] of found) of(rater).set(name, one);
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
  numbers.doubtful = doubtful.filter(Boolean).length;
  numbers.outliers = outliers.size;
  if (withLesions.size) {
    numbers.lesions = withLesions.size;
    numbers.open = [...withLesions.values()].filter(isOpen).length;
  }
  for (const chip of $("chips").children) {
    chip.lastChild.textContent = ` ${numbers[chip.dataset.only]}`;
  }
  for (const image of changed) if (image.card) dress(image);
  if (changed.includes(selected)) dressView();
  updateRows(changed);
  compareLater();
  if ($("color").value === "rating") redraw();
}
