// SPDX-License-Identifier: Apache-2.0
/* Ratings that `brainmask rate` keeps: sent as they are given, received as they change.

What the server did not take yet is kept by the browser, and sent when the server answers again. */

const PENDING = `${STORE}:pending:`;
const TAB = `${PENDING}${Math.random().toString(36).slice(2)}`;
const served = location.protocol === "http:" && location.hostname === "127.0.0.1";
const paths = new Map(served ? images.map((image) => [pathOf(image), image]) : []);
const pending = new Map(); // rows to be sent, by rater and path
let sending = false;
let away = null; // the notice that the server does not answer

/** Send a rating. */
function send(image, one, rater = me) {
  const [participant, session] = ["participant_id", "session_id"].map((c) => value(image, c));
  const { rating, comment, time, mask, seconds, reasons } = one;
  const row = {
    ...{ participant_id: participant, session_id: session, image: pathOf(image), rater, rating },
    ...{ reasons: reasons.join("; "), seconds, comment, time, mask_sha256: mask },
  };
  sendRow(JSON.stringify([row.rater, row.image]), row);
}

/** Send a row: of a rating, or of a decision about a candidate lesion. */
function sendRow(name, row) {
  pending.set(name, row);
  keepPending();
  flush();
}

function keepPending() {
  try {
    if (pending.size) localStorage.setItem(TAB, JSON.stringify([...pending.values()]));
    else localStorage.removeItem(TAB);
  } catch {
    // A browser without storage: the rows are sent at once all the same.
  }
}

/** Send the waiting rows, one request at a time, so that the last change is the last to arrive. */
async function flush() {
  if (sending || !pending.size) return;
  sending = true;
  const rows = [...pending];
  try {
    const body = JSON.stringify(rows.map(([, row]) => row));
    const keepalive = body.length < 60000; // then it arrives even if the page is closed
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch("ratings", { method: "POST", headers, body, keepalive });
    if (answer.status >= 500) throw new Error((await answer.json()).error);
    if (answer.status === 404 || answer.status === 403) throw new Error("another server runs");
    if (!answer.ok) notice(`The server refused ratings: ${(await answer.json()).error}.`);
    for (const [key, row] of rows) if (pending.get(key) === row) pending.delete(key);
    keepPending();
    sending = false;
    away?.remove();
    away = null;
    flush();
  } catch (error) {
    sending = false;
    lost(error);
    setTimeout(flush, 2000);
  }
}

function lost(error) {
  away ??= notice(
    `The server does not answer (${error.message}). New ratings are kept in this browser, and ` +
      "saved when `brainmask rate` runs again. If it has a new address, open that.",
  );
}

/** Show ratings that the server sent. */
function receive({ all, rater, rows, lesions = [] }) {
  for (const image of new Set(lesions.map(takeDecision).filter(Boolean))) dressLesions(image);
  if (all) {
    if (!me && rater) {
      me = rater;
      $("rater").value = me;
    }
    [ratings, others] = [new Map(), new Map()];
  }
  const changed = new Set();
  const apply = (row) => {
    const image = paths.get(row.image);
    if (!image) return;
    const reasons = reasonsOf(row.reasons);
    const { rating, comment, time, mask_sha256: mask, seconds } = row;
    if (rating || comment || reasons.length) {
      of(row.rater).set(image.name, { rating, comment, time, mask, seconds, reasons });
    } else of(row.rater).delete(image.name);
    changed.add(image);
  };
  for (const row of rows) if (!pending.has(JSON.stringify([row.rater, row.image]))) apply(row);
  if (all) for (const row of pending.values()) if ("rating" in row) apply(row);
  refresh(all ? images : [...changed]);
}

/** Take over what earlier pages could not send. */
function adopt() {
  const keys = [];
  try {
    for (let i = 0; i < localStorage.length; i += 1) keys.push(localStorage.key(i));
    for (const key of keys.filter((one) => one.startsWith(PENDING) && one !== TAB)) {
      for (const row of JSON.parse(localStorage.getItem(key))) {
        const [first, last] = "rating" in row ? [row.rater, []] : ["lesion", [row.index]];
        const name = JSON.stringify([first, row.image, ...last]);
        if (first === "lesion") takeDecision(row);
        if (!pending.has(name) || pending.get(name).time < row.time) pending.set(name, row);
      }
      keepPending();
      localStorage.removeItem(key);
    }
  } catch {
    // A browser without storage has nothing.
  }
}

/** Listen to the server, if the page came from one. */
function connect() {
  if (!served) return;
  const source = new EventSource("ratings");
  source.addEventListener("message", ({ data: text }) => {
    const message = JSON.parse(text);
    if (!live) {
      live = true;
      document.body.classList.add("live");
      $("export-lesions").hidden = true;
      adopt();
    }
    receive(message);
    away?.remove();
    away = null;
    flush();
  });
  source.addEventListener("error", () => {
    if (live) lost(new Error("the connection ended"));
  });
}
