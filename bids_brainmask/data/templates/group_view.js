// SPDX-License-Identifier: Apache-2.0
/* One image at a time, in full screen: its slices, its mask and its rating.

A picture of slices has SIDE x SIDE square tiles: 9 axial, 9 coronal, 7 sagittal ones. The picture
of overlays has the same tiles for the mask, and below for the uncertain voxels. Pages opened from
the disk may not read the pixels of pictures, so that outlines are made by drawing alone. */

const SIDE = 5;
const PLANES = [...Array(9).fill("axial"), ...Array(9).fill("coronal"), ...Array(7).fill("sagittal")];
const AHEAD = [0, 1, 2, -1]; // images that are loaded, from the one that is shown
const OUTLINE = 1.5; // pixels of the screen

const LOOKS = ["fill", "unsure", "sessions", "lesions"];
const shownAs = { slice: -1, mask: true, fill: false, unsure: false, sessions: false, lesions: false };
const PICTURES = ["slices", "overlays", "plain", "lesions", "cuts"];
const loaded = new Map(); // pictures by the index of their image: PICTURES
let drawing = 0;
let aheadOf = null; // the image whose next one is painted

const figure = (image, name) => {
  const address = image.thumbnail?.replace("desc-thumbnail_", `desc-${name}_`);
  return name.endsWith("overlays") ? address?.replace(/webp$/, "png") : address;
};

/** Load a picture and decode it; null if there is none. */
async function decoded(address) {
  if (!address || address.startsWith("data:")) return null;
  const found = make("img", { src: address, decoding: "async" });
  try {
    await found.decode();
    return await createImageBitmap(found);
  } catch {
    return null;
  }
}

/** Load the pictures of an image; one without slices has the figure of its report. */
function fetchPictures(image) {
  if (!loaded.has(image.index)) {
    const entry = { ready: false };
    loaded.set(image.index, entry);
    entry.done = (async () => {
      const names = ["slices", "overlays"];
      if (image.lesions.length) names.push("lesionoverlays", "meningioma");
      const parts = names.map((name) => decoded(figure(image, name)));
      [entry.slices, entry.overlays, entry.lesions, entry.cuts] = await Promise.all(parts);
      if (!entry.slices) entry.plain = await decoded(figure(image, "brain"));
      entry.ready = true;
    })();
  }
  return loaded.get(image.index);
}

/** Other images of the same participant. */
const siblings = (image) => {
  const participant = value(image, "participant_id");
  if (!participant) return [];
  return images.filter((one) => one !== image && value(one, "participant_id") === participant);
};

/** Load what is needed next, paint the next image, and forget what is not needed. */
function loadAhead() {
  if (!$("view").open || !selected) return;
  const place = view.indexOf(selected);
  const wanted = AHEAD.map((step) => (place < 0 ? null : view[place + step])).filter(Boolean);
  if (place < 0) wanted.push(selected);
  if (shownAs.sessions) wanted.push(...siblings(selected).slice(0, 3));
  for (const image of wanted) fetchPictures(image);
  for (const [index, entry] of loaded) {
    if (wanted.some((image) => image.index === index)) continue;
    loaded.delete(index);
    for (const name of PICTURES) entry[name]?.close();
  }
  const next = place < 0 ? null : view[place + 1];
  if (!next || aheadOf === selected) return; // another look at it: the next one may have to wait
  aheadOf = selected;
  fetchPictures(next).done.then(() => whenIdle(() => paintAhead(next)));
}

/** Draw a tile's overlay: the mask, filled or as an outline, or the uncertain voxels. */
function overlay(context, picture, size, from, to, layer) {
  const [x, y] = from;
  const source = [x, y + layer * SIDE * size, size, size];
  if (layer === 1 || shownAs.fill) {
    context.globalAlpha = layer === 1 ? 0.9 : 0.35;
    context.drawImage(picture, ...source, ...to);
    context.globalAlpha = 1;
    return;
  }
  const [left, top, wide] = to;
  const pad = 2;
  const sheet = overlay.sheet ??= document.createElement("canvas");
  sheet.width = sheet.height = Math.ceil(wide) + 2 * pad;
  const pen = sheet.getContext("2d");
  const step = OUTLINE * (devicePixelRatio || 1);
  for (let turn = 0; turn < 8; turn += 1) {
    const [dx, dy] = [Math.cos((turn * Math.PI) / 4), Math.sin((turn * Math.PI) / 4)];
    pen.drawImage(picture, ...source, pad + dx * step, pad + dy * step, wide, wide);
  }
  pen.globalCompositeOperation = "destination-out";
  pen.drawImage(picture, ...source, pad, pad, wide, wide);
  context.drawImage(sheet, left - pad, top - pad);
}

/** Do something when the browser has nothing else to do. */
const whenIdle = (act) => (window.requestIdleCallback ?? setTimeout)(act);

/** Paint an image that is shown next as the canvas that is on the screen, so that it is there. */
function paintAhead(image) {
  const entry = loaded.get(image.index);
  const canvas = $("stages").querySelector("canvas");
  if (!entry?.ready || !canvas || $("stages").children.length > 1) return;
  const key = looks(canvas);
  if (entry.painted?.key === key) return;
  const sheet = make("canvas", { width: canvas.width, height: canvas.height });
  paintSlices(sheet, entry);
  entry.painted = { key, sheet };
}

/** Tell apart what is painted of one image. */
const looks = (canvas) => JSON.stringify([canvas.width, canvas.height, shownAs]);

/** Show the slices of an image on a canvas: all, or one. */
function showSlices(canvas, entry) {
  const ratio = devicePixelRatio || 1;
  const box = canvas.getBoundingClientRect();
  [canvas.width, canvas.height] = [Math.round(box.width * ratio), Math.round(box.height * ratio)];
  if (entry.painted?.key !== looks(canvas)) paintSlices(canvas, entry);
  else canvas.getContext("2d").drawImage(entry.painted.sheet, 0, 0);
}

/** Paint the slices of an image on a canvas. */
function paintSlices(canvas, entry) {
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  context.fillStyle = "#000";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  const { slices, overlays, lesions } = entry;
  const plain = (shownAs.lesions && entry.cuts) || entry.plain;
  if (plain) {
    const scale = Math.min(width / plain.width, height / plain.height);
    const size = [plain.width * scale, plain.height * scale];
    context.drawImage(plain, (width - size[0]) / 2, (height - size[1]) / 2, ...size);
  }
  if (!slices || plain) return;
  const size = slices.width / SIDE;
  const shown = shownAs.slice < 0 ? PLANES.map((_, index) => index) : [shownAs.slice];
  let columns = 1;
  const edge = (n) => Math.min(width / n, height / Math.ceil(shown.length / n));
  for (let n = 1; n <= shown.length; n += 1) if (edge(n) > edge(columns)) columns = n;
  const wide = edge(columns);
  const left = (width - columns * wide) / 2;
  const top = (height - Math.ceil(shown.length / columns) * wide) / 2;
  shown.forEach((tile, place) => {
    const from = [(tile % SIDE) * size, Math.floor(tile / SIDE) * size];
    const to = [left + (place % columns) * wide, top + Math.floor(place / columns) * wide, wide, wide];
    context.drawImage(slices, ...from, size, size, ...to);
    if (!shownAs.mask) return;
    if (lesions) overlay(context, lesions, size, from, to, 0);
    if (!overlays) return;
    overlay(context, overlays, size, from, to, 0);
    if (shownAs.unsure) overlay(context, overlays, size, from, to, 1);
  });
}

/** Show the selected image, if the view is open. */
function showView() {
  if (!$("view").open || !selected) return;
  dressView();
  if ($("view-title").textContent !== selected.name || !$("view-lesions").firstChild) {
    $("view-lesions").replaceChildren(...(selected.lesions.length ? [lesionList(selected)] : []));
    $("look-lesions").hidden = !selected.lesions.length;
  }
  dressLesions(selected);
  $("view-title").textContent = selected.name;
  $("view-title").href = selected.link;
  const others = shownAs.sessions ? siblings(selected).slice(0, 3) : [];
  const stages = [selected, ...others].map((image) => {
    const canvas = make("canvas", { role: "img" });
    canvas.setAttribute("aria-label", `Slices of ${image.name} with the mask`);
    const caption = others.length ? make("figcaption", { textContent: image.name }) : null;
    return [image, canvas, make("figure", {}, canvas, ...(caption ? [caption] : []))];
  });
  $("stages").replaceChildren(...stages.map(([, , box]) => box));
  const mine = ++drawing;
  for (const [image, canvas] of stages) {
    const entry = fetchPictures(image);
    const act = () => {
      if (mine !== drawing) return;
      showSlices(canvas, entry);
      if (image !== selected) return;
      $("no-picture").hidden = Boolean(entry.slices || entry.plain);
      $("view").dataset.shown = image.name;
      requestAnimationFrame(() => setTimeout(loadAhead)); // once this one is on the screen
    };
    if (entry.ready) act();
    else entry.done.then(act);
  }
  const plane = shownAs.slice < 0 ? "all slices" : PLANES[shownAs.slice];
  const number = shownAs.slice - PLANES.indexOf(plane) + 1;
  const count = PLANES.filter((one) => one === plane).length;
  $("slice").textContent = shownAs.slice < 0 ? plane : `${plane}, ${number} of ${count}`;
}

/** Draw again, with another look at the same image. */
function again(change) {
  Object.assign(shownAs, change);
  for (const name of LOOKS) {
    $(`look-${name}`).setAttribute("aria-pressed", shownAs[name]);
  }
  showView();
}

/** Go through the slices; beyond both ends all are shown. */
function slice(step) {
  const count = PLANES.length + 1;
  again({ slice: ((shownAs.slice + 1 + step + count) % count) - 1 });
}

/** Time left, from the median of the last ratings. */
function timeLeft() {
  const left = view.filter((image) => !rated(image).rating).length;
  if (taken.length < 3 || !left) return "";
  const median = [...taken].sort((a, b) => a - b)[Math.floor(taken.length / 2)];
  const minutes = Math.ceil((left * Math.max(median, 1)) / 60);
  const words = minutes > 90 ? `${Math.round(minutes / 60)} hours` : `${minutes} min`;
  return `, about ${words} left`;
}

/** Show the rating of the selected image in the view. */
function dressView() {
  if (!$("view").open || !selected) return;
  const { rating, reasons, comment } = rated(selected);
  for (const button of $("view").querySelectorAll("[data-rating]")) {
    button.setAttribute("aria-pressed", button.dataset.rating === rating);
  }
  for (const button of $("view").querySelectorAll("[data-reason]")) {
    button.setAttribute("aria-pressed", reasons.includes(button.dataset.reason));
  }
  if ($("view-comment") !== document.activeElement) $("view-comment").value = comment;
  const place = view.indexOf(selected);
  $("view-progress").textContent =
    `${place + 1} of ${view.length}; ${$("progress").textContent}${timeLeft()}`;
  const said = [...saidOf(selected), ...selected.reasons];
  if (isStale(selected)) said.unshift("The mask has changed since this rating.");
  $("view-said").textContent = said.join("; ");
}

function openView() {
  if (!selected) return;
  $("view").showModal();
  $("stages").focus();
  since = Date.now();
  showView();
}

/** Keys of the view; others are those of the page. */
const VIEW_KEYS = {
  ArrowUp: () => slice(-1),
  ArrowDown: () => slice(1),
  " ": () => again({ mask: false }),
  l: () => again({ fill: !shownAs.fill }),
  u: () => again({ unsure: !shownAs.unsure }),
  s: () => again({ sessions: !shownAs.sessions }),
  e: () => again({ lesions: !shownAs.lesions }),
  a: () => again({ slice: -1 }),
  v: () => $("view").close(),
  c: () => $("view-comment").focus(),
};

function furnishView() {
  $("open-view").addEventListener("click", openView);
  const words = Object.keys(CODES).map((word, index) => {
    const button = make("button", { type: "button", data: { rating: word } }, `${word} `);
    button.append(make("kbd", { textContent: index + 1 }));
    button.addEventListener("click", () => verdict(rated(selected).rating === word ? "" : word));
    return button;
  });
  $("view-verdict").replaceChildren(...words);
  const reasons = Object.entries(REASONS).map(([letter, word]) => {
    const button = make("button", { type: "button", data: { reason: word } }, `${word} `);
    button.append(make("kbd", { textContent: letter }));
    button.addEventListener("click", () => reason(selected, word));
    return button;
  });
  $("view-reasons").replaceChildren(...reasons);
  for (const name of LOOKS) {
    $(`look-${name}`).addEventListener("click", () => again({ [name]: !shownAs[name] }));
  }
  const bare = (mask) => () => mask !== shownAs.mask && again({ mask });
  $("look-bare").addEventListener("pointerdown", bare(false));
  for (const end of ["pointerup", "pointerleave", "pointercancel"]) {
    $("look-bare").addEventListener(end, bare(true));
  }
  // After a click the keys are those of the view again, not of the button.
  $("view").addEventListener("click", (event) => {
    if (event.detail && event.target.closest("button") && $("view").open) $("stages").focus();
  });
  const steps = {
    ...{ "view-previous": () => move(-1), "view-next": () => move(1) },
    ...{ "slice-up": () => slice(-1), "slice-down": () => slice(1) },
    ...{ "view-undo": undo, "view-close": () => $("view").close() },
  };
  for (const [id, act] of Object.entries(steps)) $(id).addEventListener("click", act);
  $("view-comment").addEventListener("input", () => {
    rate(selected, { comment: $("view-comment").value.trim() });
  });
  $("stages").addEventListener("wheel", (event) => {
    event.preventDefault();
    slice(Math.sign(event.deltaY));
  }, { passive: false });
  document.addEventListener("keyup", (event) => {
    if (event.key === " " && $("view").open && !shownAs.mask) again({ mask: true });
  });
  addEventListener("blur", () => again({ mask: true }));
  addEventListener("resize", showView);
  $("view").addEventListener("close", () => {
    for (const [index, entry] of loaded) {
      loaded.delete(index);
      for (const name of PICTURES) entry[name]?.close();
    }
    $("notices").append(...$("view").querySelectorAll(".told"));
    pointLater();
    select(selected);
  });
}
