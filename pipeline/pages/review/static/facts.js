// The details of an image: its facts, its source, the prediction and its decisions.

import { get, imageUrl } from "./api.js";
import { link, make, number, percent } from "./dom.js";

const MAX_CACHED = 200;
const cache = new Map();  // by content id and version of the decisions

/** Return an image's facts; one request for each version of the decisions. */
export async function factsOf(content, version) {
  const name = `${content} ${version}`;
  if (!cache.has(name)) {
    if (cache.size > MAX_CACHED) cache.clear();
    cache.set(name, get(`facts/${content}`).catch((error) => {
      cache.delete(name);
      throw error;
    }));
  }
  return cache.get(name);
}

/** Return the page on which an image was found, else the image's own address. */
export const sourceOf = (facts) =>
  facts.samples.map((each) => each.page_url ?? each.source_url).find(Boolean) ?? null;

/** Make a list of [name, text or element] pairs; pairs without a value are left out. */
function listed(pairs) {
  const list = make("dl");
  for (const [name, value] of pairs) {
    if (value !== null && value !== undefined && value !== "") {
      list.append(make("dt", {}, name), make("dd", {}, value));
    }
  }
  return list;
}

function ofSample(sample, samples, row) {
  const size = `${sample.width} × ${sample.height}`;
  const original = sample.original_width
    ? `${sample.original_width} × ${sample.original_height}` : size;
  return [
    ["Class", samples.nameAndLabel(sample.label)],
    ["Set", samples.partOf(row)],
    ["Page", link(sample.page_url) ?? sample.page_url],
    ["Image", link(sample.source_url) ?? sample.source_url],
    ["Query", sample.query && `${sample.query} (${sample.engine}, rank ${sample.rank ?? "unknown"})`],
    ["Licence", sample.licence
      ? link(sample.licence_url, sample.licence) ?? sample.licence
      : sample.source_url ? "unknown" : null],
    ["Creator", sample.creator ?? sample.attribution],
    ["Group", sample.group],
    ["Official set", sample.official_part],
    ["Size", original === size ? `${size} pixels` : `${size} pixels (original: ${original})`],
    ["Original file", sample.original_bytes
      && `${sample.original_format ?? ""} ${number(sample.original_bytes)} bytes`.trim()],
    ["Notes", sample.notes],
    ["Sample id", sample.sample_id],
  ];
}

function ofPrediction(facts, samples, row) {
  if (!facts.predicted) return [];
  const probability = samples.value("probability", row);
  const names = facts.predicted.top3.map((label) => samples.className(label));
  return [
    ["Predicted", probability === null ? names[0] : `${names[0]} (${percent(probability)})`],
    ["Next guesses", names.slice(1).join(", ")],
    ["Label probability", percent(samples.value("label_probability", row) ?? 0)],
    ["Loss", facts.predicted.loss.toFixed(3)],
  ];
}

function history(facts, samples) {
  if (!facts.history.length) return [make("p", { class: "quiet" }, "No decisions yet.")];
  const list = make("ol", { class: "history" });
  for (const each of [...facts.history].reverse()) {
    const what = each.label ? `${each.action} → ${samples.className(each.label)}` : each.action;
    list.append(make("li", {}, make("strong", {}, what), each.reason ? ` “${each.reason}”` : "",
      make("br"), make("span", { class: "quiet" },
        `${new Date(each.time).toLocaleString("en-GB")} ${each.who}`)));
  }
  return [list];
}

/** Make the elements with a sample's facts. */
export function factElements(facts, samples, item) {
  const found = [];
  facts.samples.forEach((sample, place) => {
    const row = samples.ids.indexOf(sample.sample_id);
    if (place) found.push(make("h3", {}, "Another sample with the same image"));
    const pairs = ofSample(sample, samples, row);
    if (!place) pairs.splice(2, 0, ...ofPrediction(facts, samples, row));
    found.push(listed(pairs));
  });
  found.push(make("h3", {}, "Decisions"), ...history(facts, samples));
  found.push(make("p", { class: "content quiet" }, `Content id: ${item.content}`));
  return found;
}

/** Make the elements with the facts of a rejected file. */
export function fileElements(file) {
  return [listed([
    ["Class", file.label],
    ["Reason", file.reason],
    ["Detail", file.detail],
    ["Page", link(file.page_url) ?? file.page_url],
    ["Source", link(file.source) ?? file.source],
    ["Query", file.query && `${file.query} (${file.engine})`],
    ["Licence", file.licence],
    ["Creator", file.creator],
    ["Requested at", file.time],
    ["Sample id", file.sample_id],
  ]), make("p", { class: "quiet" },
    "This file never became a sample, so there is nothing to decide.")];
}

export const largeImage = (item, samples) => (item.content
  ? make("img", { alt: item.row === null ? "Rejected file" : "Current image",
    src: imageUrl("whole", item.content, samples.data) })
  : make("p", { class: "no-image" }, "The file is not on this disk."));
