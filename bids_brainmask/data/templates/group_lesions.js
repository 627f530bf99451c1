// SPDX-License-Identifier: Apache-2.0
/* Candidate lesions: accepted and rejected, kept by the browser or the server, exported, imported.

There is one decision about a candidate, the last one that was given. It is about the candidates of
a hash: those of another hash are other candidates. */

const DECISIONS = { accept: "accepted", reject: "rejected" };
const DECISION_TABLE = ["image", "index", "decision", "candidates_sha256", "by", "time"];
const LESION_STORE = `brainmask-lesions:${data.key[1]}`; // under which the browser keeps them
const MOST_ON_CARD = 4;
const decided = new Map(); // rows of DECISION_TABLE, by `lesionKey`

const lesionKey = (sha, index) => `${sha} ${index}`;

const withLesions = new Map(); // images by the path of their index image
for (const [index, some] of list("lesions").entries()) {
  if (!some) continue;
  const { found = [], sha256, image: path, thumbnail } = some;
  const image = images[index];
  image.lesionThumbnail = thumbnail;
  image.lesions = found.map(([index, volume, longest, side, kind, reasons, decision]) => ({
    ...{ index, volume, longest, side, kind, reasons: reasons ?? "", decision: decision ?? "" },
    ...{ sha256, path },
  }));
  if (found.length) withLesions.set(path, image);
}

/** What a person decided about a candidate; empty for nothing. */
const decisionOf = (lesion) =>
  decided.get(lesionKey(lesion.sha256, lesion.index))?.decision ?? lesion.decision;

/** Whether a candidate is in masks and totals: as in the table of lesions. */
function counts(lesion) {
  const said = decisionOf(lesion);
  return said === "accepted" || (said !== "rejected" && lesion.kind === "likely");
}

const isOpen = (image) => image.lesions.some((lesion) => !decisionOf(lesion));

/** Take a decision of this page, a file or the server; tell whether it is about an image here. */
function takeDecision(row) {
  const image = withLesions.get(row.image);
  const known = image?.lesions.find((one) => one.index === Number(row.index));
  if (!known || known.sha256 !== row.candidates_sha256) return null;
  const key = lesionKey(known.sha256, known.index);
  const time = row.time === "n/a" ? "" : (row.time ?? "");
  if ((decided.get(key)?.time ?? "") > time) return null;
  const decision = row.decision === "n/a" ? "" : row.decision;
  decided.set(key, { ...row, index: known.index, decision, time });
  return image;
}

function decide(image, lesion, decision) {
  const said = decisionOf(lesion) === decision ? "" : decision;
  const row = {
    ...{ image: lesion.path, index: lesion.index, decision: said },
    ...{ candidates_sha256: lesion.sha256, by: me, time: now() },
  };
  takeDecision(row);
  if (live) sendRow(JSON.stringify(["lesion", row.image, row.index]), row);
  keepDecisions();
  dressLesions(image);
  refresh([image]);
  tell(`${image.name}, candidate ${lesion.index}: ${said || "no decision"}`);
}

function keepDecisions() {
  $("export-lesions").hidden = live || !decided.size;
  if (live) return;
  try {
    localStorage.setItem(LESION_STORE, JSON.stringify([...decided.values()]));
  } catch {
    // `keep` reports a browser without storage.
  }
}

function loadDecisions() {
  try {
    for (const row of JSON.parse(localStorage.getItem(LESION_STORE)) ?? []) takeDecision(row);
  } catch {
    // Not written by this page, or a browser without storage.
  }
}

function exportDecisions() {
  const rows = [...decided.values()].map((row) => DECISION_TABLE.map((name) => row[name]));
  save("group_desc-meningioma_decisions.tsv", tsv([DECISION_TABLE, ...rows]));
  notice(
    "Put the decisions into the results with `brainmask adopt OUTPUT_DIR --lesions FILE`, then run " +
      "the participant level and the group level.",
  );
}

/** Whether a text is a table of decisions. */
const isDecisions = (text) => /^[^\n]*\bindex\b[^\n]*\bdecision\b/.test(text);

function importDecisions(text, file) {
  const rows = parse(text).map((row) => Object.fromEntries(row));
  const taken = rows.filter((row) => {
    const image = takeDecision({ ...row, time: row.time || now() });
    if (image && live) sendRow(JSON.stringify(["lesion", row.image, row.index]), row);
    return image;
  });
  keepDecisions();
  refresh(images);
  for (const image of images) dressLesions(image);
  const others = rows.length - taken.length;
  const more = others ? `; ${others} are older, or about other candidates` : "";
  notice(`${file}: ${taken.length} decisions imported${more}.`);
}

/** Say how many candidates count, and their volume. */
function lesionSummary(image) {
  const counted = image.lesions.filter(counts);
  const volume = counted.reduce((sum, lesion) => sum + lesion.volume, 0);
  return `Candidate lesions: ${counted.length} of ${image.lesions.length} count, ${volume.toFixed(2)} mL`;
}

/** List the candidates of an image with a button for each decision. */
function lesionList(image, most = Infinity) {
  const line = (lesion) => {
    const words = Object.entries(DECISIONS).map(([word, decision]) => {
      const button = make("button", { type: "button", data: { decision } }, word);
      button.setAttribute("aria-label", `${word} candidate ${lesion.index} of ${image.name}`);
      button.addEventListener("click", () => decide(image, lesion, decision));
      return button;
    });
    const measures = `${lesion.index}: ${lesion.volume.toFixed(2)} mL, ${show(lesion.longest)} mm`;
    const text = [measures, lesion.side, lesion.kind].filter(Boolean).join(", ");
    const why = lesion.reasons && ` (${lesion.reasons})`;
    const buttons = make("span", { className: "verdict", role: "group" }, ...words);
    buttons.setAttribute("aria-label", `Decision about candidate ${lesion.index}`);
    return make("li", { data: { lesion: lesion.index } }, `${text}${why} `, buttons);
  };
  const rest = image.lesions.length - most;
  const more = rest > 0 ? make("li", {}, `and ${rest} more, in full screen`) : null;
  const lines = image.lesions.slice(0, most).map(line);
  const head = make("p", { className: "small counted" });
  return make("div", { className: "lesions small" }, head, make("ul", {}, ...lines, more ?? ""));
}

/** Show the decisions about an image's candidates on its card and in the view. */
function dressLesions(image) {
  const boxes = [image.card?.querySelector(".lesions")];
  if ($("view").open && image === selected) boxes.push($("view-lesions").firstChild);
  for (const box of boxes.filter(Boolean)) {
    box.querySelector(".counted").textContent = lesionSummary(image);
    for (const lesion of image.lesions) {
      const line = box.querySelector(`[data-lesion="${lesion.index}"]`);
      if (!line) continue;
      line.classList.toggle("out", !counts(lesion));
      for (const button of line.querySelectorAll("[data-decision]")) {
        button.setAttribute("aria-pressed", button.dataset.decision === decisionOf(lesion));
      }
    }
  }
}
