// The actions: buttons and keys that decide about images. The template lists them.

import { count } from "./dom.js";

const template = document.getElementById("toolbar");

/** The actions by key: `action` is written, `done` begins the message. */
export const ACTIONS = new Map([...template.content.querySelectorAll("button")]
  .map(({ dataset: { key, action, done } }) => [key, { action, done }]));

/** Make a toolbar with a button for each action and a field for the reason. */
export function toolbar(act) {
  const bar = template.content.firstElementChild.cloneNode(true);
  const buttons = [...bar.querySelectorAll("button")];
  for (const button of buttons) button.addEventListener("click", () => act(button.dataset.key));
  return { bar, buttons, about: bar.querySelector(".about"), reason: bar.querySelector(".reason") };
}

/** Return the decisions of an action on items, one for each content. */
export function decisionsOf(key, items, { label, reason, log }) {
  const { action } = ACTIONS.get(key);
  const byContent = new Map(items.filter((item) => item.row !== null)
    .map((item) => [item.content, item]));
  const found = [];
  for (const [content, item] of byContent) {
    if (action === "undo" && !log.has(content)) continue;
    if (action === "suggested" && !item.suggested) continue;
    const decision = { content_id: content, action: action === "suggested" ? "relabel" : action };
    if (action === "relabel") decision.label = label;
    if (action === "suggested") decision.label = item.suggested;
    if (reason && action !== "undo") decision.reason = reason;
    found.push(decision);
  }
  return found;
}

/** Return the items that an action changes: in some tabs key S relabels whole clusters. */
export function affected(key, items, tab) {
  if (ACTIONS.get(key).action !== "suggested" || !tab.is_for_cluster) return items;
  return items.flatMap((item) => item.cluster
    .map((other) => ({ ...other, suggested: item.suggested })));
}

/** Return the message about decisions: how many images, and how many of them are held out. */
export function messageOf(key, decisions, items, samples) {
  const contents = new Set(decisions.map((each) => each.content_id));
  const heldOut = { valid: new Set(), test: new Set() };
  for (const item of items) {
    if (item.row === null || !contents.has(item.content)) continue;
    heldOut[samples.value("part", item.row)]?.add(item.content);
  }
  const labels = new Set(decisions.map((each) => each.label).filter(Boolean));
  const to = labels.size === 1 ? ` to ${samples.className([...labels][0])}` : "";
  const parts = Object.entries(heldOut).filter(([, set]) => set.size)
    .map(([part, set]) => `${set.size} in the ${samples.partName(part)}`).join(", ");
  return `${ACTIONS.get(key).done} ${count(contents.size, "image")}${to}` +
    (parts ? ` (${parts}, counted separately)` : "");
}
