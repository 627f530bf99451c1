// SPDX-License-Identifier: Apache-2.0
/* Start and events of the group report. This part comes after the others, in one function. */

const KEYS = { 1: "accept", 2: "exclude", 3: "unsure", 0: "" };

const MOST_CLASSES = 60; // of a fact, in the menu

const dark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};

function paint(chosen) {
  if (chosen) document.documentElement.dataset.theme = chosen;
  $("theme").textContent = dark() ? "Light" : "Dark";
  redraw();
}

const typing = (element) =>
  element.matches("textarea, select, [contenteditable]") ||
  (element.matches("input") && element.type !== "checkbox");

/** Rate the selected image, and go to the next one if that is wanted. */
function verdict(rating) {
  rate(selected, { rating });
  if (rating && $("advance").checked) move(1);
}

function pressed(event) {
  const undoes = (event.ctrlKey || event.metaKey) && !event.shiftKey && event.key === "z";
  if (undoes && !typing(event.target) && !event.defaultPrevented) {
    event.preventDefault();
    undo();
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if ($("help").open) return;
  if (typing(event.target)) {
    if (event.key !== "Escape") return;
    if ($("view").open) {
      event.preventDefault(); // else it would close the view
      $("stages").focus();
    } else (selected?.card ?? document.body).focus();
    return;
  }
  const acts = {
    ArrowLeft: () => move(-1),
    ArrowRight: () => move(1),
    "?": () => $("help").showModal(),
    "/": () => $("text").focus(),
  };
  if (selected) {
    for (const [key, rating] of Object.entries(KEYS)) acts[key] = () => verdict(rating);
    for (const [key, word] of Object.entries(REASONS)) acts[key] = () => reason(selected, word);
    acts.v = openView;
    if (selected.card) acts.c = () => selected.card.querySelector("input").focus();
    if ($("view").open) Object.assign(acts, VIEW_KEYS);
    if (!event.target.closest("a, button, summary, input")) acts.Enter = () => open(selected);
  }
  if (event.key === " " && event.target.closest("a, button, summary, input")) return;
  if (!Object.hasOwn(acts, event.key)) return;
  event.preventDefault();
  acts[event.key]();
}

function option(text, key = text) {
  return make("option", { value: key, textContent: shorten(text, 48) });
}

function furnish() {
  $("chips").replaceChildren(
    ...Object.entries(CHIPS).map(([key, [label]]) => {
      const chip = make("button", { type: "button", data: { only: key } }, label, make("span"));
      chip.addEventListener("click", () => {
        only = key;
        look();
      });
      return chip;
    }),
  );
  const groups = [...new Set(distinct("group").map((name) => `${name ?? ""}`))].sort();
  const named = groups.map((name) => option(name || "no group", `=${name}`));
  const sets = [...CLASSES].map(([name, found]) => {
    const label = data.columns[at.get(name)].title;
    const some = found.slice(0, MOST_CLASSES).map((one) => option(one, `${name}=${one}`));
    return found.length > 1 ? make("optgroup", { label }, ...some) : null;
  });
  const alike = make("optgroup", { label: "Compared images" }, ...named);
  const shownSets = [groups.length > 1 ? alike : null, ...sets].filter(Boolean);
  $("group").replaceChildren(option("all"), ...shownSets);
  $("group").parentElement.hidden = !shownSets.length;
  $("order").replaceChildren(...[...orders.keys()].map((name) => option(name)));
  const by = Object.entries(COLOR_BY).filter(differs);
  $("color").replaceChildren(...by.map(([key, [label]]) => option(label, key)));
  $("metrics").replaceChildren(...strips.map((strip) => strip.figure));
  const same = data.constant.map((m) => `${m.title} ${withUnits(m.value, m.units)}`);
  const odd = nthOutlier > 1 ? `one in ${nthOutlier} outliers` : "each outlier";
  const some = nth > 1 ? `Points are one in ${nth} images and ${odd}. ` : "";
  const constant = same.length ? `The same in all images: ${same.join("; ")}.` : "";
  $("constant").textContent = some + constant;
  $("volumes").hidden = !plots.length;
  $("plots").replaceChildren(...plots.map((plot) => plot.figure));
}

function listen() {
  for (const id of ["group", "order"]) $(id).addEventListener("change", look);
  $("text").addEventListener("input", look);
  $("previous").addEventListener("click", () => turn(-1));
  $("next").addEventListener("click", () => turn(1));
  $("color").addEventListener("change", redraw);
  $("scale").addEventListener("change", () => plots.filter((one) => one.drawn).forEach(drawPlot));
  $("export").addEventListener("click", () => save("group_desc-brain_ratings.tsv", ratingTable()));
  $("export-lesions").addEventListener("click", exportDecisions);
  $("rater").addEventListener("change", () => rename($("rater").value.trim()));
  $("import").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", async () => {
    const [file] = $("file").files;
    const text = file ? await file.text() : "";
    if (isDecisions(text)) importDecisions(text, file.name);
    else if (file) tellOf(merge(text), file.name);
    $("file").value = "";
  });
  $("clear").addEventListener("click", () => {
    const said = `Clear your ratings and comments of ${ratings.size} images?`;
    if (!ratings.size || !confirm(said)) return;
    if (live) {
      for (const name of ratings.keys()) send(known.get(name), { ...NOTHING, time: now() });
    }
    ratings = new Map();
    keep();
    refresh(images);
  });
  $("download").addEventListener("click", () => {
    build();
    save("group_desc-brain_qc_filtered.tsv", filtered());
  });
  $("keys").addEventListener("click", () => $("help").showModal());
  $("close").addEventListener("click", () => $("help").close());
  $("theme").addEventListener("click", () => paint(dark() ? "light" : "dark"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => paint());
  document.addEventListener("keydown", pressed);
  addEventListener("storage", (event) => {
    if (live || (event.key !== STORE && event.key !== NAME)) return;
    me = readName();
    $("rater").value = me;
    load();
    refresh(images);
  });
  addEventListener("beforeunload", (event) => {
    if ((!kept && ratings.size) || pending.size) event.preventDefault();
  });
}

function turn(step) {
  page += step;
  deal();
  $("images").scrollIntoView();
}

const unread = data.columns.map((_, column) => column);

/** Read the columns while the browser has nothing else to do, so that no order waits for one. */
function readAhead() {
  const column = unread.shift();
  if (column === undefined) return;
  const found = valuesOf(column);
  if (data.columns[column].number) sortedOf(found);
  idle(readAhead);
}

if (images.length < data.count) {
  notice(
    `The data of ${data.count - images.length} images are missing. They are in files beside this ` +
      "page, group_desc-brain_data-*.js: keep these with it, or run the group level with --single-file.",
  );
}
loadDecisions();
keepDecisions();
furnish();
furnishView();
listen();
$("rater").value = me;
look();
refresh([]);
if (view.length) select(view[0], false);
paint();
connect();
if (!served) offer();
for (const one of [...strips, ...plots]) sight.observe(one.figure);
near($("quality"), build);
if (LARGE) idle(readAhead);
