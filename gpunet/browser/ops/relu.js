// ReLU and its leaky kin; NaN stays NaN. See gpunet/devices/cpu/relu.py, leaky_relu.py and by_map.py there.

import { each } from "../elementwise.js";

export function relu_forward(x, y) {
  each(x, y, (value) => (value <= 0 ? 0 : value));
}

export function leaky_relu_forward(x, y, { alpha }) {
  each(x, y, (value) => (value > 0 ? value : alpha * value));
}

// a has a slope for each map, or one for all.
export function prelu_forward(x, a, y) {
  const slopes = a.data;
  for (let i = 0; i < x.data.length; i++) {
    const value = x.data[i];
    y.data[i] = value > 0 ? value : slopes[i % slopes.length] * value;
  }
}
