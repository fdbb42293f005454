// Max pooling; a NaN in a window is its maximum. See gpunet/devices/cpu/pool.py.

import { eachWindow, square } from "../windows.js";

export function max_pool_infer(x, y, numbers) {
  max_pool_by_axis_infer(x, y, square(numbers));
}

export function max_pool_by_axis_infer(x, y, numbers) {
  const begin = (output, D) => y.data.fill(-Infinity, output, output + D);
  const add = (output, input, D) => {
    for (let d = 0; d < D; d++) {
      const value = x.data[input + d], best = y.data[output + d];
      if (!(value <= best) && best === best) y.data[output + d] = value;
    }
  };
  eachWindow(x, y, numbers, begin, add, () => {});
}
