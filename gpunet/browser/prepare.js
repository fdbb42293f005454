// From the pixels of a picture to what a net takes: the steps of `gpunet predict`, in its order.

import { resize } from "./resize.js";

const WHITE = 255;
const STEPS = [[1, 1], [1, -1], [-1, -1], [-1, 1]];
// Down and to the right in an upright picture, by its EXIF orientation: 1 to 4, and 5 to 8 with rows for columns.

// The image that a net takes, bytes (H, W, D).
//
//   pixels       {data, height, width}: bytes of red, green, blue and alpha, lying as in the file
//   orientation  of EXIF, 1 to 8
//   shape        H, W, D of the net's images
//   white        the value of white in them
//   extent       height and width of all there is in `pixels`, whose last row and column may be only partly of it
export function prepare(pixels, orientation, [H, W, D], white, extent = [pixels.height, pixels.width]) {
  const lying = orientation >= 5 ? [W, H] : [H, W];
  const small = fitted(premultiplied(pixels), lying, extent);
  const shades = onWhite(small);
  const upright = oriented({ ...small, data: shades, maps: 3 }, orientation);
  return toWhite(D === 1 ? grey(upright.data) : upright.data, white);
}

// Colours times their alpha, which may be averaged; three maps where nothing is transparent.
function premultiplied({ data, height, width }) {
  let opaque = true;
  for (let i = 3; opaque && i < data.length; i += 4) opaque = data[i] === 255;
  const maps = opaque ? 3 : 4, out = new Uint8Array(height * width * maps);
  for (let i = 0, place = 0; i < data.length; i += 4) {
    const alpha = data[i + 3];
    for (let map = 0; map < 3; map++) out[place++] = timesAlpha(data[i + map], alpha);
    if (!opaque) out[place++] = alpha;
  }
  return { data: out, height, width, maps };
}

// value * alpha / 255, rounded, by Pillow's formula.
function timesAlpha(value, alpha) {
  const product = value * alpha + 128;
  return ((product >> 8) + product) >> 8;
}

// The short side, measured by the size, brought to it; then the middle.
function fitted(picture, [H, W], [wholeHeight, wholeWidth]) {
  if (picture.height === H && picture.width === W) return picture;
  const scale = Math.max(H / wholeHeight, W / wholeWidth);
  const height = Math.min(wholeHeight, H / scale), width = Math.min(wholeWidth, W / scale);
  const top = (wholeHeight - height) / 2, left = (wholeWidth - width) / 2;
  return resize(picture, H, W, [top, left, top + height, left + width]);
}

function onWhite({ data, maps }) {
  if (maps === 3) return data;
  const out = new Uint8Array((data.length / 4) * 3);
  for (let i = 0, place = 0; i < data.length; i += 4) {
    for (let map = 0; map < 3; map++) out[place++] = data[i + map] + 255 - data[i + 3];
  }
  return out;
}

function oriented({ data, height, width, maps }, orientation) {
  const [down, right] = STEPS[(orientation - 1) % 4], swapped = orientation >= 5;
  const [H, W] = swapped ? [width, height] : [height, width];
  const out = new Uint8Array(data.length);
  for (let i = 0, place = 0; i < H; i++) {
    const a = down > 0 ? i : H - 1 - i;
    for (let j = 0; j < W; j++) {
      const b = right > 0 ? j : W - 1 - j, from = (swapped ? b * width + a : a * width + b) * maps;
      for (let map = 0; map < maps; map++) out[place++] = data[from + map];
    }
  }
  return { data: out, height: H, width: W, maps };
}

// 0.299 red, 0.587 green and 0.114 blue, rounded.
function grey(data) {
  const out = new Uint8Array(data.length / 3);
  for (let i = 0; i < out.length; i++) {
    out[i] = Math.floor((299 * data[3 * i] + 587 * data[3 * i + 1] + 114 * data[3 * i + 2] + 500) / 1000);
  }
  return out;
}

// 0 to 255 become 0 to `white`; an image without a value above that is taken to be of such values already.
function toWhite(data, white) {
  if (white >= WHITE || data.every((value) => value <= white)) return data;
  return data.map((value) => Math.round(value * (white / WHITE))); // never a half, as 255 is odd
}
