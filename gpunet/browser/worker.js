// The thread in which the net runs, so that the page stays alive. It is told {kind: "begin", net}, then {kind:
// "weights", text} for each piece and {kind: "whole"}, then {kind: "predict", id, file | pixels} for each picture. It
// tells {kind: "loading", share}, {kind: "ready"}, {kind: "running", id, share}, {kind: "seen", id, image} and
// {kind: "predicted", id, chances, ms}, and {kind: "failed", id, words} where something went wrong.

import { bare } from "./bare.js";
import { drafted } from "./drafted.js";
import { prepare } from "./prepare.js";
import { Program, probabilities } from "./program.js";
import { Weights } from "./weights.js";

const MOST_PIXELS = 89_478_485; // as in `gpunet predict`

class NotAPicture extends Error {}

let net, program, weights;

const KINDS = {
  begin(message) {
    net = message.net;
    program = new Program(net.plan, OPS);
    weights = new Weights(net.weights, program);
  },
  weights({ text }) {
    postMessage({ kind: "loading", share: weights.take(text) });
  },
  whole() {
    weights.finish();
    postMessage({ kind: "ready" });
  },
  async predict({ id, file, pixels }) {
    const image = file ? await imageOf(file) : prepare(pixels, 1, net.image, net.white);
    postMessage({ kind: "seen", id, image });
    const begun = performance.now();
    const scores = program.scores(image, (share) => postMessage({ kind: "running", id, share }));
    postMessage({ kind: "predicted", id, chances: probabilities(scores), ms: performance.now() - begun });
  },
};

async function imageOf(file) {
  const { bytes, orientation, jpeg } = bare(new Uint8Array(await file.arrayBuffer()));
  let pixels = await pixelsOf(new Blob([bytes], { type: file.type }), file.name);
  const [H, W] = net.image;
  let extent = [pixels.height, pixels.width];
  if (jpeg) ({ pixels, extent } = drafted(pixels, [H, W], jpeg.halved));
  return prepare(pixels, orientation, net.image, net.white, extent);
}

// Red, green, blue and alpha of each pixel, as they lie in the file.
async function pixelsOf(blob, name) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { premultiplyAlpha: "none", colorSpaceConversion: "none" });
  } catch {
    throw new NotAPicture(`${name} is no picture that this browser reads; JPEG, PNG, WebP, BMP and GIF are`);
  }
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) throw new NotAPicture(`${name} has ${width} x ${height} pixels, which is too many`);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

// One message after the other, also while one waits for a picture.
let turn = Promise.resolve();
onmessage = ({ data }) => {
  turn = turn.then(() => KINDS[data.kind](data)).catch((error) => {
    postMessage({ kind: "failed", id: data.id, words: error.message });
  });
};
