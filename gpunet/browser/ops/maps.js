// Slices and shuffles of maps; see gpunet/devices/cpu/maps.py.

export function slice_forward(x, y, { first }) {
  const D = x.shape[3], own = y.shape[3];
  for (let p = 0; p < y.data.length / own; p++) {
    for (let d = 0; d < own; d++) y.data[p * own + d] = x.data[p * D + first + d];
  }
}

// Map i of group g of x becomes map i*groups + g of y.
export function shuffle(x, y, { groups }) {
  const D = x.shape[3], each = D / groups;
  for (let p = 0; p < x.data.length; p += D) {
    for (let d = 0; d < D; d++) y.data[p + (d % each) * groups + Math.floor(d / each)] = x.data[p + d];
  }
}
