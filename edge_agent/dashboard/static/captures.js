// The page Captures: the queue's numbers, and one capture looked at closely.

import { fillParts } from "./bind.js";
import { open } from "./dialogs.js";
import { follow } from "./live.js";
import { keepAsking } from "./poll.js";
import { offerSimilar } from "./similar.js";
import "./theme.js";

const main = document.querySelector("main");
const dialog = document.getElementById("capture");
const field = (name) => dialog.querySelector(`[data-field=${name}]`);

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-capture]");
  if (button) look(button);
});

function look(button) {
  const capture = button.dataset;
  for (const name of ["title", "origin", "model", "score", "labelled"]) {
    if (field(name)) field(name).textContent = capture[name];
  }
  for (const name of ["picture", "mask"]) {
    field(name).toggleAttribute("hidden", !capture[name]);
    if (capture[name]) field(name).src = capture[name];
    else field(name).removeAttribute("src");
  }
  for (const form of dialog.querySelectorAll("[data-label-form]")) form.action = capture.action;
  for (const one of dialog.querySelectorAll("button[name=label]")) {
    one.setAttribute("aria-pressed", String(one.value !== "" && one.value === capture.label));
  }
  dialog.querySelector("[data-unlabel]")?.toggleAttribute("hidden", !capture.label);
  dialog.dataset.id = button.closest("[data-id]").dataset.id;
  offerSimilar(dialog.querySelector("[data-similar-parts]"), capture.picture ? dialog.dataset.id : "");
  open(dialog);
}

for (const image of document.querySelectorAll(".thumbnail img")) {
  image.addEventListener("error", () => image.replaceWith(document.createElement("span")), { once: true });
}

follow({});
keepAsking(() => `${main.dataset.queue}?lang=${document.documentElement.lang}`, 2000, (view) => fillParts("queue", view));
