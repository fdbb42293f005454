// Local response normalization over neighbouring maps, or places; see gpunet/devices/cpu/lrn.py.

export function lrn_forward(x, y, { F, maps, alpha, beta, k }) {
  const [N, H, W, D] = x.shape, reach = (F - 1) / 2, near = (maps - 1) / 2;
  const sums = new Float64Array(D);
  for (let n = 0; n < N; n++) {
    for (let i = 0; i < H; i++) {
      for (let j = 0; j < W; j++) {
        squaresAround(x, n, i, j, reach, sums);
        const place = ((n * H + i) * W + j) * D;
        for (let d = 0; d < D; d++) {
          let sum = 0;
          for (let m = Math.max(0, d - near); m <= Math.min(D - 1, d + near); m++) sum += sums[m];
          y.data[place + d] = x.data[place + d] * Math.pow(Math.fround(k + alpha * sum), -beta);
        }
      }
    }
  }
}

// sums (D): of the squares of each map over the places around (i, j) that lie inside.
function squaresAround(x, n, i, j, reach, sums) {
  const [, H, W, D] = x.shape;
  sums.fill(0);
  for (let r = Math.max(0, i - reach); r <= Math.min(H - 1, i + reach); r++) {
    for (let c = Math.max(0, j - reach); c <= Math.min(W - 1, j + reach); c++) {
      const place = ((n * H + r) * W + c) * D;
      for (let d = 0; d < D; d++) sums[d] += x.data[place + d] * x.data[place + d];
    }
  }
}
