// What the pointer does on the slice: prompts with the left button, window with the right one,
// movement with the middle one or with the space bar.

import { drawPrompt } from "./overlay.js";

const HINTS = {
  "extreme points": (count) => `Extreme points: ${count} of 4 (top, bottom, left, right) · Esc starts over`,
  brush: (_, positive) => (positive ? "" : "Brush erases"),
};
const FEWEST_PIXELS = 4;

export class Tools {
  constructor(view, store) {
    this.view = view;
    this.store = store;
    this.points = []; // of the prompt at hand, [row, column]
    this.sent = new Set(); // prompts that the server has not answered yet
    this.drag = null; // how the pointer that is down is used
    this.space = false;
    const canvas = view.canvas;
    canvas.addEventListener("pointerdown", (event) => this._down(event));
    canvas.addEventListener("pointermove", (event) => this._move(event));
    canvas.addEventListener("pointerup", (event) => this._up(event));
    canvas.addEventListener("pointercancel", () => this.stop());
    canvas.addEventListener("pointerleave", () => {
      this.at = null;
    });
    view.draft = (context) => this._draw(context);
    store.on((changed) => {
      const at = `${store.view.tool} ${store.view.slice} ${store.view.label} ${store.api.epoch}`;
      if (at !== this._place) this.stop(); // a prompt lies on one slice
      this._place = at;
      if (changed.has("view")) this._hint();
    });
  }

  // Whether the prompt at hand is positive: Shift turns the choice round.
  get positive() {
    return this.store.view.positive !== (this.shift ?? false);
  }

  stop() {
    const busy = this.points.length > 0 || this.drag !== null;
    if (!this.strokes) this.mask = null;
    this.points = [];
    this.drag = null;
    this._hint();
    this.view.draw();
    return busy;
  }

  _down(event) {
    if (!this.store.volume || this.drag) return;
    this.view.canvas.focus({ preventScroll: true });
    this.view.canvas.setPointerCapture(event.pointerId);
    this.shift = event.shiftKey;
    this.from = [event.clientX, event.clientY];
    if (event.button === 1 || (event.button === 0 && this.space)) this.drag = "move";
    else if (event.button === 2) this.drag = "window";
    else if (event.button === 0) this._begin(this.view.toVoxel(event));
    event.preventDefault();
  }

  _begin(at) {
    const { tool } = this.store.view;
    const point = this._within(at);
    if (tool === "click") this._send("click", [point]);
    else if (tool === "extreme points") {
      this.points.push(point);
      if (this.points.length === 4) this._send("extreme points", this.points);
    } else {
      if (tool === "brush") this._startBrush();
      this.drag = tool;
      this.points = [point];
      if (tool === "brush") this._dab(point, point);
    }
    this._hint();
    this.view.draw();
  }

  _move(event) {
    this.shift = this.drag ? this.shift : event.shiftKey;
    this.at = this.view.toVoxel(event);
    const dx = event.clientX - (this.last?.[0] ?? event.clientX);
    const dy = event.clientY - (this.last?.[1] ?? event.clientY);
    this.last = [event.clientX, event.clientY];
    const { view } = this.store;
    if (this.drag === "move") this.view.move(dx, dy);
    else if (this.drag === "window") {
      const width = Math.max(view.high - view.low, 1e-9);
      const wider = width * Math.exp(dx / 200), middle = (view.low + view.high) / 2 + (dy * width) / 300;
      this.store.set({ low: middle - wider / 2, high: middle + wider / 2 });
    } else if (this.drag === "box") this.points = [this.points[0], this._within(this.at)];
    else if (this.drag) {
      for (const one of event.getCoalescedEvents?.() ?? [event]) this._trace(this.view.toVoxel(one));
    }
    if (this.store.view.tool === "brush" || this.store.view.tool === "scribble" || this.drag) this.view.draw();
  }

  _trace(at) {
    const point = this._within(at), before = this.points[this.points.length - 1];
    const step = Math.hypot(point[0] - before[0], point[1] - before[1]);
    if (step * this.view.voxel < 2 || this.points.length >= 9000) return;
    this.points.push(point);
    if (this.drag === "brush") this._dab(before, point);
  }

  _up(event) {
    const { drag, points } = this;
    const moved = Math.hypot(event.clientX - this.from?.[0], event.clientY - this.from?.[1]);
    if (drag === null) return;
    this.drag = null;
    if (drag === "box" && moved >= FEWEST_PIXELS && points.length === 2) {
      this._send("box", boxOf(points, this.store.volume));
    } else if (drag === "scribble") this._send("scribble", points, { radius: this.store.view.size });
    else if (drag === "lasso" && points.length >= 3) this._send("lasso", points);
    else if (drag === "brush") this._sendBrush();
    else this.points = [];
    this.view.draw();
  }

  async _send(kind, points, more = {}) {
    const { slice, label, auto } = this.store.view;
    const positive = kind === "extreme points" || this.positive;
    const prompt = { kind, points, positive, ...more };
    this.points = [];
    const sent = { prompt, slice };
    this.sent.add(sent);
    this._focus(points);
    this._hint();
    this.view.draw();
    await this.store.act((api) => api.do("prompt", { prompt, index: slice, label, carry: auto }));
    this.sent.delete(sent);
    this.view.draw();
  }

  // The other planes go through what was drawn.
  _focus(points) {
    const middle = (axis) => {
      const values = points.map((point) => point[axis]);
      return Math.round((Math.min(...values) + Math.max(...values)) / 2);
    };
    this.store.set({ focus: [middle(0), middle(1)] });
  }

  _startBrush() {
    const { view } = this.store, place = `${view.slice} ${view.label}`;
    if (this.mask && this.maskPlace === place) return; // the stroke before is on its way
    this.maskPlace = place;
    this.mask = Uint8Array.from(this.store.labelsOf(view.slice), (label) => +(label === view.label));
  }

  // Sets the voxels within the brush's radius of a line.
  _dab(from, to) {
    const { rows, columns } = this.store.volume, radius = this.store.view.size;
    const set = +this.positive, [dr, dc] = [to[0] - from[0], to[1] - from[1]];
    const length2 = dr * dr + dc * dc;
    const low = (a, b) => Math.max(0, Math.floor(Math.min(a, b) - radius));
    const high = (a, b, size) => Math.min(size - 1, Math.ceil(Math.max(a, b) + radius));
    for (let row = low(from[0], to[0]); row <= high(from[0], to[0], rows); row++) {
      for (let column = low(from[1], to[1]); column <= high(from[1], to[1], columns); column++) {
        const along = length2 ? ((row - from[0]) * dr + (column - from[1]) * dc) / length2 : 0;
        const t = Math.max(0, Math.min(1, along));
        if (Math.hypot(row - from[0] - t * dr, column - from[1] - t * dc) <= radius) {
          this.mask[row * columns + column] = set;
        }
      }
    }
  }

  async _sendBrush() {
    const { slice, label, auto } = this.store.view, mask = this.mask.slice();
    this.points = [];
    this.strokes = (this.strokes ?? 0) + 1;
    await this.store.act((api) => api.paint(mask, slice, label, auto));
    this.strokes -= 1;
    if (!this.strokes && this.drag !== "brush") this.mask = null;
    this.view.draw();
  }

  _within([row, column]) {
    const { rows, columns } = this.store.volume;
    const clamp = (value, size) => Math.round(Math.max(-0.5, Math.min(size - 0.5, value)) * 100) / 100;
    return [clamp(row, rows), clamp(column, columns)];
  }

  _hint() {
    const { tool, positive } = this.store.view;
    document.getElementById("hint").textContent = HINTS[tool]?.(this.points.length, positive) ?? "";
  }

  _draw(context) {
    const { view, view: { store } } = this;
    const { tool, size, slice } = store.view;
    for (const sent of this.sent) if (sent.slice === slice) drawPrompt(context, view, sent.prompt);
    if (this.mask && this.maskPlace === `${slice} ${store.view.label}`) this._drawBrush(context);
    else if (this.points.length) {
      const positive = tool === "extreme points" || this.positive;
      const kind = tool === "extreme points" ? "click" : tool;
      const points = tool === "box" && this.points.length === 2 ? boxOf(this.points, store.volume) : this.points;
      if (kind === "click") for (const point of points) drawPrompt(context, view, { kind, points: [point], positive });
      else drawPrompt(context, view, { kind, points, positive, radius: size });
    }
    if ((tool === "brush" || tool === "scribble") && this.at && !this.drag) {
      const [x, y] = view.toScreen(this.at);
      context.strokeStyle = this.positive ? "#3ddc97" : "#ff6b6b";
      context.lineWidth = devicePixelRatio;
      context.beginPath();
      context.arc(x, y, Math.max(size * view.voxel, 2), 0, 7);
      context.stroke();
    }
  }

  _drawBrush(context) {
    const { rows, columns } = this.store.volume;
    const image = new ImageData(columns, rows);
    this.mask.forEach((inside, at) => {
      if (inside) image.data.set([255, 255, 255, 120], at * 4);
    });
    this.canvas ??= document.createElement("canvas");
    [this.canvas.width, this.canvas.height] = [columns, rows];
    this.canvas.getContext("2d").putImageData(image, 0, 0);
    context.save();
    context.setTransform(this.view.matrix);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.canvas, 0, 0);
    context.restore();
  }
}

// The voxels inside of a dragged rectangle: its corners lie on their outer edges.
function boxOf([a, b], volume) {
  const side = (p, q, size) => {
    const low = Math.max(0, Math.round(Math.min(p, q))), high = Math.min(size - 1, Math.round(Math.max(p, q)));
    return [Math.min(low, size - 1), Math.max(high, 0)];
  };
  const [r0, r1] = side(a[0], b[0], volume.rows), [c0, c1] = side(a[1], b[1], volume.columns);
  return [[r0, c0], [r1, c1]];
}
