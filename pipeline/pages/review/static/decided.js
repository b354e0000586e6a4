// What stands, kept up with whoever else decides: another tab, another program.

import { get, post, Gone } from "./api.js";

const EVERY_MS = 2000;

export class Decided {
  /** `changed()` is told that something is new, `gone(words)` what goes wrong (null: nothing). */
  constructor(changed, gone) {
    this.verdicts = new Map();
    this.state = null;
    this.changed = changed;
    this.gone = gone;
    this.queue = Promise.resolve();
  }

  of(content) { return this.verdicts.get(content); }
  has(content) { return this.verdicts.has(content); }

  take(state) {
    const isSame = this.state?.version === state.version && this.state.data === state.data;
    this.state = state;
    if (state.is_whole) this.verdicts.clear();
    for (const [content, [label, action]] of Object.entries(state.verdicts)) {
      if (label === null && action === null) this.verdicts.delete(content);
      else this.verdicts.set(content, { label, action });
    }
    if (!isSame) this.changed();
  }

  /** Ask for what is new; say whether the server answered. */
  look() {
    return this.inTurn(async () => {
      const since = this.state ? `?since=${encodeURIComponent(this.state.version)}` : "";
      this.take(await get(`state${since}`));
    });
  }

  /** Add one step; resolves when it is on the disk. */
  add(decisions) {
    return this.inTurn(async () =>
      this.take(await post("decisions", { decisions, version: this.state?.version ?? null })));
  }

  /** Take back the last step; returns what it was. */
  undo() {
    return this.inTurn(async () => {
      const last = this.state?.last;
      this.take(await post("undo", { version: this.state.version }));
      return last;
    });
  }

  /** One request after another, so that what was pressed first is written first. */
  inTurn(task) {
    const done = this.queue.then(task);
    this.queue = done.catch(() => {});
    return done;
  }

  follow() {
    const look = async () => {
      if (document.visibilityState !== "visible") return;
      try {
        await this.look();
        this.gone(null);
      } catch (error) {
        this.gone(error instanceof Gone
          ? "kalai review has ended: what you do now is not saved. Start it again, then load this page again."
          : error.message);
      }
    };
    const again = async () => { await look(); setTimeout(again, EVERY_MS); };
    setTimeout(again, EVERY_MS);
    document.addEventListener("visibilitychange", look);
  }
}
