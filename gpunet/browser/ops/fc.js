// Fully connected layers; see gpunet/devices/cpu/fc.py.

import { rowProduct } from "../product.js";

export function fc_forward(x, w, b, y, workspace) {
  const [K, inputs] = w.shape;
  for (let n = 0; n < x.shape[0]; n++) {
    const row = x.data.subarray(n * inputs, (n + 1) * inputs), scores = y.data.subarray(n * K, (n + 1) * K);
    rowProduct(row, w.data, scores, K, inputs, b && b.data);
  }
}
