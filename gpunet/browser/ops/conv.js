// Convolution: some rows of the im2col matrix at a time, and one product each; groups of one map go without a matrix.
// See gpunet/devices/cpu/conv.py.

import { scratch } from "../lanes.js";
import { product } from "../product.js";
import { inside } from "../windows.js";

const MATRIX_VALUES = 1 << 17; // of the matrix that is made at once: 512 KiB stay near the processor

export function conv_forward(x, w, b, y, columns, workspace, numbers) {
  const groups = x.shape[3] / w.shape[3];
  if (w.shape[3] === 1 && groups > 1) return depthwise(x, w, b, y, numbers);
  for (let group = 0; group < groups; group++) convolveGroup(x, w, b, y, numbers, group, groups);
}

function convolveGroup(x, w, b, y, numbers, group, groups) {
  const [N, H2, W2, K] = y.shape, [, FH, FW, maps] = w.shape;
  const length = FH * FW * maps, filters = K / groups, first = group * filters;
  const positions = N * H2 * W2;
  const rows = Math.min(positions, Math.max(4, 4 * Math.floor(MATRIX_VALUES / length / 4)));
  const plain = groups === 1 && isProduct(x, w, y, numbers);
  const matrix = plain ? null : scratch(rows * length, x.data.buffer);
  for (let start = 0; start < positions; start += rows) {
    const count = Math.min(rows, positions - start);
    if (!plain) gather(x, y, w, numbers, group * maps, start, count, matrix);
    const a = plain ? { data: x.data, start: start * length } : { data: matrix, start: 0 };
    const target = { data: y.data, start: start * K + first, stride: K };
    product(a, { data: w.data, start: first * length }, target, count, filters, length, b && b.data, first);
  }
}

// Whether x itself is the im2col matrix: filters of 1 x 1 that see every position once.
function isProduct(x, w, y, { S_rows, S_columns, P_top, P_left }) {
  const one = w.shape[1] === 1 && w.shape[2] === 1 && S_rows === 1 && S_columns === 1 && P_top === 0 && P_left === 0;
  return one && x.shape[1] === y.shape[1] && x.shape[2] === y.shape[2];
}

// matrix (count, FH*FW*maps): the windows of the positions from `start` on, the maps from `map` on; zeros outside of x.
function gather(x, y, w, numbers, map, start, count, matrix) {
  const { S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns } = numbers;
  const [, H, W, D] = x.shape, [, H2, W2] = y.shape, [, FH, FW, maps] = w.shape;
  const length = FH * FW * maps;
  matrix.fill(0, 0, count * length);
  for (let p = 0; p < count; p++) {
    const position = start + p, j = position % W2, i = Math.floor(position / W2) % H2;
    const n = Math.floor(position / W2 / H2);
    const [top, bottom] = inside(i, H, FH, S_rows, P_top, dilation_rows);
    const [left, right] = inside(j, W, FW, S_columns, P_left, dilation_columns);
    for (let r = top; r < bottom; r++) {
      const row = (n * H + i * S_rows - P_top + r * dilation_rows) * W;
      for (let c = left; c < right; c++) {
        const from = (row + j * S_columns - P_left + c * dilation_columns) * D + map;
        const to = p * length + (r * FW + c) * maps;
        for (let d = 0; d < maps; d++) matrix[to + d] = x.data[from + d];
      }
    }
  }
}

// Groups of one map: every map has K/D filters of its own.
function depthwise(x, w, b, y, { S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns }) {
  const [N, H, W, D] = x.shape, [, H2, W2, K] = y.shape, [, FH, FW] = w.shape;
  const each = K / D, sums = new Float64Array(K);
  for (let n = 0; n < N; n++) {
    for (let i = 0; i < H2; i++) {
      const [top, bottom] = inside(i, H, FH, S_rows, P_top, dilation_rows);
      for (let j = 0; j < W2; j++) {
        const [left, right] = inside(j, W, FW, S_columns, P_left, dilation_columns);
        if (b === null) sums.fill(0);
        else sums.set(b.data);
        for (let r = top; r < bottom; r++) {
          const row = (n * H + i * S_rows - P_top + r * dilation_rows) * W + j * S_columns - P_left;
          for (let c = left; c < right; c++) {
            const from = (row + c * dilation_columns) * D, weight = r * FW + c;
            for (let k = 0; k < K; k++) sums[k] += x.data[from + Math.floor(k / each)] * w.data[k * FH * FW + weight];
          }
        }
        y.data.set(sums, ((n * H2 + i) * W2 + j) * K);
      }
    }
  }
}
