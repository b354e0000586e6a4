// A pad to write on. Points are in units of the pad, so that strokes survive a turned phone.

const SIDE = 1000; // units
const PEN = 16; // units; the relative width of strokes in the archive's letters

export class Pad {
  strokes = []; // each a list of [x, y]
  #canvas;
  #pointer = null; // the one that writes now: its id and type
  #began;
  #changed;

  // began() is called at pen-down, changed() after a stroke is added or removed.
  constructor(canvas, began, changed) {
    this.#canvas = canvas;
    this.#began = began;
    this.#changed = changed;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const kind of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(kind, (event) => this.#up(event));
    }
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    new ResizeObserver(() => this.#redraw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#redraw());
  }

  undo() {
    if (this.#pointer !== null || !this.strokes.length) return;
    this.strokes.pop();
    this.#redraw();
    this.#changed();
  }

  clear() {
    this.#pointer = null;
    this.strokes = [];
    this.#redraw();
    this.#changed();
  }

  #down(event) {
    if (!event.isPrimary || event.button !== 0) return;
    if (this.#pointer !== null) {
      const isPalm = event.pointerType === "pen" && this.#pointer.type === "touch";
      if (!isPalm) return;
      this.strokes.pop(); // the palm touched the pad before the pen
      this.#redraw();
    }
    event.preventDefault();
    this.#canvas.setPointerCapture(event.pointerId);
    this.#pointer = { id: event.pointerId, type: event.pointerType };
    this.strokes.push([]);
    this.#add([event]);
    this.#began();
  }

  #move(event) {
    if (event.pointerId !== this.#pointer?.id) return;
    const all = event.getCoalescedEvents?.() ?? []; // events since the last frame
    this.#add(all.length ? all : [event]);
  }

  #up(event) {
    if (event.pointerId !== this.#pointer?.id) return;
    this.#pointer = null;
    this.#changed();
  }

  #add(events) {
    const stroke = this.strokes.at(-1);
    const box = this.#canvas.getBoundingClientRect();
    const from = Math.max(0, stroke.length - 1);
    for (const event of events) {
      const point = [
        units((event.clientX - box.left) / box.width),
        units((event.clientY - box.top) / box.height),
      ];
      const last = stroke.at(-1);
      if (last?.[0] !== point[0] || last?.[1] !== point[1]) stroke.push(point);
    }
    this.#line(this.#pen(), stroke.slice(from));
  }

  #redraw() {
    const { width, height } = this.#canvas.getBoundingClientRect();
    this.#canvas.width = Math.round(width * devicePixelRatio); // this also clears the canvas
    this.#canvas.height = Math.round(height * devicePixelRatio);
    const pen = this.#pen();
    for (const stroke of this.strokes) this.#line(pen, stroke);
  }

  #pen() {
    const pen = this.#canvas.getContext("2d");
    pen.setTransform(this.#canvas.width / SIDE, 0, 0, this.#canvas.height / SIDE, 0, 0);
    pen.strokeStyle = getComputedStyle(this.#canvas).color;
    pen.lineWidth = PEN;
    pen.lineCap = pen.lineJoin = "round";
    return pen;
  }

  #line(pen, points) {
    if (!points.length) return;
    pen.beginPath();
    pen.moveTo(...points[0]);
    for (const point of points) pen.lineTo(...point); // one point makes a dot
    pen.stroke();
  }
}

// Convert a fraction of the pad's side to units, with one decimal.
function units(fraction) {
  return Math.round(fraction * SIDE * 10) / 10;
}
