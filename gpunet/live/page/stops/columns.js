// Stop 3: a convolution as one product of matrices. Source: CS231n "Implementation as Matrix Multiplication".

import { make } from "../dom.js";
import { dials, lesson, netOf } from "../lesson.js";
import { drawNumbers } from "../pictures/numbers.js";
import { netText } from "./conv.js";

export const columns = {
  title: "im2col: windows as rows",
  words: [
    "Lay every window out as a row, and every filter too: then all outputs are one product of two matrices. What windows share stands in the matrix several times, and that costs memory: gpunet makes a few rows at a time, or gathers windows without a matrix.",
    "Step through the rows: the window is marked in the input, its row in the matrix, its outputs in the product.",
  ],
  async open(room, tried) {
    let shown = null, at = 0;
    const set = dials({ side: ["W", 4, 1, 6], depth: ["Depth", 1, 1, 2], F: ["F", 2, 1, 3], S: ["S", 1, 1, 3], P: ["P", 0, 0, 1] }, () => tried(load));
    const told = make("p"), numbers = make("div", { class: "wide", tabindex: 0, role: "group", "aria-label": "The matrices" });
    const step = make("button", { type: "button", text: "Next row", on: { click: () => (at++, show()) } });
    room.append(set.element, make("div", { class: "row" }, step), told, numbers);
    async function load() {
      shown = await lesson({ lesson: "conv", ...set.said() });
      at = 0;
      netOf(room, netText(shown));
      show();
    }
    function show() {
      const { sizes, output, x, w, b, y } = shown, { S, F, P, depth, side } = sizes;
      const rows = shown.columns;
      at %= rows.length;
      const top = Math.floor(at / output[1]) * S - P, left = (at % output[1]) * S - P;
      const inside = (i, j) => i >= top && i < top + F && j >= left && j < left + F;
      const maps = Array.from({ length: depth }, (_, d) => drawNumbers(`x, map ${d}`, x.map((line) => line.map((values) => values[d])), (i, j) => (inside(i, j) ? "of" : "")));
      const filters = w.map((filter) => filter.flat(2));
      numbers.replaceChildren(
        make("div", {}, ...maps),
        drawNumbers(`columns, ${rows.length} x ${rows[0].length}`, rows, (i) => (i === at ? "on" : "")),
        drawNumbers(`filters, ${filters.length} x ${filters[0].length}`, filters),
        drawNumbers("y: the product, with the bias", y.flat(1), (i) => (i === at ? "on" : "")),
      );
      const many = rows.length * rows[0].length, held = side * side * depth;
      told.textContent = `Row ${at} of ${rows.length}. The matrix has ${many} numbers, the input ${held}: ${(many / held).toFixed(1)} times as many. Biases: ${b.join(", ")}.`;
    }
    await load();
  },
};
