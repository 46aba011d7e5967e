// The page Captures: the queue's numbers, one capture looked at closely, and labels given in their place.

import { fill, fillParts } from "./bind.js";
import { open } from "./dialogs.js";
import { follow } from "./live.js";
import { keepAsking } from "./poll.js";
import { offerSimilar } from "./similar.js";
import "./theme.js";

const main = document.querySelector("main");
const dialog = document.getElementById("capture");
const saying = dialog.querySelector("[data-saying]");
const undo = document.querySelector("[data-undo]");
const cards = [...document.querySelectorAll("[data-id]")].filter((element) => element.matches(".capture"));
// Of each card: what a person may say of it is moved into the dialog while that shows it.
const says = new Map(cards.map((card) => [card, card.querySelector("[data-say]")]));
const field = (name) => dialog.querySelector(`[data-field=${name}]`);
let shown = null;

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-capture]");
  if (button) look(button.closest(".capture"));
  const step = event.target.closest("[data-step]");
  if (step) go(Number(step.dataset.step));
});

function look(card) {
  putBack();
  shown = card;
  const capture = card.querySelector("[data-capture]").dataset;
  for (const name of ["title", "origin", "model", "score", "labelled"]) {
    if (field(name)) field(name).textContent = capture[name];
  }
  for (const name of ["picture", "mask"]) {
    field(name).toggleAttribute("hidden", !capture[name]);
    if (capture[name]) field(name).src = capture[name];
    else field(name).removeAttribute("src");
  }
  for (const button of dialog.querySelectorAll("[data-step]")) {
    button.disabled = !cards[cards.indexOf(card) + Number(button.dataset.step)];
  }
  if (saying) {
    saying.append(says.get(card));
    says.get(card).querySelector("details").open = true;
  }
  // What a dialog covers cannot be reached.
  if (undo) dialog.append(undo);
  dialog.dataset.id = card.dataset.id;
  offerSimilar(dialog.querySelector("[data-similar-parts]"), capture.picture ? card.dataset.id : "");
  if (!dialog.open) open(dialog);
}

function putBack() {
  if (shown && says.get(shown)) {
    shown.append(says.get(shown));
    says.get(shown).querySelector("details").open = false;
  }
  if (undo) main.after(undo);
  shown = null;
}

function go(step) {
  const next = cards[cards.indexOf(shown) + step];
  if (next) look(next);
}

dialog.addEventListener("close", () => {
  const last = shown;
  putBack();
  last?.querySelector("[data-capture]").focus();
});

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input[name=label]")) return;
  if (dialog.open && event.key === "ArrowLeft") go(-1);
  if (dialog.open && event.key === "ArrowRight") go(1);
  if ((event.ctrlKey || event.metaKey) && event.key === "z" && undo && !undo.hidden) {
    event.preventDefault();
    undo.requestSubmit();
  }
});

document.addEventListener("submit", (event) => {
  const form = event.target.closest("[data-label-form], [data-undo]");
  if (!form) return;
  event.preventDefault();
  const body = new URLSearchParams(new FormData(form));
  if (event.submitter?.name) body.set(event.submitter.name, event.submitter.value);
  send(form, body);
});

async function send(form, body) {
  try {
    const answer = await fetch(form.action, { method: "POST", body, headers: { Accept: "application/json" } });
    if (answer.status === 401) return location.reload();
    const told = await answer.json();
    if (told.card) show(told.card);
    tell(told.notice, answer.ok ? "good" : "bad", answer.ok ? form !== undo : !undo.querySelector("button").hidden);
  } catch {
    tell(main.dataset.unheard, "bad", !undo.querySelector("button").hidden);
  }
}

function show(told) {
  const card = cards.find((one) => one.dataset.id === told.id);
  if (!card) return;
  for (const part of card.querySelectorAll(":scope > .tag, :scope > .what")) fill(part, told);
  card.querySelector("[data-capture]").dataset.labelled = told.labelled;
  if (card === shown) field("labelled").textContent = told.labelled;
  const say = says.get(card);
  for (const was of say.querySelectorAll("[name=was]")) was.value = told.label;
  for (const button of say.querySelectorAll("button[name=label]")) {
    if (button.value) button.setAttribute("aria-pressed", String(button.value === told.label));
  }
  say.querySelector("[data-unlabel]").toggleAttribute("hidden", !told.label);
  say.querySelector("[data-testid=label-other]").value = "";
}

function tell(text, tone, undoable) {
  undo.hidden = false;
  undo.dataset.tone = tone;
  undo.querySelector("[data-said]").textContent = text;
  undo.querySelector("button").toggleAttribute("hidden", !undoable);
}

for (const image of document.querySelectorAll(".thumbnail img")) {
  image.addEventListener("error", () => image.replaceWith(document.createElement("span")), { once: true });
}

follow({});
keepAsking(() => `${main.dataset.queue}?lang=${document.documentElement.lang}`, 2000, (view) => fillParts("queue", view));
