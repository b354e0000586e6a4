// The dialog to choose a class: type a part of its name or label; Enter chooses it.

import { make } from "./dom.js";
import { bare } from "./samples.js";

const MAX_SHOWN = 400;

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

  /** Ask for a class; resolves to its label or null. The `suggested` labels come first. */
  ask(title, suggested) {
    this.title.textContent = title;
    this.suggested = [...new Set(suggested.filter((label) => this.samples.classes.has(label)))];
    this.input.value = "";
    this.fill();
    this.dialog.showModal();
    this.input.focus();
    return new Promise((resolve) => { this.resolve = resolve; });
  }

  fill() {
    const typed = bare(this.input.value.trim());
    const labels = [...this.suggested,
      ...[...this.samples.classes.keys()].filter((label) => !this.suggested.includes(label))];
    const rank = (label) => {
      const { name, romanised } = this.samples.classes.get(label);
      const words = [label, name, romanised ?? ""].map(bare);
      if (words.includes(typed)) return 0;
      if (words.some((word) => word.startsWith(typed))) return 1;
      return words.some((word) => word.includes(typed)) ? 2 : 3;
    };
    const ranked = labels.map((label, place) => [typed ? rank(label) : 1, place, label])
      .filter(([found]) => found < 3).sort((a, b) => a[0] - b[0] || a[1] - b[1]).slice(0, MAX_SHOWN);
    this.list.replaceChildren(...ranked.map(([, , label], place) => {
      return make("div", { role: "option", id: `choice-${place}`, "data-label": label },
        make("span", { class: "choice" }, this.samples.nameAndLabel(label)),
        this.suggested.includes(label)
          ? make("span", { class: "quiet" }, " · predicted") : null);
    }));
    if (!ranked.length) {
      this.list.append(make("div", { role: "option", "aria-disabled": "true", class: "quiet" },
        "No class matches"));
    }
    this.highlight(0);
  }

  options() { return [...this.list.querySelectorAll("[data-label]")]; }

  highlight(place) {
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
    if (steps[event.key]) this.highlight(this.place + steps[event.key]);
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
