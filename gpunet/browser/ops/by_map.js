// Numbers for each map: batch normalization with its running statistics, Caffe's scales and shifts.
// See gpunet/devices/cpu/batch_norm.py and by_map.py there.

export function batch_norm_forward(x, mean, variance, scale, shift, y, { eps }) {
  const D = x.shape[3];
  const factors = scale.data.map((value, d) => value / Math.sqrt(variance.data[d] + eps));
  for (let i = 0; i < x.data.length; i += D) {
    for (let d = 0; d < D; d++) y.data[i + d] = (x.data[i + d] - mean.data[d]) * factors[d] + shift.data[d];
  }
}

export function scale_forward(x, scale, shift, y) {
  const D = x.shape[3];
  for (let i = 0; i < x.data.length; i += D) {
    for (let d = 0; d < D; d++) y.data[i + d] = x.data[i + d] * scale.data[d] + (shift ? shift.data[d] : 0);
  }
}
