// The bar that says what has been decided, and what the next `dvc repro` will do with it.

import { get } from "./api.js";
import { count, make, number } from "./dom.js";

const WAIT_MS = 400;  // the split is made once for a burst of decisions
const $ = (id) => document.getElementById(id);

export class Standing {
  constructor(undo) {
    $("undo").addEventListener("click", undo);
    this.touched = "";
  }

  tell(state) {
    const actions = Object.entries(state.by_action).map(([name, n]) => `${number(n)} ${name}`);
    this.words = state.pictures ? `${count(state.pictures, "picture")} decided: ${actions.join(" · ")}`
      : "Nothing decided yet.";
    this.write();
    $("undo").disabled = !state.last;
    $("undo").title = state.last ? `Undo: ${state.last.says}` : "Nothing to undo";
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.ahead(), WAIT_MS);
  }

  write() {
    $("decided").replaceChildren(this.words);
    if (this.touched) $("decided").append(make("span", { class: "warn" }, ` · ${this.touched}`));
  }

  async ahead() {
    let next;
    try {
      next = await get("next");
    } catch (error) {
      this.say(`unknown: ${error.message}`, "");
      return;
    }
    const { valid = 0, test = 0 } = next.touching;
    const held = [valid && `${number(valid)} in valid`, test && `${number(test)} in test`].filter(Boolean);
    this.touched = held.length ? `${held.join(", ")}, counted apart` : "";
    this.write();
    $("flatters").hidden = !held.length;
    this.say(next.says, next.problem ?? (next.changes.length ? `${next.changes.join(", ")}.` : ""));
    $("ahead-changes").className = next.problem ? "bad" : "";
    $("ahead-says").classList.toggle("bad", Boolean(next.problem));
  }

  say(words, more) {
    $("ahead-says").replaceChildren("Next ", make("code", {}, "dvc repro"), `: ${words}`);
    $("ahead-changes").textContent = more;
    $("ahead-changes").hidden = !more;
  }
}
