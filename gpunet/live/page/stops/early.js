// Stop 5: why VGG's memory is in its first layers and its parameters in its last. Source: CS231n "Computational Considerations".

import { Mistake, parts } from "../ask.js";
import { bytes, draw, grouped, make, table } from "../dom.js";
import { netOf } from "../lesson.js";

const WIDE = 150;

export const early = {
  title: "Where memory is, and parameters",
  words: [
    "The first layers of VGG-16 hold 224 x 224 numbers a map, for 64 maps; the last ones hold few numbers, but join each to each. So most of the memory is early and most parameters are late.",
    "Halve the input: the memory falls to a quarter, and the parameters of the first FC layer with it.",
  ],
  async open(room, tried) {
    const side = make("input", { type: "range", min: 32, max: 448, step: 32, value: 224, "aria-label": "Side of the images" });
    const told = make("p"), rows = make("div", { class: "wide", tabindex: 0, role: "group", "aria-label": "Layers" });
    const load = async () => {
      show(await planned(Number(side.value)));
      netOf(room, VGG(side.value), { batch: 1 });
    };
    side.addEventListener("change", () => tried(load));
    room.append(make("label", { text: "Side of the images " }, side), told, rows);
    function show(plan) {
      const layers = plan.layers.filter((layer) => layer.activation_bytes || layer.parameters);
      const most = { activation_bytes: 1, parameters: 1 };
      for (const layer of layers) for (const name of Object.keys(most)) most[name] = Math.max(most[name], layer[name]);
      const bar = (layer, name, colour) => draw("svg", { width: WIDE, height: 12, "aria-hidden": "true" }, draw("rect", { width: (WIDE * layer[name]) / most[name], height: 12, fill: colour }));
      rows.replaceChildren(table(["layer", "output", "activations", "beside the most", "parameters", "beside the most"], layers.map((layer) => [
        layer.name,
        layer.output.join("x"),
        { text: bytes(layer.activation_bytes), data: { bytes: layer.activation_bytes } },
        bar(layer, "activation_bytes", "var(--activation)"),
        { text: grouped(layer.parameters), data: { parameters: layer.parameters } },
        bar(layer, "parameters", "var(--parameter)"),
      ])));
      told.textContent = `Images of ${side.value} x ${side.value}, one at a time: an arena of ${bytes(plan.arena_bytes)} to train, ${grouped(plan.parameters)} parameters.`;
    }
    await load();
  },
};

const VGG = (side) => `INPUT[${side}x${side}x3] -> [CONV3-64 -> RELU]*2 -> POOL2 -> [CONV3-128 -> RELU]*2 -> POOL2 -> [CONV3-256 -> RELU]*3 -> POOL2 -> [CONV3-512 -> RELU]*3 -> POOL2 -> [CONV3-512 -> RELU]*3 -> POOL2 -> [FC-4096 -> RELU]*2 -> FC-1000`;

async function planned(side) {
  for await (const part of parts("plan", { text: VGG(side), batch: 1, budget: "1000GiB" })) {
    if (part.stage === "plan") return part.plan;
    if (part.stage === "superseded") throw new Mistake("another plan was asked for meanwhile; move the slider to ask again");
  }
  return null;
}
