// What has just been done, and what is wrong; said to the eye and to a screen reader.

import { make } from "./dom.js";

const SHOWN_MS = 6000;
const box = document.getElementById("toasts");
const strip = document.getElementById("banner");

/** Say something for a while; `undo` adds a button, and what is bad stays until it is closed. */
export function toast(words, undo = null, isBad = false) {
  const said = make("div", { class: isBad ? "toast is-bad" : "toast" }, make("span", {}, words));
  const close = () => said.remove();
  if (undo) {
    const button = make("button", { type: "button" }, "Undo");
    button.addEventListener("click", () => { close(); undo(); });
    said.append(button);
  }
  if (isBad) {
    const button = make("button", { type: "button" }, "Close");
    button.addEventListener("click", close);
    said.append(button);
  } else setTimeout(close, SHOWN_MS);
  // one at a time: an old offer to undo would now undo something else; what is bad stays
  for (const old of box.querySelectorAll(".toast:not(.is-bad)")) old.remove();
  box.append(said);
}

/** Say across the page what goes on being wrong, or no longer; `act` is offered as a button. */
export function banner(words, offer = null, act = null) {
  const isGone = Boolean(words) && !act;
  if (!words && strip.dataset.isGone !== "true") return;
  strip.dataset.isGone = String(isGone);
  strip.hidden = !words;
  strip.replaceChildren(make("span", {}, words ?? ""));
  if (act) {
    const button = make("button", { type: "button" }, offer);
    button.addEventListener("click", act);
    strip.append(button);
  }
}
