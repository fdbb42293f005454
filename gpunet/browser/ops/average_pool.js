// Average pooling, and averages of parts of maps. See gpunet/devices/cpu/average_pool.py and by_axis.py there.

import { eachWindow, square } from "../windows.js";

export function average_pool_forward(x, y, numbers) {
  average_pool_by_axis_forward(x, y, { ...square(numbers), top: 0, bottom: 0, left: 0, right: 0 });
}

export function average_pool_by_axis_forward(x, y, numbers) {
  const { F_rows, F_columns, S_rows, S_columns, P_top, P_left, top, bottom, left, right } = numbers;
  const [, H, W, D] = x.shape, sums = new Float64Array(D);
  const along = (i, size, F, S, P, before, after) => Math.min(i * S - P + F, size + after) - Math.max(i * S - P, -before);
  const add = (output, input) => {
    for (let d = 0; d < D; d++) sums[d] += x.data[input + d];
  };
  const end = (output, _, i, j) => {
    const rows = along(i, H, F_rows, S_rows, P_top, top, bottom);
    const count = rows * along(j, W, F_columns, S_columns, P_left, left, right);
    for (let d = 0; d < D; d++) y.data[output + d] = sums[d] / count;
  };
  eachWindow(x, y, numbers, () => sums.fill(0), add, end);
}

// Part i of an axis is floor(i*H/H2) up to ceil((i + 1)*H/H2).
export function adaptive_pool_forward(x, y) {
  const [N, H, W, D] = x.shape, [, H2, W2] = y.shape, sums = new Float64Array(D);
  for (let n = 0; n < N; n++) {
    for (let i = 0; i < H2; i++) {
      const top = Math.floor((i * H) / H2), bottom = Math.ceil(((i + 1) * H) / H2);
      for (let j = 0; j < W2; j++) {
        const left = Math.floor((j * W) / W2), right = Math.ceil(((j + 1) * W) / W2);
        sums.fill(0);
        for (let r = top; r < bottom; r++) {
          for (let c = left; c < right; c++) {
            for (let d = 0; d < D; d++) sums[d] += x.data[((n * H + r) * W + c) * D + d];
          }
        }
        const output = ((n * H2 + i) * W2 + j) * D, count = (bottom - top) * (right - left);
        for (let d = 0; d < D; d++) y.data[output + d] = sums[d] / count;
      }
    }
  }
}
