// Puts the page together, and says what each button and key does.

import { Api, takeToken } from "./api.js";
import { Context } from "./context.js";
import { ask, listen, showHelp } from "./keys.js";
import { Panel } from "./panel.js";
import { SliceView } from "./slice_view.js";
import { Store } from "./store.js";
import { Strip } from "./strip.js";
import { Tools } from "./tools.js";

const element = (id) => document.getElementById(id);
const store = new Store(new Api(takeToken()));
const view = new SliceView(element("slice"), store);
const tools = new Tools(view, store);
new Strip(element("strip"), store);
new Context(element("context"), store);

const dialog = element("keys");
const actions = {
  tool: (tool) => store.set({ tool }),
  sign: () => store.set({ positive: !store.view.positive }),
  nextLabel: () => store.set({ label: (store.view.label % store.board.labels.length) + 1 }),
  next() {
    const suggested = store.layer?.suggested ?? null;
    if (suggested !== null) store.goTo(suggested);
  },
  confirm() {
    const { slice, label, auto } = store.view;
    if (!store.layer.confirmed.includes(slice)) {
      return store.act((api) => api.do("confirm", { index: slice, label, carry: auto }));
    }
  },
  carry() {
    if (store.layer?.stale.length) return store.act((api) => api.do("carry", { label: store.view.label }));
  },
  async reset() {
    const { label } = store.view;
    if (!store.layer.confirmed.length) return;
    if (await ask(dialog, `Reset ${store.layer.name}?`, "Reset")) await store.act((api) => api.do("clear", { label }));
  },
  undo: () => store.board?.can_undo && store.act((api) => api.do("undo")),
  redo: () => store.board?.can_redo && store.act((api) => api.do("redo")),
  save: () => store.act((api) => api.do("save")),
  cancel: () => store.api.cancel().then((board) => store.apply(board)).catch(() => {}),
  async open(step) {
    const { board } = store;
    if (board.can_undo && !board.saved && !(await actions.save())) return;
    await store.act((api) => api.do("open", { case: board.case + step }));
  },
  overlay: () => store.set({ overlay: !store.view.overlay }),
  preset: () => panel.nextPreset(),
  fit: () => view.fit(),
  zoom: (factor) => view.zoomBy(factor),
  size: (step) => store.set({ size: Math.max(0.5, Math.min(20, store.view.size + step)) }),
  step: (step) => store.goTo(Math.max(-1e6, Math.min(1e6, store.view.slice + step))),
  escape() {
    store.dismiss();
    if (!tools.stop() && store.board?.job?.what === "carrying") actions.cancel();
  },
  help: () => showHelp(dialog),
  async addLabel(input) {
    const name = input.value.trim();
    if (name && (await store.act((api) => api.do("add_label", { name })))) {
      input.value = "";
      store.set({ label: store.board.labels.length });
    }
  },
  async importFile(input) {
    const [file] = input.files;
    if (file) await store.act((api) => api.importLabels(file));
    input.value = "";
  },
  colour(label, colour) {
    store.colours[(label - 1) % store.colours.length] = colour;
    localStorage.setItem("invseg-colours", JSON.stringify(store.colours));
    view.draw();
    store.set({});
  },
};
const panel = new Panel(store, actions);
listen(actions, tools);
try {
  const kept = JSON.parse(localStorage.getItem("invseg-colours"));
  if (kept?.length === store.colours.length && kept.every((one) => /^#[0-9a-f]{6}$/.test(one))) store.colours = kept;
} catch { /* the colours of before cannot be read */ }
store.poll();
element("slice").focus();
