// Bytes alive over the steps of a plan, stacked by kind, with the budget as a line; a click chooses a step.

import { bytes, draw } from "../dom.js";

export const KINDS = ["parameter", "optimizer_cache", "data", "activation", "gradient", "parameter_gradient", "workspace"];
const HEIGHT = 210, LEFT = 62, RIGHT = 8, TOP = 14, BOTTOM = 22;
const FAR = 1.6; // a budget above so many peaks is told of at the edge instead
const PHASES = ["forward", "loss", "backward"];

export function kindWords(kind) {
  return kind.replaceAll("_", " ");
}

// plan   as `gpunet plan --json` has it;  ops  [name, layer, phase] of each step
// hear   {at(step)}
export function drawSteps(plan, ops, width, hear) {
  const across = Math.max(width, 200) - LEFT - RIGHT, high = HEIGHT - TOP - BOTTOM;
  const kinds = byKind(plan);
  const peak = plan.peak.live_bytes;
  const room = plan.budget_bytes === null ? null : plan.budget_bytes - plan.reserve_bytes;
  const most = room !== null && room < FAR * peak ? Math.max(room, peak) * 1.04 : peak * 1.08;
  const x = (step) => LEFT + (step / plan.steps) * across;
  const y = (count) => TOP + high * (1 - count / most);
  const svg = draw("svg", { width: across + LEFT + RIGHT, height: HEIGHT, viewBox: `0 0 ${across + LEFT + RIGHT} ${HEIGHT}`, role: "img" });
  svg.setAttribute("aria-label", `Bytes alive over ${plan.steps} steps; at the peak, step ${plan.peak.step}, ${bytes(peak)}`);
  let below = new Array(plan.steps).fill(0);
  for (const kind of KINDS) {
    const above = below.map((count, step) => count + kinds[kind][step]);
    svg.append(draw("path", { d: area(below, above, x, y), fill: `var(--${kind})`, data: { kind } }));
    below = above;
  }
  for (const share of [0, 0.5, 1]) {
    svg.append(draw("line", { class: "axis", x1: LEFT, x2: LEFT + across, y1: y(share * peak), y2: y(share * peak) }));
    svg.append(draw("text", { x: LEFT - 5, y: y(share * peak) + 4, "text-anchor": "end", text: bytes(Math.round(share * peak)) }));
  }
  svg.append(...phases(ops, x));
  if (room !== null) svg.append(...budget(room, most, across, y));
  const line = draw("line", { class: "at", y1: TOP, y2: HEIGHT - BOTTOM });
  const own = draw("path", { class: "own", "pointer-events": "none" });
  svg.append(own, line);
  svg.show = (layer) => own.setAttribute("d", layer === null ? "" : area(new Array(plan.steps).fill(0), ofLayer(plan, layer), x, y));
  svg.moveTo = (step) => ["x1", "x2"].forEach((end) => line.setAttribute(end, x(step + 0.5)));
  svg.addEventListener("click", ({ offsetX }) => {
    const step = Math.floor(((offsetX * (across + LEFT + RIGHT)) / svg.clientWidth - LEFT) / across * plan.steps);
    hear.at(Math.min(plan.steps - 1, Math.max(0, step)));
  });
  return svg;
}

function byKind(plan) {
  return Object.fromEntries(KINDS.map((kind) => [kind, alive(plan.steps, plan.tensors.filter((one) => one.kind === kind))]));
}

function ofLayer(plan, layer) {
  return alive(plan.steps, plan.tensors.filter((one) => one.layer === layer)).slice(0, plan.steps);
}

// Bytes of these tensors that are alive in each step.
function alive(steps, tensors) {
  const counts = new Array(steps + 1).fill(0);
  for (const { nbytes, first, last } of tensors) {
    counts[first] += nbytes;
    counts[last] -= nbytes;
  }
  for (let step = 1; step <= steps; step++) counts[step] += counts[step - 1];
  return counts;
}

// Steps are half-open: the area goes up and down in stairs.
function area(below, above, x, y) {
  const up = above.map((count, step) => `L${round(x(step))} ${round(y(count))}L${round(x(step + 1))} ${round(y(count))}`);
  const down = below.map((count, step) => `L${round(x(step + 1))} ${round(y(count))}L${round(x(step))} ${round(y(count))}`);
  return `M${round(x(0))} ${round(y(below[0]))}${up.join("")}${down.reverse().join("")}Z`;
}

function phases(ops, x) {
  return PHASES.flatMap((phase) => {
    const first = ops.findIndex((op) => op[2] === phase);
    if (first < 0 || phase === "loss") return [];
    return [draw("text", { x: x(first), y: HEIGHT - 7, text: phase === "backward" ? "backward, with updates" : phase })];
  });
}

function budget(room, most, across, y) {
  if (room > most) return [draw("text", { x: LEFT + across, y: 10, "text-anchor": "end", text: `room for ${bytes(room)}, above` })];
  const at = y(Math.max(room, 0));
  return [
    draw("line", { class: "budget", x1: LEFT, x2: LEFT + across, y1: at, y2: at }),
    draw("text", { x: LEFT + across, y: at - 4, "text-anchor": "end", text: `budget less reserve: ${bytes(room)}` }),
  ];
}

function round(value) {
  return Math.round(value * 10) / 10;
}
