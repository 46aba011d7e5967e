// Dialogs and forms, the same on every page: data-opens="ID", data-cancel, a button that says it is busy.

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) open(document.getElementById(opener.dataset.opens));
  if (event.target.closest("[data-cancel]")) event.target.closest("dialog").close();
});

export function open(dialog) {
  dialog.showModal();
  // Not into a mere input: a tablet would cover what was opened with its keyboard.
  dialog.querySelector("textarea")?.focus();
}

// Spaces are no reason.
for (const reason of document.querySelectorAll("textarea[name=reason]")) {
  reason.addEventListener("input", () => {
    reason.setCustomValidity(reason.value && !reason.value.trim() ? reason.placeholder : "");
  });
}

document.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (!button?.dataset.busy) return;
  // After the form was read: a disabled button sends no value.
  setTimeout(() => { button.disabled = true; button.textContent = button.dataset.busy; });
});
