// The image: int16 voxels of slices, and how a slice lies on the screen.
//
// On the screen the patient's right is on the left, as radiologists look at slices; front or head
// is up. Where head and feet are neither up nor down, front is up.

const AXES = { R: "x", L: "x", A: "y", P: "y", S: "z", I: "z" };
const OPPOSITE = { R: "L", L: "R", A: "P", P: "A", S: "I", I: "S" };
const TOWARDS_RIGHT = "LP", TOWARDS_BOTTOM = "PI";
export const PLANES = { x: "sagittal", y: "coronal", z: "axial" };

export class Volume {
  // buffer: a NIfTI file of int16, little-endian; board: of the server.
  constructor(buffer, board) {
    const header = new DataView(buffer);
    this.buffer = buffer;
    [this.slices, this.rows, this.columns] = board.shape;
    this.slope = header.getFloat32(112, true);
    this.intercept = header.getFloat32(116, true);
    this.voxels = new Int16Array(buffer, 352, this.slices * this.rows * this.columns);
    this.spacing = board.spacing;
    this.codes = board.codes;
    this.plane = PLANES[AXES[this.codes[0]]] ?? "";
    this._place();
  }

  _place() {
    const [, rowCode, columnCode] = this.codes;
    const [, rowMm, columnMm] = this.spacing;
    const acrossIsColumn = AXES[columnCode] === "x" || (AXES[rowCode] !== "x" && AXES[columnCode] === "y");
    const across = acrossIsColumn ? columnCode : rowCode;
    const down = acrossIsColumn ? rowCode : columnCode;
    const right = TOWARDS_RIGHT.includes(across) ? 1 : -1;
    const bottom = TOWARDS_BOTTOM.includes(down) ? 1 : -1;
    // From (column + 0.5, row + 0.5) to millimetres on the screen.
    this.matrix = acrossIsColumn
      ? new DOMMatrix([right * columnMm, 0, 0, bottom * rowMm, 0, 0])
      : new DOMMatrix([0, bottom * columnMm, right * rowMm, 0, 0, 0]);
    const width = acrossIsColumn ? this.columns * columnMm : this.rows * rowMm;
    const height = acrossIsColumn ? this.rows * rowMm : this.columns * columnMm;
    this.matrix = new DOMMatrix([1, 0, 0, 1, right < 0 ? width : 0, bottom < 0 ? height : 0]).multiply(this.matrix);
    this.size = [width, height];
    const toRight = right > 0 ? across : OPPOSITE[across];
    const toBottom = bottom > 0 ? down : OPPOSITE[down];
    this.sides = { right: toRight, left: OPPOSITE[toRight], bottom: toBottom, top: OPPOSITE[toBottom] };
  }

  // Whether the intensities look like Hounsfield units: air is -1000.
  get isCt() {
    return -32768 * this.slope + this.intercept <= -900;
  }

  value(slice, row, column) {
    return this.voxels[(slice * this.rows + row) * this.columns + column] * this.slope + this.intercept;
  }

  // A slice as pixels, from black at `low` to white at `high`.
  pixels(slice, low, high) {
    const size = this.rows * this.columns;
    const from = this.voxels.subarray(slice * size, (slice + 1) * size);
    const image = new ImageData(this.columns, this.rows);
    const to = new Uint32Array(image.data.buffer);
    const grey = this._greys(low, high);
    for (let at = 0; at < size; at++) to[at] = grey[from[at] + 32768];
    return image;
  }

  _greys(low, high) {
    if (this._low === low && this._high === high) return this._table;
    this._table ??= new Uint32Array(65536);
    const scale = 255 / Math.max(high - low, 1e-12);
    for (let level = 0; level < 65536; level++) {
      const value = ((level - 32768) * this.slope + this.intercept - low) * scale;
      const grey = value <= 0 ? 0 : value >= 255 ? 255 : Math.round(value);
      this._table[level] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
    }
    [this._low, this._high] = [low, high];
    return this._table;
  }
}
