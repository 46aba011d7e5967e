// What looks like a part: asked for by a person, filled in as text.

import { fill } from "./bind.js";

export function offerSimilar(section, id) {
  section.toggleAttribute("hidden", !id);
  if (section.dataset.id === id) return;
  section.dataset.id = id || "";
  show(section, "nothing");
}

export function findSimilar(section, id) {
  offerSimilar(section, id);
  if (id && section.dataset.state !== "found") find(section, id);
}

for (const section of document.querySelectorAll("[data-similar-parts]")) {
  section.querySelector("[data-find-similar]").addEventListener("click", () => find(section, section.dataset.id));
}

async function find(section, id) {
  show(section, "asking");
  const view = await ask(`${section.dataset.similarParts}${encodeURIComponent(id)}?lang=${document.documentElement.lang}`);
  if (section.dataset.id !== id) return; // another part is looked at by now
  if (view) fill(section.querySelector("[data-found]"), view);
  show(section, view ? "found" : "lost");
}

async function ask(address) {
  try {
    const answer = await fetch(address, { cache: "no-store" });
    if (answer.status === 401) location.reload();
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

function show(section, state) {
  section.dataset.state = state;
  for (const name of ["asking", "lost", "found"]) {
    section.querySelector(`[data-${name}]`).toggleAttribute("hidden", state !== name);
  }
  const button = section.querySelector("[data-find-similar]");
  button.disabled = state === "asking";
  button.toggleAttribute("hidden", state === "found");
}
