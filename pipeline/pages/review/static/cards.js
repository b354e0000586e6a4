// A card: the image, its class, the tab's notes and the verdict.

import { imageUrl } from "./api.js";
import { make } from "./dom.js";
import { captions } from "./tabs.js";

const WORDS = { keep: "kept", delete: "deleted", "not-duplicate": "not a duplicate",
  keeper: "keeper" };

/** Return the verdict on an image, in words. */
export function words(verdict, samples) {
  const found = [];
  if (verdict?.label) found.push(`→ ${samples.className(verdict.label)}`);
  if (verdict?.action) found.push(WORDS[verdict.action]);
  return found.join(", ");
}

/** Fill a card, or update it; the image element stays, so that it does not flicker. */
export function fill(card, item, { tab, samples, log, column }) {
  const lines = captions(tab, item, samples, column);
  const verdict = item.row === null ? null : log.of(item.content);
  const decision = words(verdict, samples);
  if (!card.firstChild) card.append(frame(item, samples), ...lines.map(caption(tab)));
  card.classList.toggle("is-decided", Boolean(decision));
  card.classList.toggle("is-deleted", verdict?.action === "delete");
  card.querySelector(".verdict")?.remove();
  if (decision) {
    card.firstChild.append(
      make("span", { class: `verdict is-${verdict.action ?? "relabel"}` }, decision));
  }
  const isKeeper = isKept(item, log);
  card.querySelector(".keeper")?.remove();
  if (isKeeper) card.firstChild.append(make("span", { class: "keeper" }, "★ kept"));
  const part = item.row === null ? null : samples.value("part", item.row);
  const spoken = part && !lines.some((line) => line.includes(samples.partName(part)));
  card.setAttribute("aria-label", [...lines, spoken ? samples.partName(part) : "",
    isKeeper ? "kept among its duplicates" : "", decision && `decision: ${decision}`]
    .filter(Boolean).join(", "));
}

/** Return a function that makes the element of a line; the tab says how high a note is. */
const caption = (tab) => (text, place) => {
  const lines = place ? tab.note_lines[place - 1] ?? 1 : 1;
  return make("div", { class: place ? `caption lines-${lines}` : "name", title: text }, text);
};

/** Tell whether an image is the one kept of its cluster: a person's choice comes first. */
function isKept(item, log) {
  if (!item.cluster || log.of(item.content)?.action === "delete") return false;
  const chosen = item.cluster.filter((other) => log.of(other.content)?.action === "keeper");
  return chosen.length ? chosen.includes(item) : item.isKeeper;
}

function frame(item, samples) {
  const inside = item.content
    ? make("img", { alt: "", decoding: "async", draggable: "false",
      src: imageUrl("small", item.content, samples.data) })
    : make("span", { class: "no-image" }, "no image");
  const box = make("div", { class: "frame" }, inside);
  if (item.row !== null) box.append(make("span", { class: "tick", title: "Select" }));
  box.append(make("span", { class: "enlarge", title: "Enlarge" }, "⤢"));
  return box;
}
