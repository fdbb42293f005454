// Merges of branches; see gpunet/devices/cpu/merge.py.

import { each } from "../elementwise.js";

export function add(a, b, y) {
  add_scaled(a, b, y, { of_a: 1, of_b: 1 });
}

export function add_scaled(a, b, y, { of_a, of_b }) {
  for (let i = 0; i < a.data.length; i++) y.data[i] = of_a * a.data[i] + of_b * b.data[i];
}

export function scaled(x, y, { factor }) {
  each(x, y, (value) => factor * value);
}

// A b of one position an image stands for all of a's.
export function multiply(a, b, y) {
  const [N, H, W, D] = a.shape, size = H * W * D, gate = b.data.length / N;
  for (let n = 0; n < N; n++) {
    for (let i = 0; i < size; i++) y.data[n * size + i] = a.data[n * size + i] * b.data[n * gate + (i % gate)];
  }
}

// NaN in either is the maximum.
export function maximum(a, b, y) {
  for (let i = 0; i < a.data.length; i++) y.data[i] = Math.max(a.data[i], b.data[i]);
}

export function concat_forward(...arrays) {
  const y = arrays[arrays.length - 1], D = y.shape[3], positions = y.data.length / D;
  let first = 0;
  for (const x of arrays.slice(0, -1)) {
    const own = x.shape[3];
    for (let p = 0; p < positions; p++) {
      for (let d = 0; d < own; d++) y.data[p * D + first + d] = x.data[p * own + d];
    }
    first += own;
  }
}
