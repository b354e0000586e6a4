// The index: facts about samples in columns, and how people read them.

const NAMES = {
  label: "class", sample_id: "id", part: "part", reason: "why it is out", predicted: "predicted",
  loss: "loss", probability: "probability of the prediction",
  label_probability: "probability of its label", group: "writer or source",
  official_part: "publisher's part", width: "width", height: "height",
  original_width: "width found", original_height: "height found",
  original_bytes: "bytes found", original_format: "format found", notes: "notes",
  engine: "engine", query: "query", rank: "rank", licence: "licence", creator: "creator",
  site: "site",
};
const SEARCHED = ["part", "reason", "group", "query", "licence", "creator", "site", "notes",
  "engine", "predicted"];
const SHARES = new Set(["probability", "label_probability"]);

/** Text without its accents, for searching: kā is found by ka. */
export const bare = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

export class Samples {
  constructor(index) {
    this.ids = index.sample_id;
    this.contents = index.content_id;
    this.data = index.data;
    this.classes = new Map(index.classes.map((each) => [each.label, each]));
    this.columns = index.columns;
    this.texts = [];
  }

  get count() { return this.ids.length; }

  /** What a column says of a row: text, a number or null. */
  value(name, row) {
    if (name === "sample_id") return this.ids[row];
    const column = this.columns[name];
    if (!column) return null;
    if (column.values) return column.values[row];
    const code = column.codes[row];
    return code < 0 ? null : column.names[code];
  }

  /** The same, as people read it. */
  told(name, row) {
    const value = this.value(name, row);
    if (value === null) return "unknown";
    if (SHARES.has(name)) return `${(100 * value).toFixed(1)}%`;
    if (name === "label" || name === "predicted") return this.className(value);
    return typeof value === "number" ? value.toLocaleString("en") : value;
  }

  label(row) { return this.value("label", row); }

  className(label) {
    const known = this.classes.get(label);
    if (!known) return label;
    return known.romanised ? `${known.label_name} ${known.romanised}` : known.label_name;
  }

  names(name) { return this.columns[name]?.names ?? []; }

  /** The columns to sort by, as [name, words]. */
  sortable() {
    const names = ["label", "sample_id", ...Object.keys(this.columns).filter((n) => n !== "label")];
    return names.map((name) => [name, NAMES[name] ?? name]);
  }

  /** All that is searched of a row, without accents. */
  text(row) {
    this.texts[row] ??= bare([this.ids[row], this.contents[row], this.label(row),
      this.className(this.label(row)),
      ...SEARCHED.map((name) => this.value(name, row)).filter((value) => value !== null),
    ].join("\n"));
    return this.texts[row];
  }

  /** What compares two rows by a column: unknown comes last, equal ones stay in order. */
  comparing(name, isReversed) {
    const sign = isReversed ? -1 : 1;
    const column = this.columns[name];
    const at = name === "sample_id" ? (row) => this.ids[row]
      : column.codes ? (row) => (column.codes[row] < 0 ? null : column.codes[row])
        : (row) => column.values[row];
    return (one, other) => {
      const a = at(one), b = at(other);
      if (a === b) return one - other;
      if (a === null) return 1;
      if (b === null) return -1;
      return a < b ? -sign : sign;
    };
  }
}
