// Messages about what was just done and what is wrong, for screens and screen readers.

import { make } from "./dom.js";

const SHOWN_MS = 6000;
const box = document.getElementById("toasts");
const strip = document.getElementById("banner");

/** Show a message for a while; `undo` adds a button. An error stays until it is closed. */
export function toast(words, undo = null, isError = false) {
  const message = make("div", { class: isError ? "toast is-bad" : "toast" }, make("span", {}, words));
  const close = () => message.remove();
  const add = (label, act) => {
    const button = make("button", { type: "button" }, label);
    button.addEventListener("click", () => { close(); act?.(); });
    message.append(button);
  };
  if (undo) add("Undo", undo);
  if (isError) add("Close");
  else setTimeout(close, SHOWN_MS);
  // an older message goes: its button would now undo the newer step
  for (const old of box.querySelectorAll(".toast:not(.is-bad)")) old.remove();
  box.append(message);
}

/** Show a lasting message across the page, with a button if `act` is given; null hides an error. */
export function banner(words, label = null, act = null) {
  const isError = Boolean(words) && !act;
  if (!words && strip.dataset.isError !== "true") return;
  strip.dataset.isError = String(isError);
  strip.hidden = !words;
  strip.replaceChildren(make("span", {}, words ?? ""));
  if (act) {
    const button = make("button", { type: "button" }, label);
    button.addEventListener("click", act);
    strip.append(button);
  }
}
