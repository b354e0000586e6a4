// The buttons that decide, and what they say to the server.

import { make, key, count } from "./dom.js";

export const ACTIONS = {
  k: { action: "keep", words: "Keep", done: "Kept" },
  d: { action: "delete", words: "Delete", done: "Deleted" },
  r: { action: "relabel", words: "Relabel…", done: "Relabelled" },
  s: { action: "suggested", words: "As the model says", done: "Relabelled" },
  n: { action: "not-duplicate", words: "Not a duplicate", done: "Not duplicates:" },
  c: { action: "keeper", words: "Choose to keep", done: "Chosen to keep:" },
  t: { action: "undo", words: "Take back", done: "Taken back:" },
};

/** A row of buttons and a field for the reason; `act(letter)` is called. */
export function toolbar(act) {
  const bar = make("div", { class: "bar", role: "toolbar", "aria-label": "Decide" });
  const about = make("span", { class: "about", "aria-live": "polite" });
  bar.append(about);
  for (const [letter, { action, words }] of Object.entries(ACTIONS)) {
    const button = make("button", { type: "button", class: `act is-${action}`, "data-key": letter,
      "aria-keyshortcuts": letter.toUpperCase() }, key(letter.toUpperCase()), ` ${words}`);
    button.addEventListener("click", () => act(letter));
    bar.append(button);
  }
  const reason = make("input", { type: "text", class: "reason", maxlength: "500",
    "aria-label": "Why (optional)", placeholder: "Why? (W, optional)", autocomplete: "off" });
  bar.append(reason);
  return { bar, about, reason, buttons: [...bar.querySelectorAll("button")] };
}

/** What each target's decision is, for a letter; `label` is of a relabelling. */
export function decisionsOf(letter, targets, { label, reason, decided }) {
  const { action } = ACTIONS[letter];
  const contents = new Map(targets.filter((item) => item.row !== null)
    .map((item) => [item.content, item]));
  const found = [];
  for (const [content, item] of contents) {
    if (action === "undo" && !decided.has(content)) continue;
    if (action === "suggested" && !item.suggested) continue;
    const said = { content_id: content, action: action === "suggested" ? "relabel" : action };
    if (action === "relabel") said.label = label;
    if (action === "suggested") said.label = item.suggested;
    if (reason && action !== "undo") said.reason = reason;
    found.push(said);
  }
  return found;
}

/** The items that a letter is about: S settles whole clusters where labels conflict. */
export function extended(letter, targets) {
  if (ACTIONS[letter].action !== "suggested") return targets;
  return targets.flatMap((item) => (item.settles ? item.cluster : [item])
    .map((other) => ({ ...other, suggested: item.suggested })));
}

/** What was done, for the toast: how many, and how many of them are held out. */
export function saying(letter, decisions, items, samples) {
  const contents = new Set(decisions.map((each) => each.content_id));
  const parts = { valid: new Set(), test: new Set() };
  for (const item of items) {
    if (item.row === null || !contents.has(item.content)) continue;
    parts[samples.value("part", item.row)]?.add(item.content);
  }
  const labels = new Set(decisions.map((each) => each.label).filter(Boolean));
  const where = labels.size === 1 ? ` to ${samples.className([...labels][0])}` : "";
  const apart = Object.entries(parts).filter(([, set]) => set.size)
    .map(([name, set]) => `${set.size} in ${name}`).join(", ");
  return `${ACTIONS[letter].done} ${count(contents.size, "picture")}${where}` +
    (apart ? ` (${apart}: counted apart)` : "");
}
