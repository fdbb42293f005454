// Weights as they lie in the page, base64 in pieces: the beginning of the arena, or 8 bits a weight and a scale a map.

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const VALUES = new Uint8Array(128);
for (let i = 0; i < 64; i++) VALUES[LETTERS.charCodeAt(i)] = i;

// Decodes a text of base64 into `bytes` from `start` on; returns where it ends.
export function decode(text, bytes, start) {
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  const whole = (text.length >> 2) * 3 - padding, end = start + whole;
  for (let i = 0, place = start; i < text.length; i += 4) {
    const four =
      (VALUES[text.charCodeAt(i)] << 18) | (VALUES[text.charCodeAt(i + 1)] << 12) |
      (VALUES[text.charCodeAt(i + 2)] << 6) | VALUES[text.charCodeAt(i + 3)];
    bytes[place++] = four >> 16;
    if (place < end) bytes[place++] = four >> 8;
    if (place < end) bytes[place++] = four;
  }
  return end;
}

// Collects the pieces and puts the weights into a program's arena.
export class Weights {
  // about  {bytes, packed}; packed: [{tensor, filters}] of weights in 8 bits and, with filters 0, of those in float32,
  //        which lie one behind another, each from a multiple of four on; null: it is the arena's beginning as it is
  constructor(about, program) {
    this.about = about;
    this.program = program;
    this.bytes = about.packed ? new Uint8Array(about.bytes) : new Uint8Array(program.arena, 0, about.bytes);
    this.filled = 0;
  }

  // Takes the next piece; returns how much there is now, of 1.
  take(text) {
    this.filled = decode(text, this.bytes, this.filled);
    return this.filled / this.about.bytes;
  }

  // To be called behind the last piece. Throws where some are missing.
  finish() {
    if (this.filled !== this.about.bytes) throw new Error("the file is damaged: weights are missing");
    if (this.about.packed) this.unpack();
    this.bytes = null;
  }

  unpack() {
    let place = 0;
    const after = (bytes) => {
      const start = place;
      place += Math.ceil(bytes / 4) * 4;
      return start;
    };
    for (const { tensor, filters } of this.about.packed) {
      const target = this.program.tensors[tensor].data;
      const scales = new Float32Array(this.bytes.buffer, after(4 * (filters || target.length)), filters || target.length);
      if (!filters) {
        target.set(scales);
        continue;
      }
      const steps = new Int8Array(this.bytes.buffer, after(target.length), target.length);
      const length = target.length / filters;
      for (let i = 0; i < target.length; i++) target[i] = steps[i] * scales[Math.floor(i / length)];
    }
  }
}
