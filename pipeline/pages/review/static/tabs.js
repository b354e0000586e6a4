// What a tab shows: the server's sections as lists of items, filtered and sorted. An item is a card.

import { bare } from "./samples.js";

/** Return the sections of a tab with their items. */
export function sectionsOf(tab, samples) {
  const isClusters = tab.layout === "clusters";
  return tab.sections.map((section) => {
    const items = section.rows.map((row, place) => ({
      row,
      content: samples.contents[row],
      notes: section.notes[place] ?? [],
      suggested: section.suggested?.[place] ?? otherPrediction(samples, row),
      isKeeper: section.keeper === row,
      number: isClusters ? place + 1 : null,
      file: null,
    }));
    for (const file of section.files) {
      items.push({ row: null, content: file.content_id, suggested: null, isKeeper: false,
        notes: [file.reason, file.detail || file.sample_id], number: null, file });
    }
    if (isClusters) for (const item of items) item.cluster = items;
    return { title: section.title, kind: section.kind, items };
  });
}

/** Return the prediction if it differs from the label. */
function otherPrediction(samples, row) {
  const predicted = samples.value("predicted", row);
  return predicted === samples.label(row) ? null : predicted;
}

/** Return the sections that pass the filters; a cluster stays whole if one of its items passes. */
export function filtered(tab, sections, samples, filter, isDecided) {
  const words = bare(filter.search).split(/\s+/).filter(Boolean);
  const fits = (item) => {
    if (item.file) {
      if (filter.part) return false;
      if (filter.label && item.file.label !== filter.label) return false;
      item.text ??= bare(Object.values(item.file).filter(Boolean).join("\n"));
      return words.every((word) => item.text.includes(word));
    }
    if (filter.label && samples.label(item.row) !== filter.label) return false;
    if (filter.part && samples.value("part", item.row) !== filter.part) return false;
    if (filter.undecided && isDecided(item.content)) return false;
    return words.every((word) => samples.text(item.row).includes(word));
  };
  const found = [];
  for (const section of sections) {
    if (filter.kind && section.kind !== filter.kind) continue;
    let items = section.items.filter(fits);
    if (tab.layout === "clusters") {
      // one decision about any of its images settles a cluster
      const isSettled = filter.undecided && section.items.some((item) => isDecided(item.content));
      items = items.length && !isSettled ? section.items : [];
    }
    if (items.length) found.push({ ...section, items });
  }
  return found;
}

/** Return the sections with their items sorted by a column; "" keeps the tab's own order. */
export function sorted(tab, sections, samples, column, isReversed) {
  if (tab.layout === "clusters") return sections;
  if (column === "") return isReversed ? [...sections].reverse().map(reversed) : sections;
  const items = sections.flatMap((section) => section.items);
  const compare = samples.comparing(column, isReversed);
  const known = items.filter((item) => item.row !== null).sort((a, b) => compare(a.row, b.row));
  const files = items.filter((item) => item.row === null);
  if (tab.layout !== "sections" || column !== "label") {
    return [{ title: "", kind: "", items: [...known, ...files] }];
  }
  const byLabel = Map.groupBy(known, (item) => samples.label(item.row));
  const classes = [...byLabel].map(([label, those]) =>
    ({ title: samples.className(label), kind: "", items: those }));
  return files.length ? [...classes, { title: "Files", kind: "", items: files }] : classes;
}

const reversed = (section) => ({ ...section, items: [...section.items].reverse() });

/** Return the lines of text below an image; the first is its class. */
export function captions(tab, item, samples, column) {
  if (item.file) {
    const { label, sample_id: id } = item.file;
    return [label ? samples.className(label) : id || "no class", ...item.notes];
  }
  const name = samples.className(samples.label(item.row));
  if (item.number) {
    const part = samples.value("part", item.row);
    return [name, `${item.number} · ${item.notes[0] ?? samples.partName(part ?? "")}`];
  }
  if (item.notes.length) return [name, ...item.notes];
  const isOfColumn = column && column !== "label" && column !== "part";
  const shown = isOfColumn ? samples.shown(column, item.row) : samples.partOf(item.row);
  return [name, shown ?? samples.ids[item.row]];
}
