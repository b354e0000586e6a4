// A grid of any length: the page holds only the lines that are in sight. The focus stays on the
// grid itself, which names its current card (aria-activedescendant), since cards come and go.

import { make } from "./dom.js";

const GAP = 10, TITLE = 30, HEADING = 44, LINE = 20, PADDING = 8;

export class Grid {
  /** `fill(card, item)` fills a card; `moved()`, `opened(item)`, `chosen()` are called on events. */
  constructor(element, { fill, moved, opened, chosen }) {
    Object.assign(this, { element, fill, moved, opened, chosen });
    this.canvas = element.appendChild(make("div", { class: "canvas", role: "presentation" }));
    this.lines = [];
    this.items = [];
    this.sections = [];
    this.places = [];
    this.shown = new Map();
    this.current = -1;
    this.anchor = -1;
    this.selected = new Set();
    this.side = 160;
    this.captionLines = 2;
    this.layout = "grid";
    element.addEventListener("scroll", () => this.renderSoon(), { passive: true });
    element.addEventListener("click", (event) => this.clicked(event));
    element.addEventListener("dblclick", (event) => {
      const item = this.itemAt(event.target);
      if (item && !event.target.closest(".tick")) this.opened(item);
    });
    new ResizeObserver(() => {
      if (element.clientWidth !== this.width) this.arrange();
      this.renderSoon();
    }).observe(element);
  }

  /** Show sections of items; the current item stays current if it is still there. */
  show(sections, { layout, lines, side }) {
    const before = this.items[this.current];
    this.sections = sections;
    this.items = sections.flatMap((section) => section.items);
    Object.assign(this, { layout, captionLines: lines, side });
    const kept = before ? this.items.indexOf(before) : -1;
    this.current = this.items.length ? Math.max(0, kept) : -1;
    this.anchor = this.current;
    this.arrange();
    if (kept < 0) this.element.scrollTop = 0;
    else this.reveal();
    this.moved();
  }

  item() { return this.items[this.current] ?? null; }

  /** Return the items that a decision is about: the selected ones, else the current one. */
  targets() {
    if (!this.selected.size) return this.current < 0 ? [] : [this.items[this.current]];
    return this.items.filter((item) => this.selected.has(item.content));
  }

  // ---- layout

  arrange() {
    this.width = this.element.clientWidth;
    const inner = Math.max(120, this.width - 2 * PADDING);
    this.columns = Math.max(1, Math.round((inner + GAP) / (this.side + GAP)));
    this.card = Math.floor((inner + GAP) / this.columns) - GAP;
    this.cardHeight = this.card + LINE * this.captionLines + 4;
    this.lines = [];
    this.places = new Array(this.items.length);
    this.top = PADDING;
    if (this.layout === "clusters") this.arrangeClusters();
    else this.arrangeSections();
    this.canvas.style.height = `${this.top + PADDING}px`;
    for (const element of this.shown.values()) drop(element);
    this.shown.clear();
    this.render();
  }

  line(height, blocks) {
    this.lines.push({ top: this.top, height, blocks });
    for (const block of blocks) {
      for (const index of block.indexes) this.places[index] = this.lines.length - 1;
    }
    this.top += height;
  }

  arrangeSections() {
    let index = 0;
    for (const section of this.sections) {
      if (section.title) {
        const title = `${section.title} · ${section.items.length.toLocaleString("en")}`;
        this.line(HEADING, [{ column: 0, span: this.columns, title, indexes: [] }]);
      }
      for (let start = 0; start < section.items.length; start += this.columns) {
        const many = Math.min(this.columns, section.items.length - start);
        const indexes = Array.from({ length: many }, (_, place) => index + place);
        this.line(this.cardHeight + GAP, [{ column: 0, span: many, indexes }]);
        index += many;
      }
    }
  }

  /** Put clusters side by side; one that is wider than the grid takes several lines. */
  arrangeClusters() {
    let index = 0, blocks = [], used = 0, kind = null;
    const end = () => {
      if (blocks.length) this.line(TITLE + this.cardHeight + GAP, blocks);
      blocks = [];
      used = 0;
    };
    for (const section of this.sections) {
      if (section.kind !== kind) {
        end();
        kind = section.kind;
        const title = kind;
        if (title) this.line(HEADING, [{ column: 0, span: this.columns, title, indexes: [] }]);
      }
      const size = section.items.length;
      if (used + size > this.columns) end();
      for (let start = 0; start < size; start += this.columns) {
        if (start) end();
        const many = Math.min(this.columns, size - start);
        const indexes = Array.from({ length: many }, (_, place) => index + start + place);
        blocks.push({ column: used, span: many, title: start ? "" : section.title, indexes,
          isCluster: true });
        used += many;
      }
      index += size;
    }
    end();
  }

  // ---- rendering

  renderSoon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.render();
    });
  }

  lineAt(y) {
    let low = 0, high = this.lines.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.lines[middle].top <= y) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  render() {
    const height = this.element.clientHeight, top = this.element.scrollTop;
    const first = this.lineAt(top - height / 2), last = this.lineAt(top + height * 1.5);
    for (const [number, element] of this.shown) {
      if (number < first || number > last) {
        drop(element);
        this.shown.delete(number);
      }
    }
    for (let number = first; number <= last && number < this.lines.length; number++) {
      if (!this.shown.has(number)) this.shown.set(number, this.draw(number));
    }
    this.mark();
  }

  draw(number) {
    const line = this.lines[number];
    const element = make("div", { class: "line", role: "presentation" });
    element.style.transform = `translate(${PADDING}px, ${line.top}px)`;
    for (const block of line.blocks) {
      const box = make("div", { class: block.isCluster ? "block cluster" : "block",
        role: "presentation" });
      box.style.transform = `translateX(${block.column * (this.card + GAP)}px)`;
      box.style.width = `${block.span * (this.card + GAP) - GAP}px`;
      if (block.title !== undefined) {
        const heading = make("div", { class: "title", "aria-hidden": "true" }, block.title);
        heading.style.height = `${block.isCluster ? TITLE : HEADING}px`;
        box.append(heading);
      }
      const cards = make("div", { class: "cards", role: "presentation" });
      for (const index of block.indexes) cards.append(this.makeCard(index));
      if (block.indexes.length) box.append(cards);
      element.append(box);
    }
    // in the order of the lines, for screen readers
    const next = [...this.shown.keys()].filter((other) => other > number);
    const before = next.length ? this.shown.get(Math.min(...next)) : null;
    this.canvas.insertBefore(element, before);
    return element;
  }

  makeCard(index) {
    const item = this.items[index];
    const card = make("div", { class: "item", role: "option", id: `item-${index}`,
      "data-index": index, "aria-setsize": this.items.length, "aria-posinset": index + 1 });
    card.style.width = `${this.card}px`;
    card.style.height = `${this.cardHeight}px`;
    this.fill(card, item);
    card.setAttribute("aria-selected", String(this.selected.has(item.content)));
    return card;
  }

  cards() { return this.canvas.querySelectorAll(".item"); }

  /** Update the cards that are in sight. */
  refresh() {
    for (const card of this.cards()) this.fill(card, this.items[card.dataset.index]);
  }

  /** Mark the current card and the selected cards. */
  mark() {
    for (const card of this.cards()) {
      const item = this.items[card.dataset.index];
      card.classList.toggle("current", Number(card.dataset.index) === this.current);
      card.setAttribute("aria-selected", String(this.selected.has(item.content)));
    }
    if (this.shown.has(this.places[this.current])) {
      this.element.setAttribute("aria-activedescendant", `item-${this.current}`);
    } else this.element.removeAttribute("aria-activedescendant");
  }

  reveal() {
    const line = this.lines[this.places[this.current]];
    if (!line) return;
    const { scrollTop, clientHeight } = this.element;
    const isFirst = this.places[this.current] <= 1;
    if (line.top < scrollTop + GAP) this.element.scrollTop = isFirst ? 0 : line.top - GAP;
    else if (line.top + line.height > scrollTop + clientHeight) {
      this.element.scrollTop = line.top + line.height - clientHeight + GAP;
    }
    this.render();
  }

  // ---- moving and selecting

  /** Make an item current; `extend` selects from where the selection began. */
  go(index, extend = false) {
    if (!this.items.length) return;
    this.current = Math.min(this.items.length - 1, Math.max(0, index));
    if (extend) this.selectRange(this.anchor, this.current);
    else this.anchor = this.current;
    this.reveal();
    this.mark();
    this.moved();
  }

  /** Return the index of the nearest item one line up or down. */
  vertical(step) {
    const here = this.cell(this.current);
    if (!here) return this.current;
    let number = here.line;
    do number += step; while (this.lines[number] && !this.lines[number].blocks[0].indexes.length);
    const line = this.lines[number];
    if (!line) return this.current;
    let best = this.current, distance = Infinity;
    for (const block of line.blocks) {
      block.indexes.forEach((index, place) => {
        const apart = Math.abs(block.column + place - here.column);
        if (apart < distance) [best, distance] = [index, apart];
      });
    }
    return best;
  }

  cell(index) {
    const number = this.places[index];
    for (const block of this.lines[number]?.blocks ?? []) {
      const place = block.indexes.indexOf(index);
      if (place >= 0) return { line: number, column: block.column + place };
    }
    return null;
  }

  page(step) {
    const lines = Math.max(1, Math.floor(this.element.clientHeight / (this.cardHeight + GAP)));
    const before = this.current;
    for (let count = 0; count < lines; count++) this.current = this.vertical(step);
    const found = this.current;
    this.current = before;
    return found;
  }

  select(contents) {
    this.selected = new Set(contents.filter(Boolean));
    this.mark();
    this.chosen();
  }

  selectRange(from, to) {
    const [low, high] = from < to ? [from, to] : [to, from];
    this.select(this.items.slice(low, high + 1).filter(isSample).map((item) => item.content));
  }

  selectAll() { this.select(this.items.filter(isSample).map((item) => item.content)); }

  toggle(index = this.current) {
    const item = this.items[index];
    if (!item || !isSample(item)) return;
    if (!this.selected.delete(item.content)) this.selected.add(item.content);
    this.anchor = index;
    this.mark();
    this.chosen();
  }

  itemAt(target) { return this.items[target.closest(".item")?.dataset.index] ?? null; }

  clicked(event) {
    const card = event.target.closest(".item");
    if (!card) return;
    const index = Number(card.dataset.index);
    if (event.target.closest(".tick") || event.ctrlKey || event.metaKey) {
      this.toggle(index);
      this.current = index;
    } else if (event.shiftKey) {
      this.current = index;
      this.selectRange(Math.max(0, this.anchor), index);
    } else {
      if (this.selected.size) this.select([]);
      this.current = this.anchor = index;
    }
    this.mark();
    this.moved();
    if (event.target.closest(".enlarge")) this.opened(this.item());
  }

  key(event) {
    const steps = {
      ArrowLeft: () => this.current - 1,
      ArrowRight: () => this.current + 1,
      ArrowUp: () => this.vertical(-1),
      ArrowDown: () => this.vertical(1),
      Home: () => 0,
      End: () => this.items.length - 1,
      PageUp: () => this.page(-1),
      PageDown: () => this.page(1),
    };
    if (!steps[event.key]) return false;
    this.go(steps[event.key](), event.shiftKey);
    return true;
  }
}

const isSample = (item) => item.row !== null;

/** Remove a line, and cancel the requests for its images. */
function drop(element) {
  for (const image of element.querySelectorAll("img")) image.removeAttribute("src");
  element.remove();
}
