// The index: facts about the samples in columns, and how people read them.

const PROBABILITIES = new Set(["probability", "label_probability"]);

/** Return text without accents, for searching: "ka" finds "kā". */
export const bare = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

export class Samples {
  constructor(index) {
    this.ids = index.sample_id;
    this.contents = index.content_id;
    this.data = index.data;
    this.classes = new Map(index.classes.map((each) => [each.label, each]));
    this.columns = index.columns;
    this.titles = index.titles;
    this.searched = index.searched;
    this.partNames = index.part_names;
    this.texts = [];
  }

  get count() { return this.ids.length; }

  /** Return a row's value of a column: text, a number or null. */
  value(name, row) {
    if (name === "sample_id") return this.ids[row];
    const column = this.columns[name];
    if (!column) return null;
    if (column.values) return column.values[row];
    const code = column.codes[row];
    return code < 0 ? null : column.names[code];
  }

  /** Return a row's value of a column as people read it. */
  shown(name, row) {
    const value = this.value(name, row);
    if (value === null) return "unknown";
    if (PROBABILITIES.has(name)) return `${(100 * value).toFixed(1)}%`;
    if (name === "label" || name === "predicted") return this.className(value);
    return typeof value === "number" ? value.toLocaleString("en") : value;
  }

  label(row) { return this.value("label", row); }

  className(label) {
    const known = this.classes.get(label);
    if (!known) return label;
    return known.romanised ? `${known.name} ${known.romanised}` : known.name;
  }

  /** Return a class's name, with its label unless that is the same word. */
  nameAndLabel(label) {
    const name = this.className(label);
    return name.toLowerCase() === label.toLowerCase() ? name : `${name} (${label})`;
  }

  partName(part) { return this.partNames[part] ?? part; }

  /** Return the part of the split that a row is in, or why it is left out; null if unknown. */
  partOf(row) {
    const part = this.value("part", row);
    const reason = this.value("reason", row);
    return part && (reason ? `${this.partName(part)}: ${reason}` : this.partName(part));
  }

  names(column) { return this.columns[column]?.names ?? []; }

  /** Return the columns to sort by, as [name, title]. */
  sortable() {
    const names = ["label", "sample_id", ...Object.keys(this.columns).filter((n) => n !== "label")];
    return names.map((name) => [name, this.titles[name] ?? name]);
  }

  /** Return the text of a row that is searched, without accents. */
  text(row) {
    this.texts[row] ??= bare([this.ids[row], this.contents[row], this.label(row),
      this.className(this.label(row)), this.partOf(row) ?? "",
      ...this.searched.map((name) => this.value(name, row)).filter((value) => value !== null),
    ].join("\n"));
    return this.texts[row];
  }

  /** Return a function that compares rows by a column; rows without a value come last. */
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
