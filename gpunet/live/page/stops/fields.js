// Stop 2: what a unit sees, and what stride and padding do to it. Source: CS231n "Layer Patterns".

import { draw, make, table } from "../dom.js";
import { lesson, netOf } from "../lesson.js";

const NETS = {
  "three 3x3 in a row": "INPUT[32x32x3] -> [CONV3-16 -> RELU]*3 -> FC-10",
  "one 7x7": "INPUT[32x32x3] -> CONV7-16(P=3) -> RELU -> FC-10",
  "stride 2": "INPUT[32x32x3] -> CONV3-16(S=2, P=1, fit=crop) -> RELU -> CONV3-16(S=2, P=1, fit=crop) -> RELU -> FC-10",
  "without padding": "INPUT[32x32x3] -> [CONV3-16(P=0) -> RELU]*3 -> FC-10",
  "pools between": "INPUT[32x32x3] -> [CONV3-16 -> RELU -> POOL2]*3 -> FC-10",
};
const SIDE = 192;

export const fields = {
  title: "What a unit sees",
  words: [
    "Three layers of 3x3 see as much of the image as one of 7x7, with fewer parameters and a ReLU between each. A stride, or a pool, makes all that follows see further. Padding keeps the size, and lets units at the edge see beyond it.",
    "Choose a pattern, or write one; then choose a layer: the blue square is what its middle unit sees.",
  ],
  async open(room, tried) {
    const text = make("input", { type: "text", value: Object.values(NETS)[0], maxlength: 2000, "aria-label": "Pattern" });
    text.style.width = "100%";
    const load = async () => {
      show(await lesson({ lesson: "fields", text: text.value }));
      netOf(room, text.value);
    };
    text.addEventListener("change", () => tried(load));
    const choices = Object.entries(NETS).map(([name, net]) => make("button", { type: "button", text: name, on: { click: () => ((text.value = net), tried(load)) } }));
    const picture = make("div", { class: "pair" }), rows = make("div", { class: "wide", tabindex: 0, role: "group", "aria-label": "Layers" });
    room.append(make("div", { class: "row" }, ...choices), text, picture, rows);
    function show({ input, layers }) {
      const choose = (at) => picture.replaceChildren(square(input, layers[at]), make("p", { text: said(layers[at]) }));
      const cells = layers.map(({ name, output, parameters, field: [axis] }) => [name, output.join("x"), String(parameters), `${axis.size}`, `${axis.stride}`, `${axis.start}`]);
      rows.replaceChildren(table(["layer", "output", "parameters", "sees", "stride", "from"], cells, (at) => ({ tabindex: 0, on: { mouseenter: () => choose(at), focus: () => choose(at) } })));
      choose(layers.length > 2 ? layers.length - 2 : 0);
    }
    await load();
  },
};

function said({ name, field: [axis] }) {
  return `A unit of ${name} sees ${axis.size} x ${axis.size} pixels; its neighbour sees as many, ${axis.stride} further on.`;
}

function square([H, W], { name, output, field: [rows, columns] }) {
  const scale = SIDE / Math.max(H, W), middle = (axis, count) => axis.start + axis.stride * Math.floor((count - 1) / 2);
  const svg = draw("svg", { width: SIDE + 80, height: SIDE + 80, viewBox: `-40 -40 ${SIDE + 80} ${SIDE + 80}`, role: "img", "aria-label": `What a unit of ${name} sees` });
  svg.append(draw("rect", { width: W * scale, height: H * scale, fill: "var(--track)", stroke: "var(--line)" }));
  svg.append(draw("rect", { x: middle(columns, output[1]) * scale, y: middle(rows, output[0]) * scale, width: columns.size * scale, height: rows.size * scale, fill: "var(--accent)", opacity: 0.5 }));
  return svg;
}
