// The page of one model: sends drawn letters and chosen images to the API, shows the predictions.

import { Pad } from "./pad.js";

const PAUSE_MS = 120; // after a stroke, since the next one often follows at once
const MAX_LETTER = 4; // characters; a longer name is a word and is shown smaller

const at = (id) => document.getElementById(id);
const main = at("main");
const token = document.querySelector('meta[name="kalai-token"]').content;
const rows = [...at("guesses").querySelectorAll("button")];
const known = new Map(); // classes by label
let request = new AbortController(); // the last one
let pause = 0;
let preview = "";
let input = "";

// ---- requests

async function predict(path, type, body) {
  cancel();
  const mine = (request = new AbortController());
  try {
    const response = await fetch(main.dataset.api + path, {
      method: "POST",
      headers: { "X-Kalai-Token": token, "Content-Type": type },
      body,
      signal: mine.signal,
    });
    const answer = await response.json();
    if (mine.signal.aborted) return;
    if (response.ok) show(answer);
    else fail(answer.error);
  } catch {
    if (!mine.signal.aborted) fail("The server is not responding. Is kalai serve still running?");
  }
}

// Ignore the answer to the last request: the user has drawn or chosen something else.
function cancel() {
  clearTimeout(pause);
  request.abort();
  at("problem").textContent = "";
}

function fail(reason) {
  at("problem").textContent = reason;
  hideAnswer();
}

function predictImage(file) {
  if (!file) return fail("This is not a file. Drop an image file.");
  if (file.size > main.dataset.maxBody) {
    cancel();
    return fail(`${file.name} is too large; at most ${main.dataset.maxBody / 1e6} MB are allowed.`);
  }
  if (pad?.strokes.length) pad.clear();
  setPreview(file);
  predict("/picture", "application/octet-stream", file);
}

function setPreview(file) {
  URL.revokeObjectURL(preview);
  preview = file ? URL.createObjectURL(file) : "";
  at("preview").hidden = !file;
  if (file) at("preview").src = preview;
}

// ---- answers

function show({ top, seen }) {
  top.forEach((guess, place) => {
    const row = rows[place];
    row.dataset.label = guess.label;
    row.querySelector(".name").textContent = guess.name;
    row.querySelector(".romanised").textContent = guess.romanised ?? "";
    row.querySelector(".bar > span").style.width = `${100 * guess.probability}%`;
    row.querySelector(".probability").textContent = percent(guess.probability);
  });
  const [best] = top;
  at("letter").textContent = best.name;
  at("letter").classList.toggle("word", best.name.length > MAX_LETTER);
  at("romanised").textContent = best.romanised ?? "";
  at("romanised").title = "ISO 15919";
  at("announcement").textContent = top
    .map((guess) => `${displayName(guess)}: ${percent(guess.probability)}`)
    .join(", ");
  URL.revokeObjectURL(input);
  input = URL.createObjectURL(pngOf(seen));
  at("input").src = input;
  at("intro").hidden = true;
  at("answer").hidden = false;
  showSamples(best.label);
}

function hideAnswer() {
  at("answer").hidden = at("samples").hidden = true;
  at("intro").hidden = false;
  at("announcement").textContent = "";
}

function showSamples(label) {
  for (const row of rows) row.setAttribute("aria-pressed", String(row.dataset.label === label));
  const { samples = [], ...names } = known.get(label) ?? {};
  at("samples").hidden = !samples.length;
  if (at("samples").dataset.label === label) return;
  at("samples").dataset.label = label;
  at("sample-class").textContent = displayName(names);
  at("sample-images").replaceChildren(
    ...samples.map((id, place) => {
      const image = new Image();
      image.src = `${main.dataset.api}/samples/${id}`;
      image.alt = `Sample ${place + 1} of ${names.name}`;
      return image;
    }),
  );
}

function displayName({ name, romanised }) {
  return romanised ? `${name} ${romanised}` : name;
}

function percent(share) {
  if (share > 0.995) return ">99%";
  return share < 0.0995 ? `${(100 * share).toFixed(1)}%` : `${Math.round(100 * share)}%`;
}

function pngOf({ png }) {
  return new Blob([Uint8Array.from(atob(png), (one) => one.charCodeAt(0))], { type: "image/png" });
}

// ---- the pad

function beginStroke() {
  cancel();
  setPreview(null);
  at("pad-hint").hidden = true;
}

function changeStrokes() {
  cancel();
  const isEmpty = !pad.strokes.length;
  at("undo").disabled = at("clear").disabled = isEmpty;
  at("pad-hint").hidden = !isEmpty;
  if (isEmpty) return hideAnswer();
  const body = JSON.stringify({ strokes: pad.strokes });
  pause = setTimeout(predict, PAUSE_MS, "/strokes", "application/json", body);
}

const pad = at("pad") && new Pad(at("pad"), beginStroke, changeStrokes);
if (pad) {
  at("undo").addEventListener("click", () => pad.undo());
  at("clear").addEventListener("click", () => pad.clear());
  addEventListener("keydown", (event) => {
    const isUndo = (event.ctrlKey || event.metaKey) && !event.shiftKey && event.key === "z";
    if (isUndo) pad.undo();
    else if (event.key === "Escape" && pad.strokes.length) pad.clear();
    else return;
    event.preventDefault();
  });
}

// ---- images: a file that is chosen, dropped anywhere or pasted

at("choose").addEventListener("click", () => at("file").click());
at("file").addEventListener("change", () => {
  if (at("file").files.length) predictImage(at("file").files[0]);
  at("file").value = ""; // otherwise choosing the same file again is no change
});
at("preview").addEventListener("error", () => (at("preview").hidden = true)); // such as a TIFF
addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) predictImage(event.clipboardData.files[0]);
});
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  addEventListener(kind, (event) => {
    event.preventDefault(); // otherwise the browser opens the file
    const isOver = kind === "dragenter" || kind === "dragover";
    document.body.classList.toggle("over", isOver);
    if (kind === "drop") predictImage(event.dataTransfer.files[0]);
  });
}

// ---- samples

for (const button of document.querySelectorAll("#guesses button, .classes button")) {
  button.addEventListener("click", () => {
    showSamples(button.dataset.label);
    at("samples").scrollIntoView({ block: "nearest" });
  });
}
const classes = await (await fetch(`${main.dataset.api}/classes`)).json();
for (const each of classes) known.set(each.label, each);
