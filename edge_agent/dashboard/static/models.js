// The page Models: what runs, what comes, and the way back.

import { fillParts } from "./bind.js";
import { follow } from "./live.js";
import "./theme.js";

const dialog = document.getElementById("rollback");
const form = dialog.querySelector("form");
const reason = form.querySelector("textarea");

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-testid=rollback]");
  if (!button) return;
  form.action = `${form.dataset.base}/${encodeURIComponent(button.dataset.model)}/rollback`;
  dialog.querySelector("[data-question]").textContent = button.dataset.question;
  dialog.showModal();
  reason.focus();
});

dialog.querySelector("[data-cancel]").addEventListener("click", () => dialog.close());

// Spaces are no reason.
reason.addEventListener("input", () => { reason.setCustomValidity(reason.value && !reason.value.trim() ? reason.placeholder : ""); });

form.addEventListener("submit", () => {
  const button = form.querySelector("[type=submit]");
  button.disabled = true;
  button.textContent = button.dataset.busy;
});

follow({ models: (view) => fillParts("models", view) });
