// A sheet to draw on, by mouse, finger, pen or keyboard: arrow keys move the pen, Space puts it down or lifts it.

const LONG_SIDE = 336; // pixels of the sheet
const PEN = 1 / 11; // of the short side, as thick as strokes of digits are; of few pixels more, which it would miss
const PEN_PIXELS = 1.4;
const STEP = 1 / 24;
const ARROWS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

export class Drawing {
  // shape    H, W, D of the net's images
  // dark     whether strokes are light on dark
  // changed  is called behind every stroke, and while one is drawn
  constructor(canvas, [H, W], dark, changed) {
    this.pen = Math.max(PEN, PEN_PIXELS / Math.min(H, W));
    const zoom = LONG_SIDE / Math.max(H, W);
    canvas.width = Math.round(W * zoom);
    canvas.height = Math.round(H * zoom);
    this.canvas = canvas;
    this.changed = changed;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.dark = dark;
    this.cursor = { x: canvas.width / 2, y: canvas.height / 2, down: false };
    this.last = null;
    this.clear();
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.last && this.go(this.place(event)));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (this.last = null));
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  clear() {
    const { width, height } = this.canvas;
    this.context.fillStyle = this.dark ? "black" : "white";
    this.context.fillRect(0, 0, width, height);
    this.empty = true;
  }

  turn(dark) {
    this.dark = dark;
    this.clear();
  }

  get pixels() {
    const { data, width, height } = this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
    return { data, width, height };
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const { width, height } = this.canvas;
    return { x: ((event.clientX - box.left) / box.width) * width, y: ((event.clientY - box.top) / box.height) * height };
  }

  begin(event) {
    event.preventDefault();
    this.canvas.focus();
    this.canvas.setPointerCapture(event.pointerId);
    this.last = this.place(event);
    this.go(this.last);
  }

  go(to) {
    this.line(this.last, to);
    this.last = to;
  }

  line(from, to) {
    const context = this.context;
    context.strokeStyle = this.dark ? "white" : "black";
    context.lineWidth = this.pen * Math.min(this.canvas.width, this.canvas.height);
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.lineTo(to.x, to.y);
    context.stroke();
    this.empty = false;
    this.changed();
  }

  key(event) {
    const { width, height } = this.canvas, cursor = this.cursor;
    if (event.key === " ") {
      cursor.down = !cursor.down;
      if (cursor.down) this.line(cursor, cursor);
    } else if (ARROWS[event.key]) {
      const [right, down] = ARROWS[event.key], step = STEP * Math.max(width, height);
      const to = {
        x: Math.min(width, Math.max(0, cursor.x + right * step)),
        y: Math.min(height, Math.max(0, cursor.y + down * step)),
      };
      if (cursor.down) this.line(cursor, to);
      Object.assign(cursor, to);
    } else return;
    event.preventDefault();
    this.canvas.dispatchEvent(new CustomEvent("pen", { detail: { ...cursor, x: cursor.x / width, y: cursor.y / height } }));
  }
}
