// Sigmoid and tanh; see gpunet/devices/cpu/squash.py.

import { each, sigmoid } from "../elementwise.js";

export function sigmoid_forward(x, y) {
  each(x, y, sigmoid);
}

export function tanh_forward(x, y) {
  each(x, y, Math.tanh);
}
