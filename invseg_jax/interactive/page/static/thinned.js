// A coarser copy of the image for the other two planes, where the whole would be too much.

// What a graphics card holds and draws at once; without one, the processor draws.
const MOST_VOXELS = 40e6, MOST_WITHOUT_CARD = 2.5e6;

export function isSoftware(gl) {
  const names = gl.getExtension("WEBGL_debug_renderer_info");
  const name = names ? gl.getParameter(names.UNMASKED_RENDERER_WEBGL) : "";
  return /swiftshader|llvmpipe|software|basic render/i.test(name);
}

// Every how many rows and columns are kept; all slices are.
export function strideFor(volume, software) {
  const most = software ? MOST_WITHOUT_CARD : MOST_VOXELS;
  return Math.max(1, Math.ceil(Math.sqrt((volume.slices * volume.rows * volume.columns) / most)));
}

// A NIfTI file of every stride-th row and column: {buffer, rows, columns}.
export function thinned(volume, stride) {
  const rows = Math.ceil(volume.rows / stride), columns = Math.ceil(volume.columns / stride);
  if (stride === 1) return { buffer: volume.buffer.slice(0), rows, columns };
  const buffer = new ArrayBuffer(352 + volume.slices * rows * columns * 2);
  new Uint8Array(buffer).set(new Uint8Array(volume.buffer, 0, 352));
  const header = new DataView(buffer);
  header.setInt16(42, columns, true);
  header.setInt16(44, rows, true);
  for (const at of [80, 84]) header.setFloat32(at, header.getFloat32(at, true) * stride, true);
  for (const row of [280, 296, 312]) {
    // The first voxel stays where it is.
    for (const at of [row, row + 4]) header.setFloat32(at, header.getFloat32(at, true) * stride, true);
  }
  const to = new Int16Array(buffer, 352);
  let at = 0;
  for (let slice = 0; slice < volume.slices; slice++) {
    for (let row = 0; row < volume.rows; row += stride) {
      const from = (slice * volume.rows + row) * volume.columns;
      for (let column = 0; column < volume.columns; column += stride) to[at++] = volume.voxels[from + column];
    }
  }
  return { buffer, rows, columns };
}
