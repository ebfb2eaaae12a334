// Elements and their updates. Whatever comes from the fleet is only ever set as
// text: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes, listeners (`onclick`) and children. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else set(element, name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Sets an attribute, or takes it away for null, undefined and false. */
export function set(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/** Sets the text of an element that holds nothing else. */
export function say(element, text) {
  const words = text ?? "";
  if (element.textContent !== words) element.textContent = words;
  return element;
}

/** Makes the children of `parent` those of `items`, and keeps the elements of
 *  those that stay, so that focus and scrolling stay too. */
export function keyed(parent, items, keyOf, make, update) {
  const known = parent.keyed ?? (parent.keyed = new Map());
  const wanted = new Set(items.map(keyOf));
  // First those that go: an element that is moved loses the focus.
  for (const [key, element] of known) {
    if (wanted.has(key)) continue;
    element.remove();
    known.delete(key);
  }
  let next = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let element = known.get(key);
    if (!element) {
      element = make(item);
      known.set(key, element);
    }
    update?.(element, item);
    if (element === next) next = next.nextElementSibling;
    else parent.insertBefore(element, next);
  }
}

/** A list of terms and values that stays the same elements over updates. */
export function facts() {
  const root = h("dl", { class: "facts" });
  return {
    root,
    /** `rows`: pairs of a term and a text or an element; those without are left out. */
    update(rows) {
      const some = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
      keyed(root, some, ([term]) => term, ([term]) => h("div", {}, h("dt", {}, term), h("dd")), (row, [, value]) => {
        const cell = row.lastElementChild;
        if (value instanceof Node) {
          if (cell.firstChild !== value) cell.replaceChildren(value);
        } else say(cell, value);
      });
    },
  };
}

/** Tells those who cannot see what changed. Beside an open dialog nothing is
 *  read out, so each has a place of its own for it. */
export function announce(text) {
  const dialog = [...document.querySelectorAll("dialog:modal")].at(-1);
  say(dialog?.querySelector(".said") ?? document.getElementById("said"), text);
}
