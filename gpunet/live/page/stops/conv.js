// Stop 1: a convolution by hand, the 5x5x3 demo of the notes. Source: CS231n "Convolutional Layer".

import { make } from "../dom.js";
import { dials, lesson, netOf } from "../lesson.js";
import { drawNumbers } from "../pictures/numbers.js";

export const conv = {
  title: "A convolution by hand",
  words: [
    "A filter looks at a window of all maps at once: multiply number by number, add all products, add the bias. That is one output. Then the window moves on by the stride.",
    "Change the sizes: where (W - F + 2P)/S + 1 is no whole number, the filters do not fit, and gpunet says so.",
  ],
  async open(room, tried) {
    let shown = null, at = 0;
    const set = dials({ side: ["W", 5, 1, 12], depth: ["Depth", 3, 1, 4], F: ["F", 3, 1, 7], S: ["S", 2, 1, 5], P: ["P", 1, 0, 3] }, () => tried(load));
    const told = make("p", { class: "lines" }), numbers = make("div", { class: "wide", tabindex: 0, role: "group", "aria-label": "The numbers" });
    const step = (by) => () => {
      at += by;
      show();
    };
    const buttons = [["Step back", -1], ["Step", 1]].map(([text, by]) => make("button", { type: "button", text, on: { click: step(by) } }));
    room.append(set.element, make("div", { class: "row" }, ...buttons), told, numbers);
    async function load() {
      shown = await lesson({ lesson: "conv", ...set.said() });
      at = 0;
      netOf(room, netText(shown));
      show();
    }
    function show() {
      const [H2, W2, K] = shown.output, count = H2 * W2 * K;
      at = (at + count) % count;
      const k = at % K, column = Math.floor(at / K) % W2, row = Math.floor(at / (K * W2));
      numbers.replaceChildren(...drawn(shown, k, row, column));
      told.textContent = sum(shown, k, row, column);
      told.dataset.at = `${row},${column},${k}`;
    }
    await load();
  },
};

// The convolution as a net of its own.
export function netText({ sizes: { side, depth, F, S, P, filters } }) {
  return `INPUT[${side}x${side}x${depth}] -> CONV${F}-${filters}(S=${S}, P=${P})`;
}

// The padded maps with the window marked, the maps of the filter, and the outputs.
function drawn({ x, w, y, sizes, output }, k, row, column) {
  const { side, depth, F, S, P } = sizes, padded = side + 2 * P;
  const inWindow = (i, j) => i >= row * S && i < row * S + F && j >= column * S && j < column * S + F;
  const isPad = (i, j) => i < P || j < P || i >= P + side || j >= P + side;
  const maps = range(depth).map((d) => {
    const rows = range(padded).map((i) => range(padded).map((j) => (isPad(i, j) ? 0 : x[i - P][j - P][d])));
    return drawNumbers(`x, map ${d}`, rows, (i, j) => `${isPad(i, j) ? "pad" : ""} ${inWindow(i, j) ? "of" : ""}`);
  });
  const filter = range(depth).map((d) => drawNumbers(`w${k}, map ${d}`, w[k].map((line) => line.map((values) => values[d])), () => "on"));
  const outputs = range(output[2]).map((one) => {
    const rows = y.map((line) => line.map((values) => values[one]));
    return drawNumbers(`y, map ${one}`, rows, (i, j) => (one === k && i === row && j === column ? "on" : ""));
  });
  return [make("div", {}, ...maps), make("div", {}, ...filter), make("div", {}, ...outputs)];
}

// "2·1 + 1·(-1) + ... + bias 1 = 4", of the products that are not 0.
function sum({ x, w, b, y, sizes }, k, row, column) {
  const { side, depth, F, S, P } = sizes, products = [];
  for (const d of range(depth)) for (const i of range(F)) for (const j of range(F)) {
    const value = x[row * S + i - P]?.[column * S + j - P]?.[d] ?? 0;
    if (value * w[k][i][j][d]) products.push(`${value}·${w[k][i][j][d] < 0 ? `(${w[k][i][j][d]})` : w[k][i][j][d]}`);
  }
  return `y[${row}, ${column}, ${k}] = ${products.join(" + ") || "0"} + bias ${b[k]} = ${y[row][column][k]}\n(${side} - ${F} + 2·${P})/${S} + 1 = ${y.length}`;
}

function range(count) {
  return Array.from({ length: count }, (_, at) => at);
}
