// The page: tabs, filters, keys and buttons around the grid.

import { ACTIONS, decisionsOf, extended, saying, toolbar } from "./actions.js";
import { get } from "./api.js";
import { dress } from "./cards.js";
import { Decided } from "./decided.js";
import { make, count, number } from "./dom.js";
import { factsOf, foundAt, large, told, toldRefused } from "./facts.js";
import { Grid } from "./grid.js";
import { Picker } from "./picker.js";
import { Samples } from "./samples.js";
import { TABS, captions, narrowed, sectionsOf, sorted } from "./tabs.js";
import { toast, banner } from "./toasts.js";
import { Viewer } from "./viewer.js";
import { Standing } from "./standing.js";

const $ = (id) => document.getElementById(id);
const names = Object.keys(TABS);
const sizes = [...$("size").options].map((option) => Number(option.value));

let samples, tabs, tab, shown = 0;
const made = new Map();  // sections of each tab, made once

const decided = new Decided(() => {
  if (samples && decided.state.data !== samples.data) {
    banner("The data were made anew (dvc repro).", "Load them", () => location.reload());
  }
  grid.refresh();
  standing.tell(decided.state);
  look();
}, (problem) => {
  banner(problem);
  for (const tools of toolbars) for (const button of tools.buttons) button.disabled = Boolean(problem);
  if (!problem) enable();
});

const standing = new Standing(() => undo());
const toolbars = [toolbar(act), toolbar(act)];
$("actions").append(toolbars[0].bar);
const grid = new Grid($("grid"), {
  dress: (card, item) => dress(card, item, { tab, samples, decided, column: $("order").value }),
  moved: () => look(),
  opened: (item) => item && open(item),
  chosen: () => enable(),
});
const viewer = new Viewer({ tools: toolbars[1], step: (n) => grid.go(grid.current + n), tell: telling });
let picker;

// ---- what is shown

function filter() {
  return { search: $("search").value, label: $("of-class").value, part: $("of-part").value,
    kind: $("of-kind").value, undecided: $("undecided").checked };
}

function show() {
  if (!made.has(tab)) made.set(tab, sectionsOf(tab, tabs[tab], samples));
  const all = made.get(tab);
  const column = $("order").value;
  const some = narrowed(tab, all, samples, filter(), (content) => decided.has(content));
  const sections = sorted(tab, some, samples, column, $("reverse").checked);
  const isFlat = column !== "" && column !== "label";
  const layout = TABS[tab].layout === "headed" && isFlat ? "flat" : TABS[tab].layout;
  grid.selected.clear();
  grid.show(sections, { layout, lines: TABS[tab].lines, side: Number($("size").value) });
  shown = grid.items.length;
  tellEmpty(all);
  enable();
}

function tellEmpty(all) {
  const isEmpty = shown === 0;
  $("empty").hidden = !isEmpty;
  $("grid").hidden = isEmpty;
  $("side").hidden = isEmpty;
  if (!isEmpty) return;
  const none = tabs[tab]?.empty;
  if (all.length) $("empty").replaceChildren(make("p", {}, "Nothing here fits the search."));
  else if (tab === "all") $("empty").replaceChildren(make("p", {}, "No samples yet."), run("dvc repro"));
  else $("empty").replaceChildren(make("p", {}, none?.says ?? "Nothing here."), run(none?.run));
}

const run = (command) => (command ? make("p", {}, "Run ", make("code", {}, command)) : "");

function choose(name) {
  tab = name;
  for (const button of document.querySelectorAll("[role=tab]")) {
    const isChosen = button.dataset.tab === name;
    button.setAttribute("aria-selected", String(isChosen));
    button.tabIndex = isChosen ? 0 : -1;
    if (isChosen) button.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  history.replaceState(null, "", `#${name}`);
  $("grid").setAttribute("aria-label", `Pictures: ${$(`tab-${name}`).textContent.trim().slice(2)}`);
  $("hint").textContent = TABS[name].hint;
  $("hint").hidden = !TABS[name].hint;
  const isPacked = TABS[name].layout === "packed";
  for (const { buttons } of toolbars) {
    const button = buttons.find((each) => each.dataset.key === "s");
    button.lastChild.textContent = name === "conflicts" ? " This class is right" : " As the model says";
  }
  $("orders").hidden = $("directions").hidden = isPacked;
  $("order").value = "";
  $("reverse").checked = false;
  fillKinds();
  show();
}

function options(select, pairs) {
  select.replaceChildren(...pairs.map(([value, words]) => make("option", { value }, words)));
}

function fillKinds() {
  const sections = tabs[tab]?.sections ?? [];
  const counts = new Map();
  for (const { kind, rows, refused } of sections) {
    if (kind) counts.set(kind, (counts.get(kind) ?? 0) + rows.length + refused.length);
  }
  $("kinds").hidden = counts.size < 2;
  options($("of-kind"), [["", "all"], ...[...counts].map(([kind, n]) => [kind, `${kind} (${number(n)})`])]);
}

function fillFilters() {
  const labels = [...samples.classes.keys()];
  options($("of-class"), [["", "all"], ...labels.map((label) => {
    const name = samples.className(label);
    return [label, name === label ? label : `${name} (${label})`];
  })]);
  options($("of-part"), [["", "all"], ...samples.names("part").map((part) => [part, part])]);
  options($("order"), [["", "as it comes"], ...samples.sortable()]);
  for (const name of names) {
    const many = name === "all" ? samples.count : tabs[name].sections.reduce((sum, section) =>
      sum + section.rows.length + section.refused.length, 0);
    $(`count-${name}`).textContent = number(many);
  }
}

// ---- the current picture

async function telling(item) {
  if (item.refused) return toldRefused(item.refused);
  try {
    return told(await factsOf(item.content, decided.state?.version), samples, item);
  } catch (error) {
    return [make("p", { class: "bad" }, error.message)];
  }
}

let looking;
function look() {
  enable();
  const item = grid.item();
  if (!item) return;
  if (viewer.isOpen) viewer.show(item, samples, place());
  clearTimeout(looking);
  looking = setTimeout(async () => {
    if ($("side").offsetWidth === 0) return;
    const facts = await telling(item);
    if (grid.item() !== item) return;
    const [title, ...rest] = captions(tab, item, samples, $("order").value);
    const box = make("button", { type: "button", class: "enlarge-side", "aria-label": "Larger" },
      large(item, samples));
    box.addEventListener("click", () => open(grid.item()));
    $("side").replaceChildren(box, make("h2", {}, title),
      ...rest.map((text) => make("p", { class: "quiet" }, text)), ...facts);
  }, 60);
}

const place = () => `${number(grid.current + 1)} of ${number(shown)}`;

function open(item) {
  viewer.open(item, samples, place());
}

async function visit() {
  const item = grid.item();
  if (!item) return;
  const address = item.refused ? item.refused.page_url ?? item.refused.source
    : foundAt(await factsOf(item.content, decided.state?.version));
  if (/^https?:\/\//i.test(address ?? "")) window.open(address, "_blank", "noopener,noreferrer");
  else toast("Nothing is known of where it was found");
}

// ---- deciding

function enable() {
  const targets = grid.targets().filter((item) => item.row !== null);
  const can = {
    s: targets.some((item) => item.suggested),
    t: targets.some((item) => decided.has(item.content)),
  };
  const selected = grid.selected.size;
  for (const tools of toolbars) {
    tools.about.textContent = selected ? `${count(selected, "picture")} selected` : "This picture";
    tools.about.classList.toggle("is-many", selected > 0);
    for (const button of tools.buttons) {
      button.disabled = !targets.length || can[button.dataset.key] === false || !$("banner").hidden
        && $("banner").dataset.isGone === "true";
    }
  }
}

async function act(letter) {
  const targets = extended(letter, grid.targets());
  const isOne = !grid.selected.size;
  const bar = viewer.isOpen ? toolbars[1] : toolbars[0];
  let label = null;
  if (letter === "r") {
    if (!targets.some((item) => item.row !== null)) return;
    const first = targets.length === 1 && targets[0].suggested ? [targets[0].suggested] : [];
    label = await picker.ask(`Relabel ${count(targets.length, "picture")}`, first);
    if (!label) return;
  }
  const reason = bar.reason.value.trim();
  const decisions = decisionsOf(letter, targets, { label, reason, decided });
  if (!decisions.length) return;
  bar.reason.value = "";
  if (isOne && letter !== "t") grid.go(grid.current + 1);
  else grid.select([]);
  try {
    await decided.add(decisions);
    toast(saying(letter, decisions, targets, samples), letter === "t" ? null : undo);
  } catch (error) {
    toast(`Not saved: ${error.message}`, null, true);
  }
}

async function undo() {
  if (!decided.state?.last) return;
  try {
    const last = await decided.undo();
    toast(`Undone: ${last.says}`);
  } catch (error) {
    await decided.look().catch(() => {});
    toast(`Not undone: ${error.message}`, null, true);
  }
}

function jump() {
  for (let step = 1; step <= grid.items.length; step++) {
    const index = (grid.current + step) % grid.items.length;
    const item = grid.items[index];
    if (item.row !== null && !decided.has(item.content)) return grid.go(index);
  }
  toast("Everything here is decided");
}

function resize(step) {
  const at = sizes.indexOf(Number($("size").value)) + step;
  if (!sizes[at]) return;
  $("size").value = String(sizes[at]);
  show();
}

// ---- keys

const KEYS = {
  " ": () => grid.toggle(),
  Enter: () => grid.item() && open(grid.item()),
  Escape: () => grid.select([]),
  "/": () => { $("filters").open = true; $("search").focus(); },
  "?": () => $("keys").showModal(),
  "+": () => resize(1), "=": () => resize(1), "-": () => resize(-1),
  j: jump, o: visit, u: undo,
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
  else if (names[Number(letter) - 1] && !viewer.isOpen) choose(names[Number(letter) - 1]);
  else if (ACTIONS[letter] || KEYS[letter]) {
    event.preventDefault();
    if (event.repeat && ACTIONS[letter]) return;
    if (ACTIONS[letter]) act(letter);
    else KEYS[letter]();
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
    choose(names[(names.indexOf(tab) + step + names.length) % names.length]);
    $(`tab-${tab}`).focus();
  });
  let waiting;
  $("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(show, 120);
  });
  for (const id of ["of-class", "of-part", "of-kind", "order", "reverse", "undecided", "size"]) {
    $(id).addEventListener("change", show);
  }
  $("filter").addEventListener("submit", (event) => event.preventDefault());
  $("show-keys").addEventListener("click", () => $("keys").showModal());
  $("viewer").addEventListener("close", () => $("grid").focus());
  window.addEventListener("hashchange", () => {
    const name = location.hash.slice(1);
    if (TABS[name] && name !== tab) choose(name);
  });
  if (matchMedia("(max-width: 700px)").matches) $("filters").open = false;
}

async function begin() {
  try {
    const [index, found] = await Promise.all([get("index"), get("tabs"), decided.look()]);
    samples = new Samples(index);
    tabs = found;
  } catch (error) {
    $("empty").hidden = false;
    $("empty").replaceChildren(make("p", { class: "bad" }, error.message));
    return;
  }
  picker = new Picker(samples);
  fillFilters();
  listen();
  const wanted = location.hash.slice(1);
  const first = TABS[wanted] ? wanted : names.find((name) => tabs[name]?.sections.length) ?? "all";
  choose(first);
  $("grid").focus({ preventScroll: true });
  decided.follow();
}

begin();
