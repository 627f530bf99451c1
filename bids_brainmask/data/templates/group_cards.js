// SPDX-License-Identifier: Apache-2.0
/* The images as cards: filters, order and selection. */

const PER_PAGE = 24;

const CHIPS = {
  all: ["All", () => true],
  doubtful: ["Doubtful", (image) => doubtful[image.index]],
  outliers: ["Outliers", (image) => image.outlier],
  unrated: ["Unrated", (image) => !rated(image).rating],
  accept: [DONE.accept, (image) => rated(image).rating === "accept"],
  exclude: [DONE.exclude, (image) => rated(image).rating === "exclude"],
  unsure: [DONE.unsure, (image) => rated(image).rating === "unsure"],
  ...(withLesions.size && {
    lesions: ["Candidate lesions", (image) => image.lesions.length > 0],
    open: ["Lesions to decide", isOpen],
  }),
};
let only = "all";
let view = []; // the filtered images in order; a new rating applies when the filters are used again
let page = 0;
let selected = null;
let dealt = []; // the images with a card

const FIRST = 1e6; // more than a score is

/** Number of each image to sort by: doubtful ones first, then outliers, then by score. */
function doubtfulFirst() {
  const scores = at.has(SCORE) ? numbersOf(at.get(SCORE)) : new Float64Array(images.length).fill(NaN);
  return scores.map((score, index) => {
    const place = 2 * doubtful[index] + images[index].outlier;
    return place ? -FIRST * place - (score || 0) : -score;
  });
}

let byDoubt = null;

/** Numbers to sort by, and the direction, by the words of the menu; null: as in the table. */
const orders = new Map([
  ["Doubtful, then outliers", [() => (byDoubt ??= doubtfulFirst()), 1]],
  ["By name", [() => null, 1]],
]);
for (const metric of data.metrics) {
  orders.set(`${metric.title}, low first`, [() => measures(metric), 1]);
  orders.set(`${metric.title}, high first`, [() => measures(metric), -1]);
}

const SEARCHED = ["group", ...data.doubts, WHY].filter((name) => at.has(name)).map((name) => at.get(name));

/** Filter and sort the cards; no word has a space, so that each is in one text of an image. */
function look() {
  const words = $("text").value.toLowerCase().split(/\s+/).filter(Boolean);
  const [fact, ...rest] = $("group").value.split("=");
  const group = rest.join("=");
  const of = FACTS.get(fact) ?? ((image) => image.group);
  const found = images.filter((image) => {
    if (!CHIPS[only][1](image)) return false;
    if (fact !== "all" && of(image) !== group) return false;
    const has = (word, text) => Boolean(text) && `${text}`.toLowerCase().includes(word);
    const inColumns = (word) => SEARCHED.some((column) => has(word, cell(image.index, column)));
    return words.every((word) => {
      return has(word, image.name) || inColumns(word) || has(word, rated(image).comment);
    });
  });
  const [keysOf, direction] = orders.get($("order").value);
  const [keys, indices] = [keysOf(), Uint32Array.from(found, (image) => image.index)];
  view = Array.from(keys ? sortBy(indices, keys, direction) : indices, (index) => images[index]);
  for (const chip of $("chips").children) {
    chip.setAttribute("aria-pressed", chip.dataset.only === only);
  }
  page = 0;
  deal();
  tell(`${view.length} images`);
}

/** Show the cards of a page; no others are in the document. */
function deal() {
  const last = Math.max(0, Math.ceil(view.length / PER_PAGE) - 1);
  page = Math.min(Math.max(page, 0), last);
  for (const image of dealt) image.card = null;
  const shown = view.slice(page * PER_PAGE, (page + 1) * PER_PAGE);
  dealt = shown;
  const none = make("p", { className: "muted", textContent: "No image matches." });
  $("cards").replaceChildren(...(shown.length ? shown.map(card) : [none]));
  const first = view.length ? page * PER_PAGE + 1 : 0;
  $("pages").textContent = `${first} to ${page * PER_PAGE + shown.length} of ${view.length}`;
  $("previous").disabled = page === 0;
  $("next").disabled = page === last;
}

function picture(address) {
  const missing = () => make("span", { className: "missing", textContent: "No figure" });
  if (!address) return missing();
  const shown = make("img", { src: address, alt: "", decoding: "async" });
  shown.addEventListener("error", () => shown.replaceWith(missing()));
  return shown;
}

/** The picture of a card, which opens the image in full screen. */
function frame(image) {
  const button = make("button", { type: "button", className: "frame" }, picture(image.thumbnail));
  if (image.lesionThumbnail) button.append(picture(image.lesionThumbnail));
  button.setAttribute("aria-label", `Rate ${image.name} in full screen`);
  button.addEventListener("click", () => {
    select(image, false);
    openView();
  });
  return button;
}

function card(image) {
  const to = { href: image.link, target: "_blank", rel: "noopener" };
  const fact = (name, digits) => {
    const found = value(image, name);
    return typeof found === "number" ? found.toFixed(digits) : "n/a";
  };
  const numbers = `${fact("volume_ml", 0)} mL · predicted Dice ${fact("predicted_dice", 3)}`;
  const score = value(image, SCORE);
  const badge = { className: `badge${image.outlier ? " warn" : ""}`, title: "Outlier score" };
  const buttons = Object.keys(CODES).map((word, index) => {
    const title = `${word} (${index + 1})`;
    const button = make("button", { type: "button", title, data: { rating: word } }, word);
    button.addEventListener("click", () => {
      rate(image, { rating: rated(image).rating === word ? "" : word });
    });
    return button;
  });
  const comment = make("input", { type: "text", placeholder: "Comment", maxLength: 500 });
  comment.setAttribute("aria-label", `Comment on ${image.name}`);
  comment.addEventListener("input", () => rate(image, { comment: comment.value.trim() }));
  image.card = make(
    "article",
    { className: "shot", tabIndex: -1, "aria-label": image.name },
    frame(image),
    make("h3", {}, make("a", { ...to, title: image.name }, shorten(image.name))),
    make(
      "p",
      { className: "small muted" },
      score === null ? null : make("span", badge, score.toFixed(1)),
      ` ${numbers}`,
    ),
    make(
      "ul",
      { className: `reasons${score === null ? " plain" : ""}` },
      ...image.reasons.map((text, index) => {
        return make("li", { className: index < image.doubts.length ? "doubt" : "" }, text);
      }),
    ),
    make("p", { className: "small stale", hidden: true }, "The mask has changed since this rating."),
    make("p", { className: "small said" }),
    image.lesions.length ? lesionList(image, MOST_ON_CARD) : null,
    make("div", { className: "verdict", role: "group", "aria-label": "Rating" }, ...buttons),
    comment,
  );
  image.card.addEventListener("focusin", () => select(image, false));
  image.card.addEventListener("click", () => select(image, false));
  dress(image);
  dressLesions(image);
  return image.card;
}

/** What other raters say about an image. */
function saidOf(image) {
  const words = ([rater, some]) => {
    const one = some.get(image.name);
    if (!one?.rating) return [];
    const why = [...one.reasons, one.comment].filter(Boolean).join(", ");
    const old = isStale(image, one) ? ", of an earlier mask" : "";
    return [`${shorten(rater || "no name", 30)}: ${one.rating}${why && ` (${why})`}${old}`];
  };
  return [...others].flatMap(words);
}

/** Show the rating and the selection on a card. */
function dress(image) {
  const { rating, comment, reasons } = rated(image);
  image.card.dataset.rating = rating;
  const said = [...reasons, ...saidOf(image)].join("; ");
  image.card.querySelector(".said").textContent = said;
  image.card.querySelector(".said").hidden = !said;
  for (const button of image.card.querySelectorAll("[data-rating]")) {
    button.setAttribute("aria-pressed", button.dataset.rating === rating);
  }
  image.card.querySelector(".stale").hidden = !isStale(image);
  const field = image.card.querySelector("input");
  if (field !== document.activeElement) field.value = comment;
  if (image === selected) image.card.setAttribute("aria-current", "true");
  else image.card.removeAttribute("aria-current");
}

/** Select an image for the keys, and show it everywhere; scroll to its card if asked. */
function select(image, reveal = true) {
  const before = selected;
  selected = image;
  if (reveal) {
    if (!view.includes(image)) {
      [only, $("text").value, $("group").value] = ["all", "", "all"];
      look();
    }
    const wanted = Math.floor(view.indexOf(image) / PER_PAGE);
    if (!image.card || page !== wanted) {
      page = wanted;
      deal();
    }
    image.card.focus({ preventScroll: true });
    image.card.scrollIntoView({ block: "nearest" });
  }
  if (before === image) return;
  since = Date.now();
  for (const one of [before, image]) {
    if (!one) continue;
    if (one.card) dress(one);
    const row = tableReady && rowOf(one); // while it is made, it finds none
    if (row) row.getElement().classList.toggle("here", one === selected);
  }
  pointLater();
  drawPlotsLater();
  showView();
}

function move(step) {
  const place = view.indexOf(selected);
  if (!view.length) return;
  const first = page * PER_PAGE;
  const next = place < 0 ? first : Math.min(Math.max(place + step, 0), view.length - 1);
  select(view[next]);
}
