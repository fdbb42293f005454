// The middle of an image of bytes, times scale plus shift of each map: all that augmentation does where nothing is
// learnt. See gpunet/devices/cpu/augment.py.

export function augment(x, numbers, y, choices, { P, scale_0, scale_1, scale_2, shift_0, shift_1, shift_2 }) {
  const [N, H0, W0, D] = x.shape, [, H, W] = y.shape;
  const scales = [scale_0, scale_1, scale_2], shifts = [shift_0, shift_1, shift_2];
  const top = Math.floor((H0 + 2 * P - H) / 2) - P, left = Math.floor((W0 + 2 * P - W) / 2) - P;
  let place = 0;
  for (let n = 0; n < N; n++) {
    for (let i = top; i < top + H; i++) {
      for (let j = left; j < left + W; j++) {
        const there = i >= 0 && i < H0 && j >= 0 && j < W0;
        for (let d = 0; d < D; d++) {
          const value = there ? x.data[((n * H0 + i) * W0 + j) * D + d] : 0;
          const map = Math.min(d, 2);
          y.data[place++] = value * scales[map] + shifts[map];
        }
      }
    }
  }
}
