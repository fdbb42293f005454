// A large JPEG at a half, a quarter or an eighth, as `gpunet predict` has it decoded: there each pixel is the mean of
// 2 x 2, 4 x 4 or 8 x 8, brightness and colour apart (Pillow's draft mode; Loeffler, Ligtenberg & Moschytz 1989, by
// which libjpeg makes the means of neighbours without making the neighbours). Browsers decode all pixels: the means are
// taken here, which gives the same but for rounding.

// {pixels, extent} of the smaller picture; [H, W] is the size that the net takes.
export function drafted(pixels, [H, W]) {
  const least = 2 * Math.max(H, W);
  const room = Math.min(Math.floor(pixels.width / least), Math.floor(pixels.height / least));
  const part = [8, 4, 2].find((one) => room >= one) ?? 1;
  const extent = [pixels.height / part, pixels.width / part];
  return { pixels: part === 1 ? pixels : means(pixels, part), extent };
}

function means({ data, height, width }, part) {
  const rows = Math.ceil(height / part), columns = Math.ceil(width / part);
  const out = new Uint8ClampedArray(rows * columns * 4);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const sums = [0, 0, 0];
      const bottom = Math.min(height, (i + 1) * part), right = Math.min(width, (j + 1) * part);
      for (let r = i * part; r < bottom; r++) {
        for (let c = j * part; c < right; c++) {
          for (let map = 0; map < 3; map++) sums[map] += data[(r * width + c) * 4 + map];
        }
      }
      const count = (bottom - i * part) * (right - j * part);
      put(out, (i * columns + j) * 4, sums.map((sum) => sum / count));
    }
  }
  return { data: out, height: rows, width: columns };
}

// Stores a colour as a JPEG holds it: brightness and two colour differences, whole numbers (JFIF 1.02).
function put(out, place, [red, green, blue]) {
  const luma = Math.round(0.299 * red + 0.587 * green + 0.114 * blue);
  const cb = Math.round((blue - red * 0.299 - green * 0.587 - blue * 0.114) / 1.772);
  const cr = Math.round((red - red * 0.299 - green * 0.587 - blue * 0.114) / 1.402);
  out[place] = luma + Math.round(1.402 * cr);
  out[place + 1] = luma - Math.round(0.344136 * cb + 0.714136 * cr);
  out[place + 2] = luma + Math.round(1.772 * cb);
  out[place + 3] = 255;
}
