// The slices in a row: the expected quality of each, which are confirmed, which to look at next.

const BAD = [217, 87, 63], FAIR = [232, 193, 74], GOOD = [63, 174, 122], UNKNOWN = "#7f8c9b";

export class Strip {
  constructor(canvas, store) {
    this.canvas = canvas;
    this.store = store;
    this.tip = document.getElementById("strip-tip");
    new ResizeObserver(() => this.draw()).observe(canvas);
    this.present = []; // for each slice, the labels that it holds
    store.on((changed) => {
      if (changed.has("volume")) this.present = Array.from({ length: store.volume.slices }, () => new Set());
      if (changed.has("volume") || changed.has("map")) this._look();
      this.draw();
    });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.held = true;
      store.goTo(this._slice(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (this.held) store.goTo(this._slice(event));
      this._showTip(event);
    });
    canvas.addEventListener("pointerup", () => {
      this.held = false;
    });
    canvas.addEventListener("pointerleave", () => {
      this.tip.hidden = true;
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      store.goTo(store.view.slice + Math.sign(event.deltaY));
    }, { passive: false });
  }

  _look() {
    for (const slice of this.store.changedSlices) this.present[slice] = new Set(this.store.labelsOf(slice));
  }

  _slice(event) {
    const box = this.canvas.getBoundingClientRect();
    const part = (event.clientX - box.left - 8) / (box.width - 16);
    return Math.floor(Math.max(0, Math.min(0.9999, part)) * this.store.volume.slices);
  }

  _showTip(event) {
    if (!this.store.volume) return;
    const slice = this._slice(event);
    const box = this.canvas.getBoundingClientRect();
    this.tip.hidden = false;
    this.tip.textContent = `Slice ${slice + 1}: ${this.describe(slice)}`;
    const half = this.tip.offsetWidth / 2;
    const x = Math.max(half, Math.min(box.width - half, event.clientX - box.left));
    this.tip.style.left = `${x}px`;
  }

  describe(slice) {
    const layer = this.store.layer;
    if (!layer) return "";
    if (layer.confirmed.includes(slice)) return "confirmed";
    const quality = layer.quality[slice];
    let text = this.present[slice]?.has(this.store.view.label) ? "quality not known" : "empty";
    if (quality !== null) text = `expected Dice ${quality.toFixed(2)}`;
    if (layer.stale.includes(slice)) text += ", to be carried anew";
    return slice === layer.suggested ? `${text}, look at this one next` : text;
  }

  draw() {
    const { canvas, store } = this;
    const { volume, view, layer } = store;
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (!volume || !layer) return;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const width = (canvas.clientWidth - 16) / volume.slices, height = canvas.clientHeight;
    const top = 12, bottom = height - 13, room = bottom - top;
    const gap = width > 4 ? 1 : 0;
    const left = (slice) => 8 + slice * width;
    context.fillStyle = "#1a212b";
    context.fillRect(8, top, volume.slices * width, room);
    layer.quality.forEach((quality, slice) => {
      const known = quality !== null;
      if (!known && !this.present[slice]?.has(view.label)) return;
      const tall = known ? Math.max(2, quality * room) : 0.3 * room;
      context.fillStyle = known ? colourOf(quality) : UNKNOWN;
      context.globalAlpha = layer.stale.includes(slice) ? 0.45 : 1;
      context.fillRect(left(slice), bottom - tall, Math.max(width - gap, 0.75), tall);
    });
    context.globalAlpha = 1;
    // Confirmed slices: a dot below.
    context.fillStyle = "#4ea1ff";
    for (const slice of layer.confirmed) {
      context.beginPath();
      context.arc(left(slice) + (width - gap) / 2, height - 6, 3.5, 0, 7);
      context.fill();
    }
    if (layer.suggested !== null) {
      const x = left(layer.suggested) + (width - gap) / 2;
      context.fillStyle = "#ffb454";
      context.beginPath();
      context.moveTo(x - 6, 1);
      context.lineTo(x + 6, 1);
      context.lineTo(x, 10);
      context.fill();
    }
    context.strokeStyle = "#fff";
    context.lineWidth = 2;
    context.strokeRect(left(view.slice) - 1, top - 1, Math.max(width - gap, 3) + 2, room + 2);
    canvas.setAttribute("aria-valuemax", volume.slices);
    canvas.setAttribute("aria-valuenow", view.slice + 1);
    canvas.setAttribute("aria-valuetext", `slice ${view.slice + 1} of ${volume.slices}, ${this.describe(view.slice)}`);
    document.getElementById("quality-text").textContent = `slice ${view.slice + 1}: ${this.describe(view.slice)}`;
  }
}

// Red below 0.5, yellow at 0.75, green at 1.
function colourOf(quality) {
  const part = Math.max(0, Math.min(1, (quality - 0.5) * 2));
  const [from, to, at] = part < 0.5 ? [BAD, FAIR, part * 2] : [FAIR, GOOD, part * 2 - 1];
  return `rgb(${from.map((value, i) => Math.round(value + (to[i] - value) * at)).join(" ")})`;
}
