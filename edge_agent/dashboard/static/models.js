// The page Models: what runs, what comes, and the way back.

import { fillParts } from "./bind.js";
import { open } from "./dialogs.js";
import { follow } from "./live.js";
import "./theme.js";

const dialog = document.getElementById("rollback");
const form = dialog?.querySelector("form");

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-testid=rollback]");
  if (!button || !form) return;
  form.action = `${form.dataset.base}/${encodeURIComponent(button.dataset.model)}/rollback`;
  dialog.querySelector("[data-question]").textContent = button.dataset.question;
  open(dialog);
});

follow({ models: (view) => fillParts("models", view) });
