// Elements and numbers. Text stays text: nothing is ever parsed as HTML.

/** Make an element with attributes (class, data-x, aria-x, ...) and children or text. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const key = (letter) => make("kbd", { "aria-hidden": "true" }, letter);

/** Make a link to another site; null if the address is not a web address. */
export function link(address, text) {
  if (!/^https?:\/\//i.test(address ?? "")) return null;
  return make("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, text ?? address);
}

export const number = (value) => value.toLocaleString("en");
export const count = (n, word) => `${number(n)} ${word}${n === 1 ? "" : "s"}`;
export const percent = (share) =>
  share > 0 && share < 0.01 ? "< 1%" : `${Math.round(100 * share)}%`;
