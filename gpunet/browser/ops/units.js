// The units of later nets; NaN stays NaN. See gpunet/devices/cpu/units.py.

import { each, sigmoid } from "../elementwise.js";

export function clip_forward(x, y, { low, high }) {
  each(x, y, (value) => (value < low ? low : value > high ? high : value));
}

export function hard_sigmoid_forward(x, y) {
  each(x, y, gate);
}

export function hard_swish_forward(x, y) {
  each(x, y, (value) => value * gate(value));
}

export function elu_forward(x, y, { alpha }) {
  each(x, y, (value) => (value > 0 ? value : alpha * Math.expm1(value)));
}

export function softplus_forward(x, y) {
  each(x, y, (value) => Math.max(value, 0) + Math.log1p(Math.exp(-Math.abs(value))));
}

export function silu_forward(x, y) {
  each(x, y, (value) => value * sigmoid(value));
}

export function gelu_forward(x, y, { by_tanh }) {
  const bend = (value) => (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (value + 0.044715 * value ** 3))) / 2;
  const part = by_tanh ? bend : normalBelow;
  each(x, y, (value) => value * part(value));
}

function gate(value) {
  return (value <= -3 ? 0 : value >= 3 ? 6 : value + 3) / 6;
}

// The probability that a standard normal number is below x. Near 0 a power series of erf, far out the continued
// fraction of erfc, which keeps the digits of small probabilities. Source: Abramowitz & Stegun 1964, 7.1.6 and 7.1.14.
function normalBelow(x) {
  const z = Math.abs(x) / Math.SQRT2;
  if (z < 2) {
    let term = z, sum = z;
    for (let n = 1; Math.abs(term) > 1e-17 * sum; n++) {
      term *= (2 * z * z) / (2 * n + 1);
      sum += term;
    }
    return 0.5 + (Math.sign(x) * Math.exp(-z * z) * sum) / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let n = 40; n > 0; n--) fraction = n / 2 / (z + fraction);
  const tail = Math.exp(-z * z) / (z + fraction) / Math.sqrt(Math.PI) / 2;
  return x < 0 ? tail : 1 - tail;
}
