// The verdicts on images, kept up to date with other tabs and other programs.

import { get, post, ServerGone } from "./api.js";

const INTERVAL_MS = 2000;

export class DecisionLog {
  /** Calls `changed()` after news and `failed(words)` on an error that lasts (null: it is over). */
  constructor(changed, failed) {
    this.verdicts = new Map();
    this.state = null;
    this.changed = changed;
    this.failed = failed;
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

  /** Ask the server for newer decisions. */
  update() {
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

  /** Undo the last step and return it. */
  undo() {
    return this.inTurn(async () => {
      const last = this.state?.last;
      this.take(await post("undo", { version: this.state.version }));
      return last;
    });
  }

  /** Send one request after another, so that decisions are written in the order of the clicks. */
  inTurn(task) {
    const done = this.queue.then(task);
    this.queue = done.catch(() => {});
    return done;
  }

  /** Update again and again while the page is visible. */
  follow() {
    const update = async () => {
      if (document.visibilityState !== "visible") return;
      try {
        await this.update();
        this.failed(null);
      } catch (error) {
        this.failed(error instanceof ServerGone
          ? "kalai review has stopped, so decisions are not saved. Start it again and reload this page."
          : error.message);
      }
    };
    const repeat = async () => { await update(); setTimeout(repeat, INTERVAL_MS); };
    setTimeout(repeat, INTERVAL_MS);
    document.addEventListener("visibilitychange", update);
  }
}
