// Fills a view, as the server sends it, into the page. Text goes in as text, never as markup.
//
// data-text="key"             the element's text
// data-attr="name:key …"      attributes; null removes one
// data-show="key"             hidden while the value is empty
// data-with="key"             what is inside belongs to view[key]; hidden while that is null
// data-list="key" data-item="id"   one child for each item, made from <template id>

export function fill(element, view) {
  const { text, attr, show, list, item } = element.dataset;
  if (attr !== undefined) attr.split(" ").forEach((pair) => setAttribute(element, pair, view));
  if (show !== undefined) element.toggleAttribute("hidden", !view[show]);
  if (text !== undefined) setText(element, view[text]);
  else if (list !== undefined) fillList(element, view[list], item);
  else for (const child of element.children) fillInside(child, view);
}

function fillInside(element, view) {
  if (element.dataset.part !== undefined) return; // filled by its own name
  const inner = element.dataset.with;
  if (inner === undefined) return fill(element, view);
  element.toggleAttribute("hidden", view[inner] == null);
  if (view[inner] != null) fill(element, view[inner]);
}

function setText(element, value) {
  const text = value == null ? "" : String(value);
  if (element.textContent !== text) element.textContent = text;
}

function setAttribute(element, pair, view) {
  const [name, key] = pair.split(":");
  if (!(key in view)) return;
  const value = view[key];
  if (value == null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

function fillList(element, items, template) {
  while (element.children.length > items.length) element.lastElementChild.remove();
  while (element.children.length < items.length) {
    element.append(document.getElementById(template).content.firstElementChild.cloneNode(true));
  }
  items.forEach((item, index) => fill(element.children[index], item));
}

export function fillParts(name, view) {
  document.querySelectorAll(`[data-part="${name}"]`).forEach((element) => fill(element, view));
}
