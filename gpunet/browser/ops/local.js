// Convolution whose filters are not shared: each position has its own. See gpunet/devices/cpu/local.py.

import { rowProduct } from "../product.js";
import { inside } from "../windows.js";

export function local_forward(x, w, b, y, columns, { F, S, P }) {
  const [N, H, W, D] = x.shape, [, H2, W2, K] = y.shape;
  const length = F * F * D, window = new Float32Array(length);
  for (let n = 0; n < N; n++) {
    for (let i = 0; i < H2; i++) {
      const [top, bottom] = inside(i, H, F, S, P);
      for (let j = 0; j < W2; j++) {
        const [left, right] = inside(j, W, F, S, P);
        window.fill(0);
        for (let r = top; r < bottom; r++) {
          const from = ((n * H + i * S - P + r) * W + j * S - P + left) * D;
          window.set(x.data.subarray(from, from + (right - left) * D), (r * F + left) * D);
        }
        const place = i * W2 + j, output = ((n * H2 + i) * W2 + j) * K;
        const filters = w.data.subarray(place * K * length, (place + 1) * K * length);
        const bias = b && b.data.subarray(place * K, (place + 1) * K);
        rowProduct(window, filters, y.data.subarray(output, output + K), K, length, bias);
      }
    }
  }
}
