// All keys of the page, and the help that lists them.

export const KEYS = [
  ["P", "point", (a) => a.tool("click")],
  ["B", "box", (a) => a.tool("box")],
  ["S", "scribble", (a) => a.tool("scribble")],
  ["L", "lasso", (a) => a.tool("lasso")],
  ["X", "four extreme points", (a) => a.tool("extreme points")],
  ["D", "brush: paint by hand", (a) => a.tool("brush")],
  ["T", "positive or negative", (a) => a.sign()],
  ["E", "next label", (a) => a.nextLabel()],
  ["N", "go to the slice to look at next", (a) => a.next()],
  ["C", "confirm the slice", (a) => a.confirm()],
  ["G", "carry to the other slices", (a) => a.carry()],
  ["R", "reset the label", (a) => a.reset()],
  ["O", "show or hide the overlay", (a) => a.overlay()],
  ["W", "next window", (a) => a.preset()],
  ["0", "whole slice", (a) => a.fit()],
  ["+", "zoom in", (a) => a.zoom(1.25)],
  ["-", "zoom out", (a) => a.zoom(0.8)],
  ["[", "smaller brush", (a) => a.size(-0.5)],
  ["]", "larger brush", (a) => a.size(0.5)],
  ["ArrowUp", "slice before", (a) => a.step(-1)],
  ["ArrowDown", "slice after", (a) => a.step(1)],
  ["PageUp", "five slices before", (a) => a.step(-5)],
  ["PageDown", "five slices after", (a) => a.step(5)],
  ["Home", "first slice", (a) => a.step(-Infinity)],
  ["End", "last slice", (a) => a.step(Infinity)],
  ["Escape", "stop drawing or carrying", (a) => a.escape()],
  ["?", "this help", (a) => a.help()],
];
const WITH_CTRL = { z: "undo", y: "redo", s: "save" };
const MORE = [
  ["Ctrl Z", "undo"], ["Ctrl Y", "redo"], ["Ctrl S", "save the label map"], ["Shift", "while drawing: the other sign"],
  ["wheel", "other slices"], ["Ctrl wheel", "zoom"], ["right button", "window: level up and down, width across"],
  ["middle button", "move the slice"], ["Space", "with the left button: move the slice"],
];
const SHOWN = { ArrowUp: "↑", ArrowDown: "↓", PageUp: "Page ↑", PageDown: "Page ↓", Escape: "Esc" };

export function listen(actions, tools) {
  addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    const writes = event.target.matches("input:not([type=checkbox]):not([type=range]), select, textarea");
    if (writes) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.key === " " && !event.target.matches("button, input")) {
      tools.space = true;
      event.preventDefault();
      return;
    }
    if (event.ctrlKey || event.metaKey) {
      const name = event.shiftKey && event.key.toLowerCase() === "z" ? "redo" : WITH_CTRL[event.key.toLowerCase()];
      if (name) {
        event.preventDefault();
        actions[name]();
      }
      return;
    }
    if (event.altKey) return;
    const slider = event.target.matches("input[type=range]") && event.key.startsWith("Arrow");
    const key = event.key === "=" ? "+" : event.key.length === 1 ? event.key.toUpperCase() : event.key;
    const found = !slider && KEYS.find(([name]) => name === key);
    if (found) {
      event.preventDefault();
      found[2](actions);
    }
  });
  addEventListener("keyup", (event) => {
    if (event.key === " ") tools.space = false;
  });
  addEventListener("blur", () => {
    tools.space = false;
  });
}

export function showHelp(dialog) {
  const title = document.createElement("h1"), text = document.createElement("p"), list = document.createElement("div");
  title.textContent = "Keys";
  text.textContent =
    "Draw on one slice, look at the slice that the orange mark suggests, correct it, and repeat. "
    + "Confirmed slices are never changed by others. Every action is kept at once.";
  list.className = "columns";
  for (const [key, does] of [...KEYS, ...MORE]) {
    const row = document.createElement("div"), name = document.createElement("kbd"), what = document.createElement("span");
    name.textContent = SHOWN[key] ?? key;
    what.textContent = does;
    row.append(what, name);
    list.append(row);
  }
  show(dialog, [title, text, list], [["Close", true]]);
}

// Asks before something is lost; gives whether the user agreed.
export function ask(dialog, question, agree) {
  const title = document.createElement("h1"), text = document.createElement("p");
  title.textContent = question;
  text.textContent = "Ctrl+Z brings it back.";
  return show(dialog, [title, text], [["Keep", false], [agree, true]]);
}

function show(dialog, content, answers) {
  const row = document.createElement("div");
  row.className = "actions";
  return new Promise((done) => {
    let answer = false;
    for (const [name, value] of answers) {
      const button = document.createElement("button");
      button.textContent = name;
      button.className = value ? "main" : "";
      button.addEventListener("click", () => {
        answer = value;
        dialog.close();
      });
      row.append(button);
    }
    dialog.replaceChildren(...content, row);
    dialog.onclose = () => done(answer);
    dialog.showModal();
    row.lastChild.focus();
  });
}
