// The bar with the decisions so far, and what the next `dvc repro` does with them.

import { get } from "./api.js";
import { count, make, number } from "./dom.js";

const WAIT_MS = 400;  // one request for a burst of decisions
const $ = (id) => document.getElementById(id);

export class StatusBar {
  constructor(undo) {
    $("undo").addEventListener("click", undo);
    this.heldOut = "";
  }

  /** Show the decisions, and ask what the next run does. */
  update(state) {
    const actions = Object.entries(state.by_action).map(([name, n]) => `${number(n)} ${name}`);
    this.decided = state.images ? `${count(state.images, "image")} with decisions: ${actions.join(" · ")}`
      : "No decisions yet.";
    this.write();
    $("undo").disabled = !state.last;
    $("undo").title = state.last ? `Undo: ${state.last.summary}` : "Nothing to undo";
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.showNextRun(), WAIT_MS);
  }

  write() {
    $("decided").replaceChildren(this.decided);
    if (this.heldOut) $("decided").append(make("span", { class: "warn" }, ` · ${this.heldOut}`));
  }

  async showNextRun() {
    let next;
    try {
      next = await get("next");
    } catch (error) {
      this.show("unknown", error.message, true);
      return;
    }
    const { valid = 0, test = 0 } = next.touching;
    const parts = [valid && `${number(valid)} in the validation set`,
      test && `${number(test)} in the test set`].filter(Boolean);
    this.heldOut = parts.length ? `${parts.join(", ")}, counted separately` : "";
    this.write();
    $("held-out-warning").hidden = !parts.length;
    const changes = next.changes.length ? `${next.changes.join("; ")}.` : "";
    this.show(next.summary, next.problem ?? changes, Boolean(next.problem));
  }

  show(summary, details, isBad = false) {
    $("next-summary").replaceChildren("Next ", make("code", {}, "dvc repro"), `: ${summary}`);
    $("next-summary").classList.toggle("bad", isBad);
    $("next-changes").textContent = details;
    $("next-changes").hidden = !details;
    $("next-changes").className = isBad ? "bad" : "";
  }
}
