// The page: tabs, filters, keys and buttons around the grid.

import { ACTIONS, affected, decisionsOf, messageOf, toolbar } from "./actions.js";
import { get } from "./api.js";
import { fill } from "./cards.js";
import { DecisionLog } from "./decisions.js";
import { make, count, number } from "./dom.js";
import { factElements, factsOf, fileElements, largeImage, sourceOf } from "./facts.js";
import { Grid } from "./grid.js";
import { banner, toast } from "./messages.js";
import { Picker } from "./picker.js";
import { Samples } from "./samples.js";
import { StatusBar } from "./status_bar.js";
import { captions, filtered, sectionsOf, sorted } from "./tabs.js";
import { Viewer } from "./viewer.js";

const SIDE_DELAY_MS = 60;  // before the side panel follows the current image
const SEARCH_DELAY_MS = 120;
const $ = (id) => document.getElementById(id);
const tabButtons = [...document.querySelectorAll("[role=tab]")];
const keys = tabButtons.map((button) => button.dataset.tab);
const sizes = [...$("size").options].map((option) => Number(option.value));

let samples, tabs, tab, chosenKey, shown = 0;
const sections = new Map();  // of each tab that was shown, by key

const log = new DecisionLog(() => {
  if (samples && log.state.data !== samples.data) {
    banner("dvc repro has written new data.", "Reload", () => location.reload());
  }
  grid.refresh();
  statusBar.update(log.state);
  showCurrent();
}, (problem) => {
  banner(problem);
  for (const tools of toolbars) for (const button of tools.buttons) button.disabled = Boolean(problem);
  if (!problem) enable();
});

const statusBar = new StatusBar(() => undo());
const toolbars = [toolbar(act), toolbar(act)];
$("actions").append(toolbars[0].bar);
const grid = new Grid($("grid"), {
  fill: (card, item) => fill(card, item, { tab, samples, log, column: $("order").value }),
  moved: () => showCurrent(),
  opened: (item) => item && open(item),
  chosen: () => enable(),
});
const viewer = new Viewer({ tools: toolbars[1], step: (n) => grid.go(grid.current + n),
  facts: elementsOf });
let picker;

// ---- tabs and filters

function filter() {
  return { search: $("search").value, label: $("of-class").value, part: $("of-part").value,
    kind: $("of-kind").value, undecided: $("undecided").checked };
}

function show() {
  if (!sections.has(chosenKey)) sections.set(chosenKey, sectionsOf(tab, samples));
  const all = sections.get(chosenKey);
  const column = $("order").value;
  const some = filtered(tab, all, samples, filter(), (content) => log.has(content));
  grid.selected.clear();
  grid.show(sorted(tab, some, samples, column, $("reverse").checked), {
    layout: tab.layout, side: Number($("size").value),
    lines: 1 + tab.note_lines.reduce((sum, lines) => sum + lines, 0) });
  shown = grid.items.length;
  showEmpty(all);
  enable();
}

function showEmpty(all) {
  const isEmpty = shown === 0;
  $("empty").hidden = !isEmpty;
  $("grid").hidden = isEmpty;
  $("side").hidden = isEmpty;
  if (!isEmpty) return;
  if (all.length) {
    $("empty").replaceChildren(make("p", {}, "No image matches the search and filters."));
    return;
  }
  const { text, command } = tab.empty;
  const run = command ? make("p", {}, "Run ", make("code", {}, command)) : "";
  $("empty").replaceChildren(make("p", {}, text), run);
}

function choose(key) {
  chosenKey = key;
  tab = tabs[key];
  for (const button of tabButtons) {
    const isChosen = button.dataset.tab === key;
    button.setAttribute("aria-selected", String(isChosen));
    button.tabIndex = isChosen ? 0 : -1;
    if (isChosen) {
      button.scrollIntoView({ block: "nearest", inline: "nearest" });
      $("grid").setAttribute("aria-label", `Images: ${button.dataset.title}`);
    }
  }
  history.replaceState(null, "", `#${key}`);
  $("hint").textContent = tab.hint;
  $("hint").hidden = !tab.hint;
  for (const { bar } of toolbars) {
    bar.querySelector(".is-suggested .words").textContent = tab.suggestion;
  }
  $("orders").hidden = $("directions").hidden = tab.layout === "clusters";
  $("order").value = "";
  $("reverse").checked = false;
  fillKinds();
  show();
}

function options(select, pairs) {
  select.replaceChildren(...pairs.map(([value, words]) => make("option", { value }, words)));
}

function fillKinds() {
  const counts = new Map();
  for (const { kind, rows, files } of tab.sections) {
    if (kind) counts.set(kind, (counts.get(kind) ?? 0) + rows.length + files.length);
  }
  $("kinds").hidden = counts.size < 2;
  options($("of-kind"), [["", "all"], ...[...counts].map(([kind, n]) => [kind, `${kind} (${number(n)})`])]);
}

function fillFilters() {
  options($("of-class"), [["", "all"], ...[...samples.classes.keys()]
    .map((label) => [label, samples.nameAndLabel(label)])]);
  options($("of-part"), [["", "all"],
    ...samples.names("part").map((part) => [part, samples.partName(part)])]);
  options($("order"), [["", "default"], ...samples.sortable()]);
  for (const key of keys) {
    const many = tabs[key].sections.reduce((sum, section) =>
      sum + section.rows.length + section.files.length, 0);
    $(`count-${key}`).textContent = number(many);
  }
}

// ---- the current image

async function elementsOf(item) {
  if (item.file) return fileElements(item.file);
  try {
    return factElements(await factsOf(item.content, log.state?.version), samples, item);
  } catch (error) {
    return [make("p", { class: "bad" }, error.message)];
  }
}

let waiting;
function showCurrent() {
  enable();
  const item = grid.item();
  if (!item) return;
  if (viewer.isOpen) viewer.show(item, samples, place());
  clearTimeout(waiting);
  waiting = setTimeout(async () => {
    if ($("side").offsetWidth === 0) return;
    const facts = await elementsOf(item);
    if (grid.item() !== item) return;
    const [title, ...rest] = captions(tab, item, samples, $("order").value);
    const box = make("button", { type: "button", class: "enlarge-side", "aria-label": "Enlarge" },
      largeImage(item, samples));
    box.addEventListener("click", () => open(grid.item()));
    $("side").replaceChildren(box, make("h2", {}, title),
      ...rest.map((text) => make("p", { class: "quiet" }, text)), ...facts);
  }, SIDE_DELAY_MS);
}

const place = () => `${number(grid.current + 1)} of ${number(shown)}`;

function open(item) {
  viewer.open(item, samples, place());
}

async function openSource() {
  const item = grid.item();
  if (!item) return;
  const address = item.file ? item.file.page_url ?? item.file.source
    : sourceOf(await factsOf(item.content, log.state?.version));
  if (/^https?:\/\//i.test(address ?? "")) window.open(address, "_blank", "noopener,noreferrer");
  else toast("This image has no web page.");
}

// ---- decisions

function enable() {
  const targets = grid.targets().filter((item) => item.row !== null);
  const can = {
    suggested: targets.some((item) => item.suggested),
    undo: targets.some((item) => log.has(item.content)),
  };
  const selected = grid.selected.size;
  const isFailing = !$("banner").hidden && $("banner").dataset.isError === "true";
  for (const tools of toolbars) {
    tools.about.textContent = selected ? `${count(selected, "image")} selected` : "Current image";
    tools.about.classList.toggle("is-many", selected > 0);
    for (const button of tools.buttons) {
      button.disabled = !targets.length || can[button.dataset.action] === false || isFailing;
    }
  }
}

async function act(key) {
  const { action } = ACTIONS.get(key);
  const targets = affected(key, grid.targets(), tab);
  const isOne = !grid.selected.size;
  const bar = viewer.isOpen ? toolbars[1] : toolbars[0];
  let label = null;
  if (action === "relabel") {
    if (!targets.some((item) => item.row !== null)) return;
    const suggested = targets.length === 1 && targets[0].suggested ? [targets[0].suggested] : [];
    label = await picker.ask(`Relabel ${count(targets.length, "image")}`, suggested);
    if (!label) return;
  }
  const reason = bar.reason.value.trim();
  const decisions = decisionsOf(key, targets, { label, reason, log });
  if (!decisions.length) return;
  bar.reason.value = "";
  if (isOne && action !== "undo") grid.go(grid.current + 1);
  else grid.select([]);
  try {
    await log.add(decisions);
    toast(messageOf(key, decisions, targets, samples), action === "undo" ? null : undo);
  } catch (error) {
    toast(`Not saved: ${error.message}`, null, true);
  }
}

async function undo() {
  if (!log.state?.last) return;
  try {
    const last = await log.undo();
    toast(`Undone: ${last.summary}`);
  } catch (error) {
    await log.update().catch(() => {});
    toast(`Not undone: ${error.message}`, null, true);
  }
}

function jump() {
  for (let step = 1; step <= grid.items.length; step++) {
    const index = (grid.current + step) % grid.items.length;
    const item = grid.items[index];
    if (item.row !== null && !log.has(item.content)) return grid.go(index);
  }
  toast("Every image here has a decision.");
}

function resize(step) {
  const at = sizes.indexOf(Number($("size").value)) + step;
  if (!sizes[at]) return;
  $("size").value = String(sizes[at]);
  show();
}

// ---- keys

const COMMANDS = {
  " ": () => grid.toggle(),
  Enter: () => grid.item() && open(grid.item()),
  Escape: () => grid.select([]),
  "/": () => { $("filters").open = true; $("search").focus(); },
  "?": () => $("keys").showModal(),
  "+": () => resize(1), "=": () => resize(1), "-": () => resize(-1),
  j: jump, o: openSource, u: undo,
  w: () => (viewer.isOpen ? toolbars[1] : toolbars[0]).reason.focus(),
};

function pressed(event) {
  const isTyping = event.target.matches("input:not([type=checkbox]), textarea, select");
  if (isTyping) {
    const isOurs = event.target.matches(".reason, #search");
    if (isOurs && ["Enter", "Escape"].includes(event.key)) {
      event.preventDefault();
      (viewer.isOpen ? viewer.close : $("grid")).focus();
    }
    return;
  }
  if ($("picker").open || $("keys").open || event.altKey) return;
  const letter = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey) {
    if (letter === "a" && !viewer.isOpen) grid.selectAll();
    else if (letter === "z") undo();
    else return;
    event.preventDefault();
    return;
  }
  const isOnControl = event.target.closest("button, a, summary, input, [role=tab]");
  if (isOnControl && [" ", "Enter"].includes(event.key)) return;
  if (viewer.isOpen && ["Escape", "Enter", " ", "/"].includes(event.key)) return;
  if (event.target.closest("[role=tablist]") && event.key.startsWith("Arrow")) return;
  const isInFacts = event.target.closest(".facts") && /^(Arrow(Up|Down)|Page|Home|End)/.test(event.key);
  if (!isInFacts && !event.target.closest(".side") && grid.key(event)) event.preventDefault();
  else if (keys[Number(letter) - 1] && !viewer.isOpen) choose(keys[Number(letter) - 1]);
  else if (ACTIONS.has(letter) || COMMANDS[letter]) {
    event.preventDefault();
    if (event.repeat && ACTIONS.has(letter)) return;
    if (ACTIONS.has(letter)) act(letter);
    else COMMANDS[letter]();
  }
}

function listen() {
  document.addEventListener("keydown", pressed);
  const list = document.querySelector("[role=tablist]");
  list.addEventListener("click", (event) => {
    const button = event.target.closest("[role=tab]");
    if (button) choose(button.dataset.tab);
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    choose(keys[(keys.indexOf(chosenKey) + step + keys.length) % keys.length]);
    $(`tab-${chosenKey}`).focus();
  });
  let searching;
  $("search").addEventListener("input", () => {
    clearTimeout(searching);
    searching = setTimeout(show, SEARCH_DELAY_MS);
  });
  for (const id of ["of-class", "of-part", "of-kind", "order", "reverse", "undecided", "size"]) {
    $(id).addEventListener("change", show);
  }
  $("filter").addEventListener("submit", (event) => event.preventDefault());
  $("show-keys").addEventListener("click", () => $("keys").showModal());
  $("viewer").addEventListener("close", () => $("grid").focus());
  window.addEventListener("hashchange", () => {
    const key = location.hash.slice(1);
    if (keys.includes(key) && key !== chosenKey) choose(key);
  });
  if (matchMedia("(max-width: 700px)").matches) $("filters").open = false;
}

async function begin() {
  try {
    const [index, contents] = await Promise.all([get("index"), get("tabs"), log.update()]);
    samples = new Samples(index);
    tabs = contents;
  } catch (error) {
    $("empty").hidden = false;
    $("empty").replaceChildren(make("p", { class: "bad" }, error.message));
    return;
  }
  picker = new Picker(samples);
  fillFilters();
  listen();
  const wanted = location.hash.slice(1);
  const first = keys.includes(wanted) ? wanted : keys.find((key) => tabs[key].sections.length);
  choose(first ?? keys.at(-1));
  $("grid").focus({ preventScroll: true });
  log.follow();
}

begin();
