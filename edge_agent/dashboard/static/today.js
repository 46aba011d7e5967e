// The page Today.

import { fillParts } from "./bind.js";
import "./dialogs.js";
import { follow } from "./live.js";
import { keepAsking } from "./poll.js";
import "./theme.js";

const main = document.querySelector("main");
const lang = document.documentElement.lang;

document.querySelector("[data-print]").addEventListener("click", () => window.print());
follow({});
keepAsking(() => `${main.dataset.view}?lang=${lang}`, 3000, (view) => fillParts("today", view));
