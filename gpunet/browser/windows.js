// Windows of convolutions and pools: which of their places lie inside the volume.

// Of window i along one axis, F places `dilation` apart that move S at a time from P in front: the places [first, last)
// that lie inside 0..size.
export function inside(i, size, F, S, P, dilation = 1) {
  const start = i * S - P;
  const first = start >= 0 ? 0 : Math.min(F, Math.ceil(-start / dilation));
  const last = Math.max(first, Math.min(F, Math.ceil((size - start) / dilation)));
  return [first, last];
}

// Goes through the windows of a pool, x (N, H, W, D) to y (N, H2, W2, D). For each: begin(output, D), then
// add(output, input, D) for every place that lies inside x, in row-major order, then end(output, D, i, j). `output` and
// `input` are where the D values of a position begin in the data.
export function eachWindow(x, y, { F_rows, F_columns, S_rows, S_columns, P_top, P_left }, begin, add, end) {
  const [N, H, W, D] = x.shape, [, H2, W2] = y.shape;
  for (let n = 0; n < N; n++) {
    for (let i = 0; i < H2; i++) {
      const [top, bottom] = inside(i, H, F_rows, S_rows, P_top);
      for (let j = 0; j < W2; j++) {
        const [left, right] = inside(j, W, F_columns, S_columns, P_left);
        const output = ((n * H2 + i) * W2 + j) * D;
        begin(output, D);
        for (let r = top; r < bottom; r++) {
          const row = (n * H + i * S_rows - P_top + r) * W + j * S_columns - P_left;
          for (let c = left; c < right; c++) add(output, (row + c) * D, D);
        }
        end(output, D, i, j);
      }
    }
  }
}

// The numbers of a square pool as eachWindow takes them.
export function square({ F, S, P }) {
  return { F_rows: F, F_columns: F, S_rows: S, S_columns: S, P_top: P, P_left: P };
}
