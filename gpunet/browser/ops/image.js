// Images of bytes to activations; see gpunet/devices/cpu/image.py.

export function image_to_float(x, y, { scale, shift }) {
  for (let i = 0; i < x.data.length; i++) y.data[i] = x.data[i] * scale + shift;
}
