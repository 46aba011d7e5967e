// The page Now. Verdict, picture and overlays change together or not at all: what stands
// side by side always belongs to one part.

import { fill, fillParts } from "./bind.js";
import { open } from "./dialogs.js";
import { ageText, follow, stopwatch } from "./live.js";
import { sound } from "./horn.js";
import { findSimilar } from "./similar.js";
import "./theme.js";

const PATIENCE_MS = 3000;
const main = document.querySelector("main.now");
const picture = main.querySelector(".picture");
const overlays = main.querySelector(".overlays");
const layers = main.querySelector("[data-layers]");
const opacity = main.querySelector("[data-opacity]");
const staleS = Number(main.dataset.staleS);

const hiddenLayers = new Set();
let age = { base: Number(main.dataset.age || 0), passed: stopwatch() };
let shown = main.dataset.frame;
let waiting = null;
let busy = false;
let rejected; // the newest part that is NG, since the first view; none: null

function load(source) {
  const image = new Image();
  image.src = source;
  const late = new Promise((_, reject) => setTimeout(reject, PATIENCE_MS));
  return Promise.race([image.decode(), late]).then(() => source, () => null);
}

async function show(view) {
  waiting = view;
  if (busy) return;
  busy = true;
  while (waiting) {
    const next = waiting;
    waiting = null;
    await showOne(next);
  }
  busy = false;
}

async function showOne(view) {
  const frame = view.frame;
  if (frame && frame.id !== shown) {
    const [source, ...masks] = await Promise.all([frame.src, ...frame.overlays.map((one) => one.src)].map(load));
    setPicture(source);
    setOverlays(frame.overlays.filter((_, index) => source && masks[index]));
    shown = frame.id;
    main.dataset.frame = shown;
  }
  if (frame) age = { base: frame.age_s, passed: view.passed };
  fill(main, view);
  tick();
}

// By what came and not by what is shown: the part behind a defective one may overtake it on its way to the picture.
function alarm(newest) {
  const id = newest ? newest.id : null;
  if (rejected !== undefined && id && id !== rejected && newest.age_s < staleS) sound();
  rejected = id;
}

function setPicture(source) {
  picture.toggleAttribute("hidden", !source);
  main.dataset.picture = source ? "here" : "gone";
  if (source) picture.src = source;
}

function setOverlays(list) {
  while (overlays.children.length > list.length) overlays.lastElementChild.remove();
  while (overlays.children.length < list.length) overlays.append(new Image());
  list.forEach((one, index) => {
    const image = overlays.children[index];
    image.alt = "";
    image.dataset.application = one.application;
    image.dataset.testid = index ? `overlay-${one.application}` : "overlay";
    image.src = one.src;
  });
  offerLayers();
}

function offerLayers() {
  const names = [...overlays.children].map((image) => image.dataset.application);
  const offered = [...layers.children].map((label) => label.dataset.application);
  if (names.join("\n") !== offered.join("\n")) {
    layers.replaceChildren(...names.map(layer));
  }
  for (const image of overlays.children) image.toggleAttribute("hidden", hiddenLayers.has(image.dataset.application));
}

function layer(name) {
  const label = document.getElementById("layer").content.firstElementChild.cloneNode(true);
  label.dataset.application = name;
  label.querySelector("span").textContent = name;
  const box = label.querySelector("input");
  box.checked = !hiddenLayers.has(name);
  box.addEventListener("change", () => {
    if (box.checked) hiddenLayers.delete(name);
    else hiddenLayers.add(name);
    offerLayers();
  });
  return label;
}

function setOpacity() {
  overlays.style.opacity = String(opacity.value / 100);
  opacity.nextElementSibling.textContent = `${opacity.value} %`;
}

function tick() {
  if (!shown) { main.dataset.fresh = "none"; return; }
  const seconds = age.base + age.passed() / 1000;
  main.dataset.fresh = seconds >= staleS ? "stale" : "fresh";
  main.querySelectorAll("[data-age-text]").forEach((element) => { element.textContent = ageText(seconds); });
}

// The part that stands there as the button is pressed, whatever comes after it.
main.querySelector("[data-look-similar]").addEventListener("click", () => {
  const dialog = document.getElementById("similar");
  dialog.querySelector("[data-field=title]").textContent = main.querySelector("[data-testid=frame-name]").textContent;
  const looked = dialog.querySelector("[data-field=picture]");
  // Of a part without a picture none is shown, least of all the one of the part before.
  looked.toggleAttribute("hidden", picture.hidden);
  if (!picture.hidden) looked.src = picture.src;
  open(dialog);
  findSimilar(dialog.querySelector("[data-similar-parts]"), shown);
});

overlays.querySelectorAll("img").forEach((image) => {
  image.addEventListener("error", () => image.remove(), { once: true });
});
picture.addEventListener("error", () => setPicture(null));
picture.addEventListener("load", () => { main.dataset.picture = "here"; });
opacity.addEventListener("input", setOpacity);
setOpacity();
offerLayers();
tick();
setInterval(tick, 100);
follow({
  now(view) {
    view.passed = stopwatch();
    alarm(view.rejected);
    fillParts("counts", view.counts);
    fillParts("rule", view);
    fillParts("line", view);
    show(view);
  },
});
