// The other two planes, by NiiVue: same image, same masks, one crosshair. The page works without.

import { isSoftware, strideFor, thinned } from "./thinned.js";

const AXIAL = 0, CORONAL = 1, SAGITTAL = 2;
const NEVER = 0, NO_DRAG = 0;
const OTHERS = { axial: [CORONAL, SAGITTAL], coronal: [AXIAL, SAGITTAL], sagittal: [AXIAL, CORONAL] };
const REDRAW_MS = 150, PAUSE_MS = 200;

export class Context {
  constructor(canvas, store) {
    this.canvas = canvas;
    this.store = store;
    this.note = document.getElementById("context-note");
    store.on((changed) => this._changed(changed));
    new ResizeObserver(() => this._layout()).observe(canvas.parentElement);
  }

  async _changed(changed) {
    if (changed.has("volume")) {
      this.ready = false;
      await this._load();
    }
    if (!this.ready) return;
    if (changed.has("map")) this._copyMap();
    if (changed.has("view") || changed.has("volume")) this._show();
  }

  async _load() {
    const { store } = this, epoch = store.api.epoch;
    try {
      this.note.textContent = "loading the other planes …";
      await new Promise((done) => setTimeout(done, PAUSE_MS)); // the slice comes first
      await loadScript("/static/niivue.umd.js");
      if (!this.viewer) await this._start();
      this.stride = strideFor(store.volume, isSoftware(this.viewer.gl));
      this.thin = thinned(store.volume, this.stride);
      while (this.viewer.volumes.length) this.viewer.removeVolume(this.viewer.volumes[0]);
      await this.viewer.loadFromArrayBuffer(this.thin.buffer, "image.nii");
      if (epoch !== store.api.epoch) return; // another case was opened meanwhile
      this._index();
      this.viewer.createEmptyDrawing();
      this.ready = true;
      this._layout();
      this._copyMap(true);
      this._show();
      this.note.textContent = "";
      this.canvas.dataset.drawn = epoch;
    } catch (error) {
      this.note.textContent = `The other planes cannot be shown here (${error.message}).`;
      console.warn(error);
    }
  }

  async _start() {
    if (!window.niivue) throw new Error("NiiVue is not there");
    const { Niivue } = window.niivue;
    this.viewer = new Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [1, 0.7, 0.33, 0.8],
      crosshairWidth: 0.6,
      crosshairWidthUnit: "percent",
      fontColor: [1, 0.7, 0.33, 1],
      fontMinPx: 13,
      fontSizeScaling: 0.35,
      isRadiologicalConvention: true,
      sagittalNoseLeft: true,
      multiplanarShowRender: NEVER,
      dragMode: NO_DRAG,
      isColorbar: false,
      show3Dcrosshair: false,
      dragAndDropEnabled: false,
      loadingText: "",
      thumbnail: "",
      logLevel: "warn",
    });
    await this.viewer.attachToCanvas(this.canvas);
    this.viewer.onLocationChange = () => this._moved();
  }

  // Where voxels of the image are in NiiVue's arrays, whose axes run towards right, front, head.
  _index() {
    const [image] = this.viewer.volumes, sizes = [this.thin.columns, this.thin.rows, this.store.volume.slices];
    this.axes = [0, 1, 2].map((ras) => {
      const code = image.permRAS[ras], axis = Math.abs(code) - 1;
      return { axis, flipped: code < 0, size: sizes[axis] };
    });
    const strides = [1, this.axes[0].size, this.axes[0].size * this.axes[1].size];
    this.start = 0;
    this.steps = [0, 0, 0]; // for a column, a row, a slice
    this.axes.forEach(({ axis, flipped, size }, ras) => {
      this.steps[axis] = flipped ? -strides[ras] : strides[ras];
      if (flipped) this.start += (size - 1) * strides[ras];
    });
  }

  _copyMap(all = false) {
    const { volume } = this.store, to = this.viewer.drawBitmap;
    if (!to) return;
    const slices = all ? [...Array(volume.slices).keys()] : this.store.changedSlices;
    const [columnStep, rowStep, sliceStep] = this.steps;
    for (const slice of slices) {
      const from = this.store.labelsOf(slice);
      for (let row = 0; row < this.thin.rows; row++) {
        let target = this.start + slice * sliceStep + row * rowStep, at = row * this.stride * volume.columns;
        for (let column = 0; column < this.thin.columns; column++, target += columnStep, at += this.stride) {
          to[target] = from[at];
        }
      }
    }
    // The whole texture goes to the graphics card each time: not more often than needed.
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this.viewer.refreshDrawing(true), all ? 0 : REDRAW_MS);
  }

  _show() {
    const { view } = this.store, [image] = this.viewer.volumes;
    const look = JSON.stringify([view.low, view.high, this.store.colours]);
    if (look !== this._look) {
      this._look = look;
      [image.cal_min, image.cal_max] = [view.low, view.high];
      this.viewer.drawLut = this._colours();
      this.viewer.updateGLVolume();
    }
    const opacity = view.overlay ? Math.max(view.opacity, 0.25) : 0;
    if (opacity !== this._opacity) this.viewer.setDrawOpacity((this._opacity = opacity));
    const voxel = [view.focus[1], view.focus[0], view.slice].map((at, axis) =>
      Math.max(0, Math.floor(axis < 2 ? at / this.stride : at)));
    if (voxel.join() !== this._voxel().join()) {
      const ras = this.axes.map(({ axis, flipped, size }) => (flipped ? size - 1 - voxel[axis] : voxel[axis]));
      this.viewer.scene.crosshairPos = this.viewer.vox2frac(ras);
      this.viewer.drawScene();
    }
  }

  // The crosshair as [column, row, slice].
  _voxel() {
    const position = this.viewer.scene.crosshairPos, voxel = [0, 0, 0];
    this.axes.forEach(({ axis, flipped, size }, ras) => {
      const at = Math.max(0, Math.min(size - 1, Math.floor(position[ras] * size)));
      voxel[axis] = flipped ? size - 1 - at : at;
    });
    return voxel;
  }

  _moved() {
    if (!this.ready) return;
    const [column, row, slice] = this._voxel();
    const { view } = this.store, [focusRow, focusColumn] = view.focus;
    const same = Math.floor(focusRow / this.stride) === row && Math.floor(focusColumn / this.stride) === column;
    if (!same) this.store.set({ focus: [row * this.stride, column * this.stride] });
    if (slice !== view.slice) this.store.goTo(slice);
  }

  _colours() {
    const table = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
    for (let label = 1; label < 65; label++) {
      const value = parseInt(this.store.colour(label).slice(1), 16);
      table.R.push(value >> 16);
      table.G.push((value >> 8) & 255);
      table.B.push(value & 255);
      table.A.push(255);
      table.I.push(label);
      table.labels.push(`${label}`);
    }
    return window.niivue.cmapper.makeDrawLut(table);
  }

  // Two planes, one above the other, or side by side where there is more width.
  _layout() {
    if (!this.ready) return;
    const box = this.canvas.parentElement, wide = box.clientWidth > box.clientHeight * 1.1;
    const [first, second] = OTHERS[this.store.volume.plane] ?? OTHERS.axial;
    const places = wide ? [[0, 0, 0.5, 1], [0.5, 0, 0.5, 1]] : [[0, 0, 1, 0.5], [0, 0.5, 1, 0.5]];
    this.viewer.setCustomLayout([
      { sliceType: first, position: places[0] },
      { sliceType: second, position: places[1] },
    ]);
  }
}

let loading = null;

function loadScript(address) {
  loading ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = address;
    script.onload = done;
    script.onerror = () => failed(new Error("NiiVue is not there"));
    document.head.append(script);
  });
  return loading;
}
