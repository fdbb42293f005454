// A large JPEG at a half, a quarter or an eighth, as `gpunet predict` has it decoded: there each pixel is the mean of
// 2 x 2, 4 x 4 or 8 x 8, brightness and colour apart. Browsers decode all pixels: the means are taken here, which gives the
// same but for rounding. Sources: Pillow's draft mode; Loeffler, Ligtenberg & Moschytz 1989, by which libjpeg makes the
// means of neighbours without the neighbours; JFIF 1.02 for the colours.

// {pixels, extent} of the smaller picture.
//
//   [H, W]  the size that the net takes
//   halved  whether colours have half the rows and columns of brightness
export function drafted(pixels, [H, W], halved) {
  const least = 2 * Math.max(H, W);
  const room = Math.min(Math.floor(pixels.width / least), Math.floor(pixels.height / least));
  const part = [8, 4, 2].find((one) => room >= one) ?? 1;
  const extent = [pixels.height / part, pixels.width / part];
  return { pixels: part === 1 ? pixels : smaller(pixels, part, halved), extent };
}

function smaller(pixels, part, halved) {
  const luma = means(plane(pixels, [0.299, 0.587, 0.114]), part);
  const colours = [[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]].map((weights) => {
    const whole = plane(pixels, weights);
    return halved ? means(sharpened(means(whole, 2)), part / 2) : means(whole, part);
  });
  return joinedColours(luma, ...colours);
}

// {data, height, width}: each pixel a sum of its red, green and blue.
function plane({ data, height, width }, [red, green, blue]) {
  const out = new Float32Array(height * width);
  for (let i = 0; i < out.length; i++) out[i] = red * data[4 * i] + green * data[4 * i + 1] + blue * data[4 * i + 2];
  return { data: out, height, width };
}

function means({ data, height, width }, part) {
  const rows = Math.ceil(height / part), columns = Math.ceil(width / part);
  const out = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    const bottom = Math.min(height, (i + 1) * part);
    for (let j = 0; j < columns; j++) {
      const right = Math.min(width, (j + 1) * part);
      let sum = 0;
      for (let r = i * part; r < bottom; r++) {
        for (let c = j * part; c < right; c++) sum += data[r * width + c];
      }
      out[i * columns + j] = sum / ((bottom - i * part) * (right - j * part));
    }
  }
  return { data: out, height: rows, width: columns };
}

// Colours before they were brought to all pixels. There each pixel has 3/4 of the nearest colour and 1/4 of the next, so
// that the mean of two is 1/8, 6/8 and 1/8 of neighbours: what that came of is found along rows and along columns.
function sharpened({ data, height, width }) {
  for (let row = 0; row < height; row++) solve(data, row * width, 1, width);
  for (let column = 0; column < width; column++) solve(data, column, width, height);
  return { data, height, width };
}

// Solves x[i - 1] + 6 x[i] + x[i + 1] = 8 y[i] in place, the ends being their own neighbours (Thomas 1949).
function solve(data, start, step, count) {
  const above = new Float64Array(count);
  for (let i = 0, place = start; i < count; i++, place += step) {
    const diagonal = 6 + (i === 0) + (i === count - 1) - (i ? above[i - 1] : 0);
    above[i] = 1 / diagonal;
    data[place] = (8 * data[place] - (i ? data[place - step] : 0)) / diagonal;
  }
  for (let i = count - 2, place = start + i * step; i >= 0; i--, place -= step) {
    data[place] -= above[i] * data[place + step];
  }
}

// Red, green, blue and alpha of brightness and the two colours, each a whole number first, as a JPEG holds them.
function joinedColours({ data, height, width }, { data: blues }, { data: reds }) {
  const out = new Uint8ClampedArray(4 * data.length);
  for (let i = 0; i < data.length; i++) {
    const luma = Math.round(data[i]), cb = Math.round(blues[i]), cr = Math.round(reds[i]);
    out[4 * i] = luma + Math.round(1.402 * cr);
    out[4 * i + 1] = luma + Math.round(-0.344136 * cb - 0.714136 * cr);
    out[4 * i + 2] = luma + Math.round(1.772 * cb);
    out[4 * i + 3] = 255;
  }
  return { data: out, height, width };
}
