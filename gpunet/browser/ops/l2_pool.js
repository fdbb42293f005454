// L2-norm pooling; see gpunet/devices/cpu/l2_pool.py.

import { eachWindow, square } from "../windows.js";

export function l2_pool_forward(x, y, numbers) {
  l2_pool_by_axis_forward(x, y, square(numbers));
}

export function l2_pool_by_axis_forward(x, y, numbers) {
  const D = x.shape[3], sums = new Float64Array(D);
  const add = (output, input) => {
    for (let d = 0; d < D; d++) sums[d] += Math.fround(x.data[input + d] * x.data[input + d]); // may overflow, as float32
  };
  const end = (output) => {
    for (let d = 0; d < D; d++) y.data[output + d] = Math.sqrt(Math.fround(sums[d]));
  };
  eachWindow(x, y, numbers, () => sums.fill(0), add, end);
}
