"use strict";
// One list of pictures; what is shown follows from the form and from nothing else.
const data = JSON.parse(document.getElementById("data").textContent);
const form = document.getElementById("tools");
const gallery = document.getElementById("gallery");
const detail = document.getElementById("detail");
const PAGE = 240;
const [SCORE, NG, MS, SPLIT, HEAT] = [0, 1, 2, 3, 4];
let shown = [];
let drawn = 0;
let open = -1;

function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

const isWrong = (picture, answer) => answer !== null && (answer[NG] === 1) !== picture.bad;
const there = (picture) => picture.answers.filter((answer) => answer !== null);
const disagree = (picture) => new Set(there(picture).map((answer) => answer[NG])).size > 1;
const spread = (picture) => {
  const scores = there(picture).map((answer) => answer[SCORE]);
  return Math.max(...scores) - Math.min(...scores);
};

const KEYS = {
  file: (picture) => 0,
  disagreement: (picture) => -spread(picture) - (disagree(picture) ? 1 : 0),
  slowest: (picture) => -Math.max(...there(picture).map((answer) => answer[MS])),
};

function fill(name, values) {
  const select = form.elements[name];
  for (const [value, text] of values) select.append(new Option(text, value));
}

function setUp() {
  const distinct = (values) => [...new Set(values)].sort().map((value) => [value, value]);
  fill("model", data.models.map((model, index) => [String(index), model]));
  fill("category", distinct(data.pictures.map((picture) => picture.category)));
  fill("label", distinct(data.pictures.map((picture) => picture.label)));
  fill("part", distinct(data.pictures.flatMap((picture) => there(picture).map((answer) => answer[SPLIT]))));
  fill("sort", [["file", "file"], ["disagreement", "disagreement"], ["slowest", "slowest first"]]);
  data.models.forEach((model, index) => {
    fill("sort", [[`high${index}`, `${model}: high score first`], [`low${index}`, `${model}: low score first`]]);
  });
  form.elements.category.closest("label").hidden = form.elements.category.options.length < 3;
  form.elements.model.closest("label").hidden = data.models.length < 2;
  form.elements.show[2].closest("label").hidden = data.models.length < 2;
}

function key(sort) {
  const model = Number(sort.replace(/\D/g, ""));
  if (sort.startsWith("high")) return (picture) => -(picture.answers[model]?.[SCORE] ?? -1);
  if (sort.startsWith("low")) return (picture) => picture.answers[model]?.[SCORE] ?? 2;
  return KEYS[sort];
}

function fits(picture) {
  const { show, model, category, label, part, text } = form.elements;
  const asked = model.value === "" ? picture.answers : [picture.answers[Number(model.value)]];
  if (asked.every((answer) => answer === null)) return false;
  if (show.value === "wrong" && !asked.some((answer) => isWrong(picture, answer))) return false;
  if (show.value === "split" && !disagree(picture)) return false;
  if (category.value && picture.category !== category.value) return false;
  if (label.value && picture.label !== label.value) return false;
  if (part.value && !asked.some((answer) => answer !== null && answer[SPLIT] === part.value)) return false;
  return picture.file.toLowerCase().includes(text.value.trim().toLowerCase());
}

function choose() {
  const by = key(form.elements.sort.value);
  const keyed = data.pictures.filter(fits).map((picture) => [by(picture), picture]);
  keyed.sort((a, b) => a[0] - b[0] || a[1].n - b[1].n);
  shown = keyed.map((pair) => pair[1]);
  drawn = 0;
  gallery.replaceChildren();
  document.getElementById("count").textContent = `${shown.length} of ${data.pictures.length} pictures`;
  if (shown.length) drawMore();
  else gallery.append(make("li", { className: "none", textContent: "No picture fits." }));
}

function drawMore() {
  gallery.querySelector(".more")?.remove();
  const first = drawn;
  for (; drawn < Math.min(shown.length, first + PAGE); drawn += 1) gallery.append(card(shown[drawn], drawn));
  if (drawn < shown.length) {
    const button = make("button", { type: "button", textContent: `Show ${Math.min(PAGE, shown.length - drawn)} more` });
    const from = drawn;
    button.addEventListener("click", () => { drawMore(); gallery.children[from].firstChild.focus(); });
    gallery.append(make("li", { className: "more" }, button));
  }
}

function truth(picture) {
  return make("b", { className: picture.bad ? "truth-ng" : "truth-ok", textContent: picture.label });
}

function word(picture, answer) {
  return `${answer[NG] ? "NG" : "OK"} ${answer[SCORE].toFixed(2)}${isWrong(picture, answer) ? " wrong" : ""}`;
}

function card(picture, index) {
  const chips = data.models.flatMap((model, place) => {
    const answer = picture.answers[place];
    if (answer === null) return [];
    const text = `${data.models.length > 1 ? model + " " : ""}${word(picture, answer)}`;
    return [make("span", { className: isWrong(picture, answer) ? "chip wrong" : "chip", textContent: text })];
  });
  const image = make("img", { src: picture.thumb, alt: "", loading: "lazy", decoding: "async" });
  const name = make("span", { className: "name", title: picture.file }, make("bdi", { textContent: picture.file }));
  const told = make("span", { className: "told" }, name, truth(picture), make("span", { className: "chips" }, ...chips));
  const button = make("button", { type: "button" }, make("span", { className: "mat" }, image), told);
  button.addEventListener("click", () => look(index));
  const item = make("li", { className: "card" }, button);
  item.dataset.testid = "card";
  return item;
}

function view(picture, model, answer) {
  const limit = data.limits[picture.category][model];
  const stack = make("span", { className: "stack" }, make("img", { src: picture.thumb, alt: "" }));
  if (answer[HEAT]) stack.append(make("img", { src: answer[HEAT], alt: "", className: "heat" }));
  if (picture.truth) stack.append(make("img", { src: picture.truth, alt: "", className: "mark" }));
  const bar = make("i");
  bar.style.width = `${answer[SCORE] * 100}%`;
  const line = make("u");
  line.style.left = `${limit * 100}%`;
  const wrong = isWrong(picture, answer);
  const said = make("span", { className: wrong ? "wrong" : "", textContent: `${word(picture, answer)}, threshold ${limit.toFixed(2)}` });
  const rest = make("span", { className: "quiet", textContent: `${answer[SPLIT]}, ${answer[MS].toFixed(1)} ms` });
  return make("div", { className: "view" }, make("b", { textContent: data.models[model] }), stack, make("span", { className: "meter", ariaHidden: "true" }, bar, line), said, rest);
}

function look(index) {
  open = index;
  const picture = shown[index];
  document.getElementById("detail-name").textContent = picture.file;
  document.getElementById("detail-about").replaceChildren(truth(picture), ` · ${picture.category} · ${index + 1} of ${shown.length}`);
  const views = data.models.flatMap((_, model) => (picture.answers[model] ? [view(picture, model, picture.answers[model])] : []));
  document.getElementById("views").replaceChildren(...views);
  document.getElementById("before").disabled = index === 0;
  document.getElementById("after").disabled = index === shown.length - 1;
  if (!detail.open) detail.showModal();
}

function move(step) {
  const next = open + step;
  if (next < 0 || next >= shown.length) return;
  while (next >= drawn) drawMore();
  look(next);
}

function toggle(id, name) {
  const hidden = detail.classList.toggle(name);
  document.getElementById(id).setAttribute("aria-pressed", String(!hidden));
}

function columns() {
  return getComputedStyle(gallery).gridTemplateColumns.split(" ").length;
}

function walk(event) {
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns() };
  const item = event.target.closest(".card");
  if (!item || !(event.key in steps)) return;
  const next = gallery.children[[...gallery.children].indexOf(item) + steps[event.key]];
  if (!next) return;
  event.preventDefault();
  next.firstChild.focus();
}

setUp();
form.addEventListener("input", choose);
form.addEventListener("submit", (event) => event.preventDefault());
gallery.addEventListener("keydown", walk);
detail.addEventListener("keydown", (event) => {
  const does = { ArrowLeft: () => move(-1), ArrowRight: () => move(1), h: () => toggle("heat", "no-heat"), t: () => toggle("mark", "no-truth") };
  does[event.key.length === 1 ? event.key.toLowerCase() : event.key]?.();
});
detail.addEventListener("close", () => gallery.children[open]?.firstChild.focus());
document.getElementById("close").addEventListener("click", () => detail.close());
document.getElementById("before").addEventListener("click", () => move(-1));
document.getElementById("after").addEventListener("click", () => move(1));
document.getElementById("heat").addEventListener("click", () => toggle("heat", "no-heat"));
document.getElementById("mark").addEventListener("click", () => toggle("mark", "no-truth"));
choose();
// A link from the report names a picture.
const asked = shown.findIndex((picture) => `#${picture.n}` === location.hash);
if (asked >= 0) { while (asked >= drawn) drawMore(); look(asked); }
