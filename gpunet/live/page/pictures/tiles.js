// A set of maps, pictures or filters on a canvas, tile by tile; scaled together where they were made.

const GAP = 1, COLUMNS = 16, LEAST = 2, SIDE = 24, MOST = 12;

// set    {n, h, w, bytes, colours, row}, bytes in base64, 0 to 255;  row  of a vector
// returns where tiles stand: {zoom, columns, h, w, n}
export function drawTiles(canvas, set, zoom = null) {
  const { n, h, w } = set, shades = decoded(set.bytes);
  zoom ??= set.row ? Math.min(MOST, Math.max(LEAST, Math.floor((COLUMNS * SIDE) / w))) : Math.max(LEAST, Math.floor(SIDE / Math.max(h, w)));
  const columns = Math.min(n, Math.max(1, Math.floor((COLUMNS * SIDE) / (w * zoom + GAP))));
  const rows = Math.ceil(n / columns);
  const small = { width: columns * (w + GAP) - GAP, height: rows * (h + GAP) - GAP };
  const image = new ImageData(small.width, small.height), channels = set.colours ? 3 : 1;
  for (let tile = 0; tile < n; tile++) {
    const top = Math.floor(tile / columns) * (h + GAP), left = (tile % columns) * (w + GAP);
    for (let row = 0; row < h; row++) {
      for (let column = 0; column < w; column++) {
        const to = 4 * ((top + row) * small.width + left + column), from = channels * ((tile * h + row) * w + column);
        for (let map = 0; map < 3; map++) image.data[to + map] = shades[from + Math.min(map, channels - 1)];
        image.data[to + 3] = 255;
      }
    }
  }
  Object.assign(canvas, small);
  canvas.getContext("2d", { willReadFrequently: true }).putImageData(image, 0, 0);
  canvas.style.width = `${small.width * zoom}px`;
  return { zoom, columns, h, w, n };
}

// The tile and the place in it where somebody clicked: {tile, row, column}.
export function placeIn(canvas, tiles, { offsetX, offsetY }) {
  const x = Math.floor((offsetX / canvas.clientWidth) * canvas.width), y = Math.floor((offsetY / canvas.clientHeight) * canvas.height);
  const tile = Math.floor(y / (tiles.h + GAP)) * tiles.columns + Math.floor(x / (tiles.w + GAP));
  return { tile, row: Math.min(y % (tiles.h + GAP), tiles.h - 1), column: Math.min(x % (tiles.w + GAP), tiles.w - 1) };
}

function decoded(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
