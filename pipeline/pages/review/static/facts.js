// All that is known of a picture: what it is, where it is from, what was decided.

import { get, picture } from "./api.js";
import { make, outward, number, percent } from "./dom.js";

const known = new Map();  // by content id and version of the decisions; a few are enough

/** Ask for a picture's facts, once for each state of the decisions. */
export async function factsOf(content, version) {
  const name = `${content} ${version}`;
  if (!known.has(name)) {
    if (known.size > 200) known.clear();
    known.set(name, get(`facts/${content}`).catch((error) => {
      known.delete(name);
      throw error;
    }));
  }
  return known.get(name);
}

/** The page on which a picture was found, else the picture there. */
export const foundAt = (facts) =>
  facts.samples.map((each) => each.page_url ?? each.source_url).find(Boolean) ?? null;

/** A list of facts as [name, text or element] pairs. */
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
  const part = samples.value("part", row);
  const reason = samples.value("reason", row);
  const size = `${sample.width} × ${sample.height}`;
  const found = sample.original_width ? `${sample.original_width} × ${sample.original_height}` : size;
  return [
    ["Class", samples.className(sample.label) === sample.label ? sample.label
      : `${samples.className(sample.label)} (${sample.label})`],
    ["Part", part === "out" ? `out: ${reason}` : part],
    ["Page", outward(sample.page_url) ?? sample.page_url],
    ["Picture", outward(sample.source_url) ?? sample.source_url],
    ["Query", sample.query && `${sample.query} (${sample.engine}, rank ${sample.rank ?? "unknown"})`],
    ["Licence", sample.licence
      ? outward(sample.licence_url, sample.licence) ?? sample.licence
      : sample.source_url ? "unknown" : null],
    ["Creator", sample.creator ?? sample.attribution],
    ["Writer or source", sample.group],
    ["Publisher's part", sample.official_part],
    ["Pixels", found === size ? size : `${size}, found as ${found}`],
    ["File found", sample.original_bytes
      && `${sample.original_format ?? ""} ${number(sample.original_bytes)} bytes`],
    ["Notes", sample.notes],
    ["Id", sample.sample_id],
  ];
}

function ofPrediction(facts, samples, row) {
  if (!facts.predicted) return [];
  const sure = samples.value("probability", row);
  const names = facts.predicted.top3.map((label) => samples.className(label));
  return [
    ["Predicted", sure === null ? names[0] : `${names[0]} ${percent(sure)}`],
    ["Then", names.slice(1).join(", ")],
    ["Its label", percent(samples.value("label_probability", row) ?? 0)],
    ["Loss", facts.predicted.loss.toFixed(3)],
  ];
}

function history(facts, samples) {
  if (!facts.history.length) return [make("p", { class: "quiet" }, "Nothing decided yet.")];
  const list = make("ol", { class: "history" });
  for (const each of [...facts.history].reverse()) {
    const what = each.label ? `${each.action} → ${samples.className(each.label)}` : each.action;
    list.append(make("li", {}, make("strong", {}, what), each.reason ? ` “${each.reason}”` : "",
      make("br"), make("span", { class: "quiet" },
        `${new Date(each.time).toLocaleString("en-GB")} ${each.who}`)));
  }
  return [list];
}

/** Return the elements that tell a sample's facts. */
export function told(facts, samples, item) {
  const found = [];
  facts.samples.forEach((sample, place) => {
    const row = samples.ids.indexOf(sample.sample_id);
    if (place) found.push(make("h3", {}, "The same picture, too"));
    const pairs = ofSample(sample, samples, row);
    if (!place) pairs.splice(2, 0, ...ofPrediction(facts, samples, row));
    found.push(listed(pairs));
  });
  found.push(make("h3", {}, "Decided"), ...history(facts, samples));
  found.push(make("p", { class: "content quiet" }, `content id ${item.content}`));
  return found;
}

/** Return the elements that tell what is known of something that never became a sample. */
export function toldRefused(refused) {
  return [listed([
    ["Class", refused.label],
    ["Refused", refused.reason],
    ["Why", refused.detail],
    ["Page", outward(refused.page_url) ?? refused.page_url],
    ["Source", outward(refused.source) ?? refused.source],
    ["Query", refused.query && `${refused.query} (${refused.engine})`],
    ["Licence", refused.licence],
    ["Creator", refused.creator],
    ["Tried", refused.time],
    ["Id", refused.sample_id],
  ]), make("p", { class: "quiet" }, "It never became a sample: there is nothing to decide.")];
}

export const large = (item, samples) => (item.content
  ? make("img", { alt: item.row === null ? "What was refused" : "The picture",
    src: picture("whole", item.content, samples.data) })
  : make("p", { class: "nothing" }, "There is no picture of it."));
