// What the page knows: the server's board and label map, and what this tab has chosen.
//
// Listeners are told once a frame what has changed: a set of "volume", "map", "board", "view".

import { Volume } from "./volume.js";

// Of the labels. Green and red are left to what is positive and negative.
export const COLOURS = [
  "#4ea1ff", "#ffd84a", "#c58bff", "#35d6e6", "#f58ad0", "#ff9f45", "#8fb8ff", "#d8c27a",
  "#a48cf0", "#2fc3c3", "#e0a0ff", "#ffc48a",
];
export const SOFT_TISSUE = [-160, 240];
const BUSY_MS = 120, IDLE_MS = 1500;

export class Store {
  constructor(api) {
    this.api = api;
    this.board = null;
    this.volume = null;
    this.map = null; // (slices, rows, columns) of labels
    this.revision = 0;
    this.changedSlices = []; // of the map, since listeners were told
    this.fault = null;
    this.view = {
      slice: 0, focus: [0, 0], label: 1, tool: "box", positive: true, low: 0, high: 1,
      opacity: 0.35, overlay: true, size: 2, smooth: true, auto: true,
    };
    this.colours = [...COLOURS];
    this._changed = new Set();
    this._listeners = [];
    this._applying = Promise.resolve();
    this._turn = Promise.resolve();
  }

  on(listener) {
    this._listeners.push(listener);
  }

  tell(what) {
    if (!this._changed.size) requestAnimationFrame(() => this._flush());
    this._changed.add(what);
  }

  _flush() {
    const changed = this._changed;
    this._changed = new Set();
    for (const listener of this._listeners) listener(changed, this);
  }

  set(values) {
    Object.assign(this.view, values);
    this.tell("view");
  }

  get layer() {
    return this.board?.labels[this.view.label - 1];
  }

  colour(label) {
    return this.colours[(label - 1) % this.colours.length];
  }

  goTo(slice) {
    if (!this.volume) return;
    const last = this.volume.slices - 1;
    this.set({ slice: Math.max(0, Math.min(last, Math.round(slice))) });
  }

  // The labels of one slice; a view into the map.
  labelsOf(slice) {
    const size = this.volume.rows * this.volume.columns;
    return this.map.subarray(slice * size, (slice + 1) * size);
  }

  async poll() {
    for (;;) {
      try {
        await this.apply(await this.api.state());
      } catch (error) {
        this._failed(error);
      }
      const busy = this.board?.job && !this.fault;
      await new Promise((done) => setTimeout(done, busy ? BUSY_MS : IDLE_MS));
    }
  }

  // One action of the user, after those before it. What is wrong is shown, and gives false.
  async act(action) {
    this.dismiss();
    const turn = this._turn.catch(() => {}).then(() => action(this.api));
    this._turn = turn;
    try {
      await this.apply(await turn);
      return true;
    } catch (error) {
      this._failed(error);
      return false;
    }
  }

  dismiss() {
    this.fault = null;
    this.tell("board");
  }

  // Boards are applied one after another, and never an older one after a newer one.
  apply(board) {
    this._applying = this._applying.catch(() => {}).then(() => this._apply(board));
    return this._applying;
  }

  async _apply(board) {
    const same = board.epoch === this.board?.epoch;
    if (same && board.version < this.board.version) return;
    if (!same) await this._load(board);
    else if (board.revision !== this.revision) await this._fetchSlices();
    if (this.fault && this.fault.status !== 400) this.fault = null;
    if (board.error) this._failed(new Error(board.error));
    const unchanged = same && board.version === this.board.version;
    this.board = board;
    if (this.view.label > board.labels.length) this.view.label = 1;
    if (!unchanged) this.tell("board");
  }

  async _load(board) {
    const { epoch, buffer } = await this.api.volume();
    if (epoch !== board.epoch) return this._load(await this.api.state());
    this.volume = new Volume(buffer, board);
    this.changedSlices = [];
    this.map = new Uint8Array(this.volume.slices * this.volume.rows * this.volume.columns);
    this.api.epoch = epoch;
    this.revision = 0;
    const [low, high] = this.volume.isCt ? SOFT_TISSUE : board.window;
    const { slices, rows, columns } = this.volume;
    const middle = [Math.floor(rows / 2), Math.floor(columns / 2)];
    Object.assign(this.view, { low, high, slice: Math.floor(slices / 2), focus: middle, label: 1 });
    this.board = board;
    this.tell("volume");
    await this._fetchSlices();
    const first = this.firstSliceOfInterest();
    if (first !== null) {
      this.view.slice = first;
      this.view.focus = this._middleOf(first) ?? this.view.focus;
    }
    this.tell("view");
  }

  // The middle of the masks of a slice, [row, column]; null where there is none.
  _middleOf(slice) {
    const { columns } = this.volume;
    let [count, rows, across] = [0, 0, 0];
    this.labelsOf(slice).forEach((label, at) => {
      if (!label) return;
      count += 1;
      rows += Math.floor(at / columns);
      across += at % columns;
    });
    return count ? [Math.round(rows / count), Math.round(across / count)] : null;
  }

  firstSliceOfInterest() {
    const layer = this.layer;
    if (!layer) return null;
    return layer.suggested ?? layer.confirmed[0] ?? null;
  }

  async _fetchSlices() {
    const found = await this.api.slices(this.revision);
    if (found.epoch !== this.api.epoch) return;
    const size = this.volume.rows * this.volume.columns;
    found.slices.forEach((slice, at) => {
      this.map.set(found.voxels.subarray(at * size, (at + 1) * size), slice * size);
    });
    this.revision = found.revision;
    this.changedSlices = this._changed.has("map") ? [...this.changedSlices, ...found.slices] : found.slices;
    this.tell("map");
  }

  _failed(error) {
    this.fault = { status: error.status ?? 0, message: error.message };
    this.tell("board");
    if (!(error.status >= 0)) console.error(error);
  }
}
