// The dialog with one large image, its facts and the same keys.

import { make, key } from "./dom.js";
import { largeImage } from "./facts.js";

export class Viewer {
  /** `tools` is a toolbar, `step(n)` moves the grid, `facts(item)` resolves to elements. */
  constructor({ tools, step, facts }) {
    this.dialog = document.getElementById("viewer");
    this.elementsOf = facts;
    this.place = make("span", { class: "place", "aria-live": "polite" });
    this.figure = make("div", { class: "large" });
    this.facts = make("div", { class: "facts", tabindex: "0", role: "region",
      "aria-label": "Details" });
    const button = (words, letter, act) => {
      const element = make("button", { type: "button" }, key(letter), ` ${words}`);
      element.addEventListener("click", act);
      return element;
    };
    this.close = button("Close", "Esc", () => this.dialog.close());
    const head = make("div", { class: "head" }, this.place,
      button("Previous", "←", () => step(-1)), button("Next", "→", () => step(1)), this.close);
    this.dialog.append(head, make("div", { class: "both" }, this.figure, this.facts), tools.bar);
  }

  get isOpen() { return this.dialog.open; }

  open(item, samples, place) {
    this.show(item, samples, place);
    this.dialog.showModal();
    this.close.focus();
  }

  /** Show an item; the image element stays if only its facts are new. */
  async show(item, samples, place) {
    this.place.textContent = place;
    if (this.item !== item) this.figure.replaceChildren(largeImage(item, samples));
    this.item = item;
    const elements = await this.elementsOf(item);
    if (this.item === item) this.facts.replaceChildren(...elements);
  }
}
