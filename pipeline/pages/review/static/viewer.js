// The larger view: one picture with all that is known of it, and the same keys.

import { make, key } from "./dom.js";
import { large } from "./facts.js";

export class Viewer {
  /** `tools` is a toolbar; `step(n)` moves the grid; `tell(item)` resolves to elements. */
  constructor({ tools, step, tell }) {
    this.dialog = document.getElementById("viewer");
    this.tell = tell;
    this.place = make("span", { class: "place", "aria-live": "polite" });
    this.figure = make("div", { class: "large" });
    this.facts = make("div", { class: "facts", tabindex: "0", role: "region",
      "aria-label": "What is known of it" });
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

  /** Show an item; the picture stays where only its facts are new. */
  async show(item, samples, place) {
    this.place.textContent = place;
    if (this.item !== item) this.figure.replaceChildren(large(item, samples));
    this.item = item;
    const told = await this.tell(item);
    if (this.item === item) this.facts.replaceChildren(...told);
  }
}
