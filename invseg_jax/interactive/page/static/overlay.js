// Masks and prompts over a slice. What is positive and negative differs in colour and in shape.

const GOOD = "#3ddc97", BAD = "#ff6b6b";

// The borders of the labels of each slice as paths, made when they are first needed.
export class Outlines {
  constructor() {
    this.paths = new Map();
  }

  clear() {
    this.paths.clear();
  }

  // Map from label to a Path2D of its border, in (column, row) of voxel corners.
  of(store, slice) {
    if (!this.paths.has(slice)) {
      if (this.paths.size > 200) this.paths.clear();
      this.paths.set(slice, outlines(store.labelsOf(slice), store.volume.rows, store.volume.columns));
    }
    return this.paths.get(slice);
  }
}

function outlines(labels, rows, columns) {
  const paths = new Map();
  const edge = (label, x0, y0, x1, y1) => {
    if (!paths.has(label)) paths.set(label, new Path2D());
    const path = paths.get(label);
    path.moveTo(x0, y0);
    path.lineTo(x1, y1);
  };
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const label = labels[row * columns + column];
      if (!label) continue;
      const at = row * columns + column;
      if (!row || labels[at - columns] !== label) edge(label, column, row, column + 1, row);
      if (row === rows - 1 || labels[at + columns] !== label) edge(label, column, row + 1, column + 1, row + 1);
      if (!column || labels[at - 1] !== label) edge(label, column, row, column, row + 1);
      if (column === columns - 1 || labels[at + 1] !== label) edge(label, column + 1, row, column + 1, row + 1);
    }
  }
  return paths;
}

const fill = document.createElement("canvas");

export function drawMask(context, matrix, store, cache) {
  const { volume, view } = store;
  const paths = cache.of(store, view.slice);
  if (!paths.size) return;
  if (view.opacity > 0) {
    fill.width = volume.columns;
    fill.height = volume.rows;
    const image = new ImageData(volume.columns, volume.rows);
    const to = new Uint32Array(image.data.buffer);
    const colours = new Map([...paths.keys()].map((label) => [label, pixel(store.colour(label))]));
    store.labelsOf(view.slice).forEach((label, at) => {
      if (label) to[at] = colours.get(label);
    });
    fill.getContext("2d").putImageData(image, 0, 0);
    context.setTransform(matrix);
    context.globalAlpha = view.opacity;
    context.imageSmoothingEnabled = false;
    context.drawImage(fill, 0, 0);
    context.globalAlpha = 1;
  }
  // The border keeps its width at every zoom.
  context.setTransform(1, 0, 0, 1, 0, 0);
  for (const [label, path] of paths) {
    const placed = new Path2D();
    placed.addPath(path, matrix);
    context.strokeStyle = store.colour(label);
    context.lineWidth = (label === view.label ? 2 : 1.25) * devicePixelRatio;
    context.lineCap = "round";
    context.stroke(placed);
  }
}

function pixel(colour) {
  const value = parseInt(colour.slice(1), 16);
  return (0xff000000 | ((value & 255) << 16) | (value & 0xff00) | (value >> 16)) >>> 0;
}

// A prompt in terms of JSON, as the server has it.
export function drawPrompt(context, view, prompt, faint = false) {
  const points = prompt.points.map((point) => view.toScreen(point));
  const unit = devicePixelRatio;
  const colour = prompt.positive ? GOOD : BAD;
  context.save();
  context.globalAlpha = faint ? 0.8 : 1;
  context.lineJoin = context.lineCap = "round";
  const path = new Path2D();
  if (prompt.kind === "click" || prompt.kind === "extreme points") {
    for (const [x, y] of points) {
      path.moveTo(x + 5 * unit, y);
      path.arc(x, y, 5 * unit, 0, 7);
      path.moveTo(x - 2.5 * unit, y);
      path.lineTo(x + 2.5 * unit, y);
      if (prompt.positive) {
        path.moveTo(x, y - 2.5 * unit);
        path.lineTo(x, y + 2.5 * unit);
      }
    }
  } else if (prompt.kind === "box") {
    // The corners of the drawn rectangle are voxels inside of the box: the line runs around them.
    const rows = prompt.points.map((point) => point[0]), columns = prompt.points.map((point) => point[1]);
    const corner = (row, column) => view.toScreen([row, column]);
    const [r0, r1] = [Math.min(...rows) - 0.5, Math.max(...rows) + 0.5];
    const [c0, c1] = [Math.min(...columns) - 0.5, Math.max(...columns) + 0.5];
    [corner(r0, c0), corner(r0, c1), corner(r1, c1), corner(r1, c0)].forEach(([x, y], at) => {
      if (at) path.lineTo(x, y);
      else path.moveTo(x, y);
    });
    path.closePath();
  } else {
    points.forEach(([x, y], at) => {
      if (at) path.lineTo(x, y);
      else path.moveTo(x, y);
    });
    if (points.length === 1) path.lineTo(points[0][0] + 0.1, points[0][1]);
    if (prompt.kind === "lasso") path.closePath();
  }
  if (!prompt.positive && prompt.kind !== "click") context.setLineDash([6 * unit, 5 * unit]);
  if (prompt.kind === "scribble") {
    context.globalAlpha = faint ? 0.45 : 0.7;
    context.strokeStyle = colour;
    context.lineWidth = Math.max(2 * unit, 2 * (prompt.radius ?? 1) * view.voxel);
    context.stroke(path);
  } else {
    context.strokeStyle = "#000a";
    context.lineWidth = 3.5 * unit;
    context.stroke(path);
    context.strokeStyle = colour;
    context.lineWidth = 1.75 * unit;
    context.stroke(path);
  }
  context.restore();
}
