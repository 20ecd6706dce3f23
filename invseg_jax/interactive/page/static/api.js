// The calls of the server. The token comes in the address, after "#", and is sent with every call.

const KEY = "invseg-token";

export function takeToken() {
  const found = /[#&]token=([\w-]+)/.exec(location.hash);
  if (found) {
    sessionStorage.setItem(KEY, found[1]);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(KEY) ?? "";
}

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export class Api {
  constructor(token) {
    this.token = token;
    this.epoch = "";
  }

  async call(path, options = {}) {
    let answer;
    try {
      answer = await fetch(path, {
        ...options,
        headers: { "x-invseg-token": this.token, ...options.headers },
        cache: "no-store",
        credentials: "omit",
      });
    } catch {
      throw new Refused(0, "The server does not answer. Start the same command again: nothing is lost.");
    }
    if (answer.ok) return answer;
    const text = await answer.text();
    let message = text;
    try {
      message = JSON.parse(text).error;
    } catch { /* a plain text */ }
    throw new Refused(answer.status, message || `the server answers ${answer.status}`);
  }

  async state() {
    return (await this.call("/api/state")).json();
  }

  // The image: its epoch and the bytes of a NIfTI file.
  async volume() {
    const answer = await this.call("/api/volume");
    return { epoch: answer.headers.get("x-epoch"), buffer: await answer.arrayBuffer() };
  }

  // The slices that changed since a revision: {epoch, revision, slices} and their voxels in a row.
  async slices(since) {
    const buffer = await (await this.call(`/api/slices?since=${since}`)).arrayBuffer();
    const length = new DataView(buffer).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    return { ...header, voxels: new Uint8Array(buffer, 4 + length) };
  }

  async do(action, values = {}) {
    const body = JSON.stringify({ do: action, epoch: this.epoch, ...values });
    return (await this.call("/api/do", { method: "POST", body })).json();
  }

  // A slice set by hand: one bit for each voxel.
  async paint(mask, index, label, carry) {
    const bits = new Uint8Array(Math.ceil(mask.length / 8));
    mask.forEach((inside, at) => {
      if (inside) bits[at >> 3] |= 128 >> (at & 7);
    });
    const query = new URLSearchParams({ epoch: this.epoch, index, label, carry: carry ? 1 : 0 });
    return (await this.call(`/api/paint?${query}`, { method: "POST", body: bits })).json();
  }

  async importLabels(file) {
    const query = new URLSearchParams({ epoch: this.epoch });
    return (await this.call(`/api/import?${query}`, { method: "POST", body: file })).json();
  }

  async cancel() {
    return (await this.call("/api/cancel", { method: "POST" })).json();
  }
}
