// The page of one model: asks the API for what was drawn or chosen and shows the answer.

import { Pad } from "./pad.js";

const PAUSE_MS = 120; // after a stroke; the next one often follows at once
const WORD = 4; // characters; names longer than a letter are shown smaller

const at = (id) => document.getElementById(id);
const main = at("main");
const token = document.querySelector('meta[name="kalai-token"]').content;
const rows = [...at("guesses").querySelectorAll("button")];
const known = new Map(); // classes by label
let asked = new AbortController();
let pause = 0;
let preview = "";
let seen = "";

// ---- asking

async function ask(path, type, body) {
  forget();
  const mine = (asked = new AbortController());
  try {
    const answer = await fetch(main.dataset.api + path, {
      method: "POST",
      headers: { "X-Kalai-Token": token, "Content-Type": type },
      body,
      signal: mine.signal,
    });
    const values = await answer.json();
    if (mine.signal.aborted) return;
    if (answer.ok) show(values);
    else fail(values.error);
  } catch {
    if (!mine.signal.aborted) fail("No answer. Does kalai serve still run?");
  }
}

// Stop waiting: what is shown now comes from something else.
function forget() {
  clearTimeout(pause);
  asked.abort();
  at("problem").textContent = "";
}

function fail(reason) {
  at("problem").textContent = reason;
  hideAnswer();
}

function askPicture(file) {
  if (!file) return fail("That was no file.");
  if (file.size > main.dataset.most) {
    forget();
    return fail(`${file.name} has more than ${main.dataset.most / 1e6} MB.`);
  }
  if (pad?.strokes.length) pad.clear();
  setPreview(file);
  ask("/picture", "application/octet-stream", file);
}

function setPreview(file) {
  URL.revokeObjectURL(preview);
  preview = file ? URL.createObjectURL(file) : "";
  at("preview").hidden = !file;
  if (file) at("preview").src = preview;
}

// ---- showing

function show({ top, seen: picture }) {
  top.forEach((guess, place) => {
    const row = rows[place];
    row.dataset.label = guess.label;
    row.querySelector(".name").textContent = guess.name;
    row.querySelector(".romanised").textContent = guess.romanised ?? "";
    row.querySelector(".bar > span").style.width = `${100 * guess.probability}%`;
    row.querySelector(".share").textContent = percent(guess.probability);
  });
  const [best] = top;
  at("letter").textContent = best.name;
  at("letter").classList.toggle("word", best.name.length > WORD);
  at("romanised").textContent = best.romanised ?? "";
  at("romanised").title = "ISO 15919";
  at("heard").textContent = top
    .map((guess) => `${called(guess)}: ${percent(guess.probability)}`)
    .join(", ");
  URL.revokeObjectURL(seen);
  seen = URL.createObjectURL(pngOf(picture));
  at("seen").src = seen;
  at("nothing").hidden = true;
  at("answer").hidden = false;
  showSamples(best.label);
}

function hideAnswer() {
  at("answer").hidden = at("samples").hidden = true;
  at("nothing").hidden = false;
  at("heard").textContent = "";
}

function showSamples(label) {
  for (const row of rows) row.setAttribute("aria-pressed", String(row.dataset.label === label));
  const { samples = [], ...names } = known.get(label) ?? {};
  at("samples").hidden = !samples.length;
  if (at("samples").dataset.label === label) return;
  at("samples").dataset.label = label;
  at("of").textContent = called(names);
  at("pictures").replaceChildren(
    ...samples.map((id, place) => {
      const image = new Image();
      image.src = `${main.dataset.api}/samples/${id}`;
      image.alt = `Sample ${place + 1} of ${names.name}`;
      return image;
    }),
  );
}

function called({ name, romanised }) {
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
  forget();
  setPreview(null);
  at("invite").hidden = true;
}

function changeStrokes() {
  forget();
  const isEmpty = !pad.strokes.length;
  at("undo").disabled = at("clear").disabled = isEmpty;
  at("invite").hidden = !isEmpty;
  if (isEmpty) return hideAnswer();
  const body = JSON.stringify({ strokes: pad.strokes });
  pause = setTimeout(ask, PAUSE_MS, "/strokes", "application/json", body);
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

// ---- pictures: a file that is chosen, dropped anywhere, or pasted

at("choose").addEventListener("click", () => at("file").click());
at("file").addEventListener("change", () => {
  if (at("file").files.length) askPicture(at("file").files[0]);
  at("file").value = ""; // so that the same file can be chosen again
});
at("preview").addEventListener("error", () => (at("preview").hidden = true)); // TIFF, say
addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) askPicture(event.clipboardData.files[0]);
});
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  addEventListener(kind, (event) => {
    event.preventDefault(); // or the browser would leave for the file
    const isOver = kind === "dragenter" || kind === "dragover";
    document.body.classList.toggle("over", isOver);
    if (kind === "drop") askPicture(event.dataTransfer.files[0]);
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
