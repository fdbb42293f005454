// The matrix product under convolutions and fully connected layers, a tile of 4 x 4 results at a time.

import { hasLanes, laneTile } from "./lanes.js";

const TILE = 4;

// y[p, k] = bias[first + k] + sum over l of a[p, l] * b[k, l], for p below `rows` and k below `filters`.
//
//   a, b    {data, start}: rows of `length` values each, one behind another from data[start]
//   y       {data, start, stride}: row p begins at data[start + p*stride]
//   bias    typed array; null: 0
// At an edge the last row stands in for those that are not there, so that there is one way to make a tile; what it gives
// is not stored.
export function product(a, b, y, rows, filters, length, bias, first) {
  const sums = new Float64Array(TILE * TILE);
  const tile = hasLanes(a.data, b.data) ? laneTile : plainTile;
  for (let k = 0; k < filters; k += TILE) {
    const right = starts(b.start, k, filters, length);
    for (let p = 0; p < rows; p += TILE) {
      tile(sums, a.data, b.data, starts(a.start, p, rows, length), right, length);
      store(sums, y, p, k, rows, filters, bias, first);
    }
  }
}

function starts(start, first, count, length) {
  return [0, 1, 2, 3].map((n) => start + Math.min(first + n, count - 1) * length);
}

// sums[4*p + k] = sum over l of left[rows[p] + l] * right[filters[k] + l], in the order of l.
function plainTile(sums, left, right, [a0, a1, a2, a3], [b0, b1, b2, b3], length) {
  let s00 = 0, s01 = 0, s02 = 0, s03 = 0, s10 = 0, s11 = 0, s12 = 0, s13 = 0;
  let s20 = 0, s21 = 0, s22 = 0, s23 = 0, s30 = 0, s31 = 0, s32 = 0, s33 = 0;
  for (let l = 0; l < length; l++) {
    const u0 = left[a0 + l], u1 = left[a1 + l], u2 = left[a2 + l], u3 = left[a3 + l];
    const v0 = right[b0 + l], v1 = right[b1 + l], v2 = right[b2 + l], v3 = right[b3 + l];
    s00 += u0 * v0; s01 += u0 * v1; s02 += u0 * v2; s03 += u0 * v3;
    s10 += u1 * v0; s11 += u1 * v1; s12 += u1 * v2; s13 += u1 * v3;
    s20 += u2 * v0; s21 += u2 * v1; s22 += u2 * v2; s23 += u2 * v3;
    s30 += u3 * v0; s31 += u3 * v1; s32 += u3 * v2; s33 += u3 * v3;
  }
  sums.set([s00, s01, s02, s03, s10, s11, s12, s13, s20, s21, s22, s23, s30, s31, s32, s33]);
}

function store(sums, y, p, k, rows, filters, bias, first) {
  for (let n = 0; n < TILE && p + n < rows; n++) {
    const place = y.start + (p + n) * y.stride + k;
    for (let m = 0; m < TILE && k + m < filters; m++) {
      y.data[place + m] = sums[TILE * n + m] + (bias === null ? 0 : bias[first + k + m]);
    }
  }
}

// y[k] = bias[k] + sum over l of a[l] * b[k, l]: one row, four filters at a time.
export function rowProduct(a, b, y, filters, length, bias) {
  for (let k = 0; k < filters; k += TILE) {
    const [b0, b1, b2, b3] = starts(0, k, filters, length);
    let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (let l = 0; l < length; l++) {
      const u = a[l];
      s0 += u * b[b0 + l]; s1 += u * b[b1 + l]; s2 += u * b[b2 + l]; s3 += u * b[b3 + l];
    }
    const sums = [s0, s1, s2, s3];
    for (let m = 0; m < TILE && k + m < filters; m++) y[k + m] = sums[m] + (bias === null ? 0 : bias[k + m]);
  }
}
