// Choosing a class: type a part of its name or key, Enter takes it.

import { make } from "./dom.js";
import { bare } from "./samples.js";

const MOST = 400;

export class Picker {
  constructor(samples) {
    this.dialog = document.getElementById("picker");
    this.input = document.getElementById("picker-input");
    this.list = document.getElementById("picker-list");
    this.title = document.getElementById("picker-title");
    this.samples = samples;
    this.input.addEventListener("input", () => this.fill());
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) this.choose(option.dataset.label);
    });
    this.dialog.addEventListener("close", () => this.resolve?.(null));
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
  }

  /** Ask for a class; `first` are offered before the others. Resolves to a label or null. */
  ask(title, first) {
    this.title.textContent = title;
    this.first = [...new Set(first.filter((label) => this.samples.classes.has(label)))];
    this.input.value = "";
    this.fill();
    this.dialog.showModal();
    this.input.focus();
    return new Promise((resolve) => { this.resolve = resolve; });
  }

  fill() {
    const typed = bare(this.input.value.trim());
    const labels = [...this.first,
      ...[...this.samples.classes.keys()].filter((label) => !this.first.includes(label))];
    const rank = (label) => {
      const { label_name: name, romanised } = this.samples.classes.get(label);
      const words = [label, name, romanised ?? ""].map(bare);
      if (words.includes(typed)) return 0;
      if (words.some((word) => word.startsWith(typed))) return 1;
      return words.some((word) => word.includes(typed)) ? 2 : 3;
    };
    const ranked = labels.map((label, place) => [typed ? rank(label) : 1, place, label])
      .filter(([found]) => found < 3).sort((a, b) => a[0] - b[0] || a[1] - b[1]).slice(0, MOST);
    this.list.replaceChildren(...ranked.map(([, , label], place) => {
      const known = this.samples.classes.get(label);
      return make("div", { role: "option", id: `choice-${place}`, "data-label": label },
        make("span", { class: "choice" }, this.samples.className(label)),
        known.label_name === label ? null : make("span", { class: "quiet" }, ` ${label}`),
        this.first.includes(label) ? make("span", { class: "quiet" }, " · the model's") : null);
    }));
    if (!ranked.length) {
      this.list.append(make("div", { role: "option", "aria-disabled": "true", class: "quiet" },
        "No such class"));
    }
    this.point(0);
  }

  options() { return [...this.list.querySelectorAll("[data-label]")]; }

  point(place) {
    const options = this.options();
    this.place = Math.min(options.length - 1, Math.max(0, place));
    options.forEach((option, at) => option.setAttribute("aria-selected", String(at === this.place)));
    const current = options[this.place];
    if (current) {
      this.input.setAttribute("aria-activedescendant", current.id);
      current.scrollIntoView({ block: "nearest" });
    } else this.input.removeAttribute("aria-activedescendant");
  }

  key(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
    if (steps[event.key]) this.point(this.place + steps[event.key]);
    else if (event.key === "Enter") this.choose(this.options()[this.place]?.dataset.label);
    else return;
    event.preventDefault();
  }

  choose(label) {
    if (!label) return;
    const resolve = this.resolve;
    this.resolve = null;
    this.dialog.close();
    resolve?.(label);
  }
}
