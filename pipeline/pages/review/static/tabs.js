// What a tab shows: sections of items, narrowed and sorted. An item is one card.

import { bare } from "./samples.js";
import { percent } from "./dom.js";

/** How each tab is laid out, what it says above, and how many lines its cards have. */
export const TABS = {
  losses: { layout: "flat", lines: 3, part: "sample",
    hint: "What surprised the model most. All of it is valid or test, which the model never " +
      "learned from: take out what is wrong, not what is hard." },
  conflicts: { layout: "packed", lines: 2, part: "cluster",
    hint: "One picture under two labels is left out of every part until somebody decides. S says " +
      "that the current card's class is right for all of its cluster." },
  duplicates: { layout: "packed", lines: 2, part: "cluster",
    hint: "Of each cluster one is kept. Those below “perhaps” are all kept: they look alike, and a " +
      "person decides. The least alike come first." },
  suspects: { layout: "flat", lines: 3, part: "sample",
    hint: "Labels that models which never saw them confidently dispute, the surest first." },
  rejected: { layout: "headed", lines: 3, part: "section",
    hint: "What is in no part, and why. Keep brings back what split left out; what never became a " +
      "sample has nothing to decide." },
  all: { layout: "headed", lines: 2, part: "sample", hint: "" },
};

/** The sections of a tab as the server gave them, as lists of items. */
export function sectionsOf(name, tab, samples) {
  if (name === "all") return ofClasses(samples);
  return tab.sections.map((section) => {
    const items = section.rows.map((row, place) => ({
      row,
      content: samples.contents[row],
      note: section.notes[place] ?? "",
      suggested: section.suggested?.[place] ?? suggestion(samples, row),
      isKeeper: section.keeper === row,
      number: TABS[name].layout === "packed" ? place + 1 : null,
      refused: null,
    }));
    for (const refused of section.refused) {
      items.push({ row: null, content: refused.content_id, note: refused.detail, suggested: null,
        isKeeper: false, number: null, refused });
    }
    if (TABS[name].layout === "packed") {
      for (const item of items) item.cluster = items;
    }
    if (name === "conflicts") {  // what S says of one is said of its whole cluster
      for (const item of items) Object.assign(item, { suggested: samples.label(item.row), settles: true });
    }
    return { title: section.title, kind: section.kind, items };
  });
}

function suggestion(samples, row) {
  const predicted = samples.value("predicted", row);
  return predicted === samples.label(row) ? null : predicted;
}

function ofClasses(samples) {
  const sections = new Map();
  for (let row = 0; row < samples.count; row++) {
    const label = samples.label(row);
    if (!sections.has(label)) {
      sections.set(label, { title: samples.className(label), kind: "", items: [], label });
    }
    sections.get(label).items.push({ row, content: samples.contents[row], note: "",
      suggested: suggestion(samples, row), isKeeper: false, number: null, refused: null });
  }
  return [...sections.values()].sort((a, b) => (a.label < b.label ? -1 : 1));
}

/** Keep what the filters let through; a cluster stays whole where one of it does. */
export function narrowed(name, sections, samples, filter, isDecided) {
  const words = bare(filter.search).split(/\s+/).filter(Boolean);
  const fits = (item) => {
    if (item.refused) {
      if (filter.part) return false;
      if (filter.label && item.refused.label !== filter.label) return false;
      item.text ??= bare(Object.values(item.refused).filter(Boolean).join("\n"));
      return words.every((word) => item.text.includes(word));
    }
    if (filter.label && samples.label(item.row) !== filter.label) return false;
    if (filter.part && samples.value("part", item.row) !== filter.part) return false;
    if (filter.undecided && isDecided(item.content)) return false;
    return words.every((word) => samples.text(item.row).includes(word));
  };
  const isWhole = TABS[name].layout === "packed";
  const found = [];
  for (const section of sections) {
    if (filter.kind && section.kind !== filter.kind) continue;
    let items;
    if (isWhole && filter.undecided) {  // a cluster is settled when anything in it is decided
      const open = !section.items.some((item) => isDecided(item.content));
      items = open && section.items.some(fits) ? section.items : [];
    } else if (isWhole) items = section.items.some(fits) ? section.items : [];
    else items = section.items.filter(fits);
    if (items.length) found.push({ ...section, items });
  }
  return found;
}

/** Sort a tab's items by a column; "" leaves the tab's own order. */
export function sorted(name, sections, samples, column, isReversed) {
  if (TABS[name].layout === "packed") return sections;
  if (name === "all" && (column === "" || column === "label")) {
    return isReversed ? [...sections].reverse() : sections;
  }
  if (column === "") {
    return isReversed
      ? sections.map((each) => ({ ...each, items: [...each.items].reverse() })).reverse()
      : sections;
  }
  const items = sections.flatMap((section) => section.items);
  const compare = samples.comparing(column, isReversed);
  const known = items.filter((item) => item.row !== null).sort((a, b) => compare(a.row, b.row));
  return [{ title: "", kind: "", items: [...known, ...items.filter((item) => item.row === null)] }];
}

/** The lines of text under a picture, the first its class. */
export function captions(name, item, samples, column) {
  if (item.refused) {
    const { label, reason, detail, sample_id: id } = item.refused;
    return [label || id || "no class", reason, detail || id];
  }
  const label = samples.className(samples.label(item.row));
  if (name === "losses" || name === "suspects") {
    const part = samples.value("part", item.row) ?? "";
    if (name === "suspects") return [label, `rather ${samples.className(item.suggested)}`, item.note];
    const predicted = samples.told("predicted", item.row);
    const sure = percent(samples.value("probability", item.row) ?? 0);
    const loss = samples.value("loss", item.row);
    const right = item.suggested === null;
    return [label, `${right ? "rightly" : "as"} ${predicted} ${sure}`,
      `loss ${loss?.toFixed(2) ?? "unknown"} · ${part}`];
  }
  const part = samples.value("part", item.row);
  const where = part === "out" ? `out: ${samples.value("reason", item.row)}` : part;
  if (name === "rejected") return [label, item.note, samples.ids[item.row]];
  if (item.number) return [label, `${item.number} · ${item.note || where}`];
  const shown = column && column !== "label" && column !== "part"
    ? samples.told(column, item.row) : where;
  return [label, shown ?? samples.ids[item.row]];
}
