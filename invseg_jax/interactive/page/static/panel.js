// Buttons, labels, sliders and messages: they show the board, and call the actions.

import { short } from "./slice_view.js";
import { SOFT_TISSUE } from "./store.js";

const element = (id) => document.getElementById(id);
const PRESETS = [
  ["Soft tissue (CT)", ...SOFT_TISSUE], ["Lung (CT)", -1350, 150], ["Bone (CT)", -450, 1050], ["Brain (CT)", 0, 80],
];

export class Panel {
  constructor(store, actions) {
    this.store = store;
    this.actions = actions;
    for (const button of element("tools").querySelectorAll("[data-tool]")) {
      button.addEventListener("click", () => actions.tool(button.dataset.tool));
    }
    for (const name of ["sign", "undo", "redo", "confirm", "next", "carry", "reset", "save", "cancel", "help"]) {
      element(name).addEventListener("click", () => actions[name]());
    }
    element("previous-case").addEventListener("click", () => actions.open(-1));
    element("next-case").addEventListener("click", () => actions.open(1));
    element("import").addEventListener("click", () => element("import-file").click());
    element("import-file").addEventListener("change", (event) => actions.importFile(event.target));
    element("new-label").addEventListener("submit", (event) => {
      event.preventDefault();
      actions.addLabel(element("new-name"));
    });
    element("opacity").addEventListener("input", (event) => store.set({ opacity: event.target.value / 100, overlay: true }));
    element("size").addEventListener("input", (event) => store.set({ size: +event.target.value }));
    element("smooth").addEventListener("change", (event) => store.set({ smooth: event.target.checked }));
    element("auto").addEventListener("change", (event) => store.set({ auto: event.target.checked }));
    element("preset").addEventListener("change", (event) => this._preset(+event.target.value));
    for (const id of ["level", "width"]) element(id).addEventListener("change", () => this._window());
    element("banner").title = "Click to close (Esc)";
    element("banner").addEventListener("click", () => store.dismiss());
    store.on((changed) => this._show(changed));
  }

  _preset(which) {
    const chosen = this.presets[which];
    if (chosen) this.store.set({ low: chosen[1], high: chosen[2] });
  }

  nextPreset() {
    const now = this.presets.findIndex(([, low, high]) => low === this.store.view.low && high === this.store.view.high);
    this._preset((now + 1) % this.presets.length);
  }

  _window() {
    const level = parseFloat(element("level").value), width = parseFloat(element("width").value);
    if (Number.isFinite(level) && width > 0) this.store.set({ low: level - width / 2, high: level + width / 2 });
  }

  _show(changed) {
    const { store } = this, { board, view, fault } = store;
    this._banner(fault);
    if (!board) return;
    if (changed.has("volume")) this._case(board);
    if (changed.has("board") || changed.has("volume") || changed.has("view")) this._labels(board);
    for (const button of element("tools").querySelectorAll("[data-tool]")) {
      button.setAttribute("aria-pressed", button.dataset.tool === view.tool);
    }
    element("sign").setAttribute("aria-pressed", view.positive);
    element("sign-mark").textContent = view.positive ? "+" : "−";
    element("sign-text").textContent = view.positive ? "Positive" : "Negative";
    const layer = store.layer, confirmed = layer?.confirmed.includes(view.slice);
    element("undo").disabled = !board.can_undo;
    element("redo").disabled = !board.can_redo;
    element("confirm").disabled = confirmed;
    element("next").disabled = (layer?.suggested ?? null) === null;
    element("carry").disabled = !layer?.stale.length;
    element("carry").classList.toggle("due", Boolean(layer?.stale.length) && !board.job);
    element("reset").disabled = !layer?.confirmed.length;
    element("auto").checked = view.auto;
    element("opacity").value = Math.round(view.opacity * 100);
    element("size").value = view.size;
    for (const [id, value] of [["level", (view.low + view.high) / 2], ["width", view.high - view.low]]) {
      if (document.activeElement !== element(id)) element(id).value = short(value);
    }
    const preset = this.presets.findIndex(([, low, high]) => low === view.low && high === view.high);
    element("preset").value = preset < 0 ? "" : preset;
    this._work(board.job);
    element("saved").textContent = board.saved ? `saved as ${board.file}` : board.can_undo ? "not saved yet" : "";
  }

  _case(board) {
    const several = board.cases.length > 1;
    element("case-name").textContent = element("case-name").title = board.cases[board.case];
    document.title = `${board.cases[board.case]} · annotate`;
    element("case-count").textContent = several ? `${board.case + 1} of ${board.cases.length}` : "";
    element("method").textContent = board.method;
    element("save").title = `Save the label map as ${board.file} (Ctrl+S)`;
    for (const [id, step] of [["previous-case", -1], ["next-case", 1]]) {
      element(id).hidden = !several;
      element(id).disabled = !board.cases[board.case + step];
    }
    const [low, high] = board.window, { volume } = this.store;
    this.presets = [["As the image", low, high], ...(volume.isCt ? PRESETS : [])];
    const options = this.presets.map(([name], at) => new Option(name, at));
    const own = new Option("Own", "");
    own.hidden = true;
    element("preset").replaceChildren(...options, own);
  }

  _labels(board) {
    const rows = board.labels.map((layer, at) => {
      const label = at + 1, row = document.createElement("li");
      const colour = document.createElement("input"), name = document.createElement("button"), count = document.createElement("span");
      colour.type = "color";
      colour.value = this.store.colour(label);
      colour.title = `Colour of ${layer.name}`;
      colour.setAttribute("aria-label", colour.title);
      colour.addEventListener("change", () => this.actions.colour(label, colour.value));
      name.textContent = layer.name;
      name.title = `Work on ${layer.name} (label ${label})`;
      name.addEventListener("click", () => this.store.set({ label }));
      count.textContent = layer.confirmed.length ? `${layer.confirmed.length} ✓` : "";
      count.title = "confirmed slices";
      row.append(colour, name, count);
      row.setAttribute("aria-current", label === this.store.view.label);
      return row;
    });
    // Rows are made anew only when they differ, so that a colour that is being chosen stays open.
    const text = JSON.stringify([board.labels.map((layer) => [layer.name, layer.confirmed.length]), this.store.view.label, this.store.colours]);
    if (text === this._rows) return;
    this._rows = text;
    element("labels").replaceChildren(...rows);
  }

  _work(job) {
    const bar = element("work-bar");
    element("work-text").textContent = job ? `${job.what} …${job.total ? ` ${job.done} / ${job.total}` : ""}` : "";
    bar.hidden = !job;
    if (job?.total) [bar.max, bar.value] = [job.total, job.done];
    else bar.removeAttribute("value");
    element("cancel").hidden = job?.what !== "carrying";
  }

  _banner(fault) {
    const banner = element("banner");
    banner.hidden = !fault;
    if (!fault) return;
    const refused = fault.status === 403;
    banner.textContent = refused
      ? "This address is not the one of the running server: open the address that the terminal shows."
      : fault.message;
  }
}
