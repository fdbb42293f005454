// The matrix product under convolutions and fully connected layers, 4 x 4 results at a time.

const TILE = 4;

// y[p, k] = bias[k] + sum over l of a[p, l] * b[k, l], for p below `rows` and k below `filters`.
//
//   a, b    {data, start}: rows of `length` values each, one behind another from data[start]
//   y       {data, start, stride}: row p begins at data[start + p*stride]
//   bias    typed array, bias[start of b's filters + k] through `first`; null: 0
// Sums are doubles, in the order of l. At an edge the last row stands in for those that are not there, so that there is
// one loop for all; what it gives is not stored.
export function product(a, b, y, rows, filters, length, bias, first) {
  for (let k = 0; k < filters; k += TILE) {
    for (let p = 0; p < rows; p += TILE) {
      tile(a, b, y, p, k, rows, filters, length, bias, first);
    }
  }
}

function tile(a, b, y, p, k, rows, filters, length, bias, first) {
  const left = a.data, right = b.data;
  const row = (n) => a.start + Math.min(p + n, rows - 1) * length;
  const filter = (n) => b.start + Math.min(k + n, filters - 1) * length;
  const a0 = row(0), a1 = row(1), a2 = row(2), a3 = row(3);
  const b0 = filter(0), b1 = filter(1), b2 = filter(2), b3 = filter(3);
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
  store(y, p, k, rows, filters, bias, first, 0, s00, s01, s02, s03);
  store(y, p, k, rows, filters, bias, first, 1, s10, s11, s12, s13);
  store(y, p, k, rows, filters, bias, first, 2, s20, s21, s22, s23);
  store(y, p, k, rows, filters, bias, first, 3, s30, s31, s32, s33);
}

function store(y, p, k, rows, filters, bias, first, n, s0, s1, s2, s3) {
  if (p + n >= rows) return;
  const place = y.start + (p + n) * y.stride + k;
  const sums = [s0, s1, s2, s3];
  for (let m = 0; m < TILE && k + m < filters; m++) {
    y.data[place + m] = sums[m] + (bias === null ? 0 : bias[first + k + m]);
  }
}

// y[k] = bias[k] + sum over l of a[l] * b[k, l]: one row, four filters at a time.
export function rowProduct(a, b, y, filters, length, bias) {
  for (let k = 0; k < filters; k += TILE) {
    const filter = (n) => Math.min(k + n, filters - 1) * length;
    const b0 = filter(0), b1 = filter(1), b2 = filter(2), b3 = filter(3);
    let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (let l = 0; l < length; l++) {
      const u = a[l];
      s0 += u * b[b0 + l]; s1 += u * b[b1 + l]; s2 += u * b[b2 + l]; s3 += u * b[b3 + l];
    }
    const sums = [s0, s1, s2, s3];
    for (let m = 0; m < TILE && k + m < filters; m++) y[k + m] = sums[m] + (bias === null ? 0 : bias[k + m]);
  }
}
