// A card: the picture, what it is, what the tab says of it, and what was decided.

import { picture } from "./api.js";
import { make } from "./dom.js";
import { captions } from "./tabs.js";

const WORDS = { keep: "kept", delete: "deleted", "not-duplicate": "not a duplicate",
  keeper: "chosen to keep" };

/** What stands about a picture, in words. */
export function words(verdict, samples) {
  const found = [];
  if (verdict?.label) found.push(`→ ${samples.className(verdict.label)}`);
  if (verdict?.action) found.push(WORDS[verdict.action]);
  return found.join(", ");
}

/** Fill a card, or bring it up to date: the picture stays, so nothing flickers. */
export function dress(card, item, { tab, samples, decided, column }) {
  const lines = captions(tab, item, samples, column);
  const verdict = item.row === null ? null : decided.of(item.content);
  const said = words(verdict, samples);
  if (!card.firstChild) card.append(frame(item, samples), ...lines.map((text, place) =>
    make("div", { class: place ? "caption" : "name", title: text }, text)));
  card.classList.toggle("is-decided", Boolean(said));
  card.classList.toggle("is-deleted", verdict?.action === "delete");
  card.querySelector(".verdict")?.remove();
  if (said) card.firstChild.append(make("span", { class: `verdict is-${verdict.action ?? "relabel"}` }, said));
  const isKept = keptOf(item, decided);
  card.querySelector(".keeper")?.remove();
  if (isKept) card.firstChild.append(make("span", { class: "keeper" }, "★ kept"));
  const part = item.row === null ? null : samples.value("part", item.row);
  card.setAttribute("aria-label", [...lines, part && tab !== "losses" ? `in ${part}` : "",
    isKept ? "kept of its cluster" : "", said && `decided: ${said}`].filter(Boolean).join(", "));
}

/** Whether a picture is the one kept of its cluster: a person's choice comes first. */
function keptOf(item, decided) {
  if (!item.cluster || decided.of(item.content)?.action === "delete") return false;
  const chosen = item.cluster.filter((other) => decided.of(other.content)?.action === "keeper");
  return chosen.length ? chosen.includes(item) : item.isKeeper;
}

function frame(item, samples) {
  const inside = item.content
    ? make("img", { alt: "", decoding: "async", draggable: "false",
      src: picture("small", item.content, samples.data) })
    : make("span", { class: "nothing" }, "no picture");
  const box = make("div", { class: "frame" }, inside);
  if (item.row !== null) box.append(make("span", { class: "tick", title: "Select" }));
  box.append(make("span", { class: "enlarge", title: "Larger" }, "⤢"));
  return box;
}
