// The arena as a map: every tensor a rectangle, from its first step to its last, at its offset.

import { bytes, draw, grouped } from "../dom.js";
import { kindWords } from "./steps.js";

const HEIGHT = 260, LEFT = 62, RIGHT = 8, TOP = 6, BOTTOM = 20;

// hear  {at(step), on(layer or null, words)}
export function drawArena(plan, width, hear) {
  const across = Math.max(width, 200) - LEFT - RIGHT, high = HEIGHT - TOP - BOTTOM;
  const x = (step) => LEFT + (step / plan.steps) * across;
  const y = (offset) => TOP + high * (1 - offset / plan.arena_bytes);
  const svg = draw("svg", { width: across + LEFT + RIGHT, height: HEIGHT, viewBox: `0 0 ${across + LEFT + RIGHT} ${HEIGHT}`, role: "img" });
  svg.setAttribute("aria-label", `The arena of ${bytes(plan.arena_bytes)}: ${plan.tensors.length} tensors at their offsets`);
  for (const one of plan.tensors) svg.append(rectangle(one, x, y, hear));
  for (const share of [0, 0.5, 1]) {
    const at = share * plan.arena_bytes;
    svg.append(draw("text", { x: LEFT - 5, y: Math.max(y(at), 14) + 4, "text-anchor": "end", text: bytes(Math.round(at)) }));
  }
  svg.append(draw("text", { x: LEFT, y: HEIGHT - 5, text: "step 0" }));
  svg.append(draw("text", { x: LEFT + across, y: HEIGHT - 5, "text-anchor": "end", text: `step ${plan.steps}` }));
  const line = draw("line", { class: "at", y1: TOP, y2: HEIGHT - BOTTOM, "pointer-events": "none" });
  svg.append(line);
  svg.moveTo = (step) => ["x1", "x2"].forEach((end) => line.setAttribute(end, x(step + 0.5)));
  return svg;
}

function rectangle(one, x, y, hear) {
  const where = { x: x(one.first), y: y(one.offset + one.nbytes), width: x(one.last) - x(one.first), height: y(one.offset) - y(one.offset + one.nbytes) };
  const words = `${one.name}, ${kindWords(one.kind)}, ${bytes(one.nbytes)} (${grouped(one.nbytes)}), offset ${grouped(one.offset)}, steps ${one.first} to ${one.last - 1}`;
  const on = { mouseenter: () => hear.on(one.layer, words), mouseleave: () => hear.on(null), click: () => hear.at(one.first) };
  return draw("rect", { class: "tensor", ...where, fill: `var(--${one.kind})`, data: { layer: one.layer }, on });
}
