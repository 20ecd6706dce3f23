// The slice that is worked on: image, masks, prompts; zoom, movement, window by the mouse.

import { drawMask, drawPrompt, Outlines } from "./overlay.js";

const LARGEST = 60; // screen pixels a millimetre, at most

export class SliceView {
  constructor(canvas, store) {
    this.canvas = canvas;
    this.store = store;
    this.context = canvas.getContext("2d");
    this.zoom = 1;
    this.middle = [0, 0]; // millimetres of the slice in the middle of the canvas
    this.cursor = null; // [row, column]
    this.draft = null; // what a tool draws at this moment: called with (context, view)
    this.image = document.createElement("canvas");
    this.outlines = new Outlines();
    new ResizeObserver(() => this._resized()).observe(canvas);
    store.on((changed) => {
      if (changed.has("volume")) {
        this.fit();
        for (const [side, code] of Object.entries(store.volume.sides)) {
          document.querySelector(`.side.${side}`).textContent = code;
        }
      }
      if (changed.has("volume") || changed.has("map")) this.outlines.clear();
      this.draw();
    });
    canvas.addEventListener("wheel", (event) => this._wheel(event), { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("pointermove", (event) => {
      this.cursor = this.toVoxel(event);
      this._caption();
    });
    canvas.addEventListener("pointerleave", () => {
      this.cursor = null;
      this.draw();
    });
  }

  fit() {
    this.zoom = 1;
    this.middle = this.store.volume.size.map((length) => length / 2);
    this.draw();
  }

  // Screen pixels a millimetre; a zoom of 1 shows the whole slice.
  get scale() {
    const [width, height] = this.store.volume.size;
    const room = 26 * devicePixelRatio;
    const fit = Math.min((this.canvas.width - room) / width, (this.canvas.height - room) / height);
    return Math.max(fit, 0.01) * this.zoom;
  }

  // From (column + 0.5, row + 0.5) to pixels of the canvas.
  get matrix() {
    const scale = this.scale;
    return new DOMMatrix([
      scale, 0, 0, scale,
      this.canvas.width / 2 - this.middle[0] * scale,
      this.canvas.height / 2 - this.middle[1] * scale,
    ]).multiply(this.store.volume.matrix);
  }

  // Where an event is, as [row, column]; voxel (3, 5) has its centre at [3, 5].
  toVoxel(event) {
    if (!this.store.volume) return null;
    const box = this.canvas.getBoundingClientRect();
    const at = new DOMPoint(
      ((event.clientX - box.left) * this.canvas.width) / box.width,
      ((event.clientY - box.top) * this.canvas.height) / box.height,
    );
    const { x, y } = at.matrixTransform(this.matrix.inverse());
    return [y - 0.5, x - 0.5];
  }

  toScreen([row, column]) {
    const { x, y } = new DOMPoint(column + 0.5, row + 0.5).matrixTransform(this.matrix);
    return [x, y];
  }

  // Canvas pixels that one voxel takes, about.
  get voxel() {
    const m = this.matrix;
    return Math.sqrt(Math.abs(m.a * m.d - m.b * m.c));
  }

  move(dx, dy) {
    const scale = this.scale / devicePixelRatio;
    this.middle = [this.middle[0] - dx / scale, this.middle[1] - dy / scale];
    this.draw();
  }

  zoomBy(factor, event = null) {
    const before = this.scale;
    this.zoom = Math.max(0.5, Math.min(this.zoom * factor, (LARGEST / before) * this.zoom));
    if (event) {
      const box = this.canvas.getBoundingClientRect();
      const x = (event.clientX - box.left - box.width / 2) * devicePixelRatio;
      const y = (event.clientY - box.top - box.height / 2) * devicePixelRatio;
      const moved = 1 / before - 1 / this.scale;
      this.middle = [this.middle[0] + x * moved, this.middle[1] + y * moved];
    }
    this.draw();
  }

  _wheel(event) {
    event.preventDefault();
    if (!this.store.volume) return;
    if (event.ctrlKey || event.metaKey) {
      this.zoomBy(Math.exp(-event.deltaY / 400), event);
      return;
    }
    // A wheel's notch is one slice; a touch pad's small steps add up.
    this._turned = (this._turned ?? 0) + (event.deltaMode === 1 ? event.deltaY * 33 : event.deltaY);
    const steps = Math.trunc(this._turned / 50);
    if (steps) {
      this._turned = 0;
      this.store.goTo(this.store.view.slice + Math.sign(steps) * Math.max(1, Math.floor(Math.abs(steps) / 2)));
    }
  }

  _resized() {
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    this.draw();
  }

  // Draws once, in the next frame.
  draw() {
    if (this._due) return;
    this._due = true;
    requestAnimationFrame(() => {
      this._due = false;
      if (this.store.volume) this._draw();
    });
  }

  _draw() {
    const { context, canvas, store } = this;
    const { volume, view, board } = store;
    const matrix = this.matrix;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    this.image.width = volume.columns;
    this.image.height = volume.rows;
    this.image.getContext("2d").putImageData(volume.pixels(view.slice, view.low, view.high), 0, 0);
    context.setTransform(matrix);
    context.imageSmoothingEnabled = view.smooth;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.image, 0, 0);
    if (view.overlay) {
      drawMask(context, matrix, store, this.outlines);
      context.setTransform(1, 0, 0, 1, 0, 0);
      const drawn = store.layer?.prompts[view.slice] ?? [];
      for (const prompt of drawn) drawPrompt(context, this, prompt, true);
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
    if (this.draft) this.draft(context, this);
    this._caption();
    // For tests: what is shown, and where voxels are.
    canvas.dataset.matrix = [matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f].join(" ");
    canvas.dataset.drawn = `${board.epoch} ${view.slice} ${store.revision}`;
  }

  _caption() {
    const { volume, view } = this.store;
    if (!volume) return;
    const set = (id, text) => {
      document.getElementById(id).textContent = text;
    };
    const confirmed = this.store.layer?.confirmed.includes(view.slice);
    set("corner-top", `Slice ${view.slice + 1} / ${volume.slices}${volume.plane && ` · ${volume.plane}`}${confirmed ? "  ✓ confirmed" : ""}`);
    let text = `L ${short((view.low + view.high) / 2)}  W ${short(view.high - view.low)}   ${Math.round(this.zoom * 100)} %`;
    if (this.cursor) {
      const [row, column] = this.cursor.map(Math.round);
      if (row >= 0 && column >= 0 && row < volume.rows && column < volume.columns) {
        text += `   [${row}, ${column}] = ${short(volume.value(view.slice, row, column))}`;
      }
    }
    set("corner-bottom", text);
  }
}

export function short(number) {
  return Number(number.toPrecision(4)).toString();
}
