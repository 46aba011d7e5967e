// What another threshold would have said of recent parts, while the slider moves.

import "./dialogs.js";
import { follow } from "./live.js";
import "./theme.js";

const main = document.querySelector("main");
const slider = main.querySelector("[data-slider]");
const number = main.querySelector("[data-number]");
const dots = main.querySelector("[data-dots]");
const summary = main.querySelector("[data-summary]");
const parts = [...main.querySelectorAll("[data-score]")];
const current = Number(main.dataset.threshold);
const SVG = "http://www.w3.org/2000/svg";

const say = (text, values) => text.replace(/{(\w+)}/g, (_, name) => values[name]);

function draw(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  dots.append(element);
  return element;
}

draw("line", { class: "track-line", x1: 0, x2: 1000, y1: 50, y2: 50 });
const marks = parts.map((part, index) =>
  draw("circle", { cx: Number(part.dataset.score) * 1000, cy: 22 + (index * 37) % 56, r: 9, "data-verdict": part.dataset.verdict }));
draw("line", { class: "old-limit", x1: current * 1000, x2: current * 1000, y1: 0, y2: 100 });
const limit = draw("line", { class: "limit-line", y1: 0, y2: 100 });

function preview() {
  const threshold = Number(number.value);
  if (number.value === "" || !(threshold >= 0 && threshold <= 1)) return;
  limit.setAttribute("x1", threshold * 1000);
  limit.setAttribute("x2", threshold * 1000);
  const counts = { NG: 0, OK: 0 };
  parts.forEach((part, index) => {
    const verdict = Number(part.dataset.score) >= threshold ? "NG" : "OK";
    const changes = verdict !== part.dataset.verdict;
    if (changes) counts[verdict] += 1;
    show(part, changes, verdict);
    marks[index].classList.toggle("changes", changes);
  });
  tell(counts);
}

function show(part, changes, verdict) {
  part.toggleAttribute("hidden", !changes);
  if (!changes) return;
  part.querySelector("[data-new]").textContent = verdict;
  const image = part.querySelector("img");
  if (!image.getAttribute("src")) image.src = image.dataset.src; // only what is looked at is asked for
}

function tell(counts) {
  const text = main.dataset;
  const total = parts.length;
  if (!total) { summary.textContent = ""; return; }
  const count = counts.NG + counts.OK;
  summary.textContent = count
    ? `${say(text.change, { count, total })}. ${say(text.toNg, { count: counts.NG })}, ${say(text.toOk, { count: counts.OK })}.`
    : `${say(text.none, { total })}.`;
}

slider.addEventListener("input", () => { number.value = slider.value; preview(); });
number.addEventListener("input", () => { slider.value = number.value; preview(); });
preview();
follow({});
