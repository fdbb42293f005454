// Stop 4: max-pooling and its switches. Source: CS231n "Pooling Layer".

import { make } from "../dom.js";
import { dials, lesson, netOf } from "../lesson.js";
import { drawNumbers } from "../pictures/numbers.js";

export const pool = {
  title: "Max-pooling and its switches",
  words: [
    "Each window hands on its largest number. Where that stood is kept, half a byte a window, as long as it is no larger than 3 x 3: the switch. On the way back the gradient goes there, and nowhere else.",
    "So a pool needs neither its input nor its output in the backward pass: the switches are an eighth of a float each.",
  ],
  async open(room, tried) {
    const set = dials({ side: ["W", 4, 1, 12], F: ["F", 2, 1, 5], S: ["S", 2, 1, 5] }, () => tried(load));
    const numbers = make("div", { class: "wide", tabindex: 0, role: "group", "aria-label": "The numbers" });
    room.append(set.element, numbers);
    async function load() {
      const { x, y, switches, dy, dx, F, S } = await lesson({ lesson: "pool", ...set.said() });
      netOf(room, `INPUT[${x.length}x${x.length}x1] -> POOL${F}(S=${S})`);
      numbers.replaceChildren(
        drawNumbers("x", x, (i, j) => (y.flat().includes(x[i][j]) ? "on" : "")),
        drawNumbers("y: the largest", y),
        drawNumbers("switches: row·F + column", switches),
        drawNumbers("dy: what comes back", dy),
        drawNumbers("dx: where it goes", dx, (i, j) => (dx[i][j] ? "on" : "")),
      );
    }
    await load();
  },
};
