// A pad to write on. Strokes are kept in units of the pad, so that they survive a turned phone.

const SIDE = 1000; // units
const PEN = 16; // units; as wide as a pen looks on a letter of the archive

export class Pad {
  strokes = []; // each a list of [x, y]
  #canvas;
  #pointer = null; // the one that writes now: its id and kind
  #began;
  #changed;

  // began() is called at pen-down, changed() when a stroke has come or gone.
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
      const isPalm = event.pointerType === "pen" && this.#pointer.kind === "touch";
      if (!isPalm) return;
      this.strokes.pop(); // the hand lay down before its pen
      this.#redraw();
    }
    event.preventDefault();
    this.#canvas.setPointerCapture(event.pointerId);
    this.#pointer = { id: event.pointerId, kind: event.pointerType };
    this.strokes.push([]);
    this.#add([event]);
    this.#began();
  }

  #move(event) {
    if (event.pointerId !== this.#pointer?.id) return;
    const all = event.getCoalescedEvents?.() ?? []; // what came since the last frame
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
    this.#canvas.width = Math.round(width * devicePixelRatio); // setting it wipes it
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
    for (const point of points) pen.lineTo(...point); // of one point: a dot
    pen.stroke();
  }
}

function units(share) {
  return Math.round(share * SIDE * 10) / 10;
}
