// A part of a picture brought to a size, as Pillow does it: antialiased, bilinear, whole numbers throughout.
// Source: Pillow's documentation of Image.resize(box=...) and of its filters; the results are the same bytes.

const PRECISION = 22; // bits behind the point of a weight: products with bytes stay within 32

// picture  {data, height, width, maps}: bytes
// box      top, left, bottom, right within it, perhaps between pixels
// Returns a picture of height x width. Bytes are rounded behind the first axis and the second, so the order matters: it
// is that of Pillow 13; earlier ones take rows first, which gives a byte one more or less here and there.
export function resize(picture, height, width, [top, left, bottom, right]) {
  const down = shares(picture.height, top, bottom, height), across = shares(picture.width, left, right, width);
  const grows = width - picture.width, taller = height - picture.height;
  if (taller < 0 && 2 * grows > taller) return along(turned(along(turned(picture), down)), across);
  return turned(along(turned(along(picture, across)), down));
}

// For each of `outputs` values, which inputs it takes and with which weights, whole numbers of 2**-PRECISION.
function shares(size, from, to, outputs) {
  const [begin, end] = [Math.fround(from), Math.fround(to)]; // Pillow holds a box in single precision
  const scale = Math.fround(end - begin) / outputs, reach = Math.max(scale, 1);
  return Array.from({ length: outputs }, (_, i) => {
    const centre = begin + (i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - reach + 0.5));
    const count = Math.min(size, Math.trunc(centre + reach + 0.5)) - start;
    const heights = Array.from({ length: count }, (_, n) => {
      const distance = Math.abs((n + start - centre + 0.5) * (1 / reach));
      return distance < 1 ? 1 - distance : 0;
    });
    const sum = heights.reduce((a, b) => a + b, 0);
    const values = heights.map((value) => Math.trunc(0.5 + (sum ? value / sum : value) * 2 ** PRECISION));
    return { start, values: Int32Array.from(values) };
  });
}

// A picture whose rows have as many pixels as there are `taken`.
function along({ data, height, width, maps }, taken) {
  const out = new Uint8Array(height * taken.length * maps);
  let place = 0;
  for (let row = 0; row < height; row++) {
    for (const { start, values } of taken) {
      for (let map = 0; map < maps; map++) {
        let sum = 1 << (PRECISION - 1);
        let from = (row * width + start) * maps + map;
        for (let n = 0; n < values.length; n++, from += maps) sum += data[from] * values[n];
        out[place++] = sum >> PRECISION;
      }
    }
  }
  return { data: out, height, width: taken.length, maps };
}

// Rows become columns.
function turned({ data, height, width, maps }) {
  const out = new Uint8Array(data.length);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const from = (row * width + column) * maps, to = (column * height + row) * maps;
      for (let map = 0; map < maps; map++) out[to + map] = data[from + map];
    }
  }
  return { data: out, height: width, width: height, maps };
}
