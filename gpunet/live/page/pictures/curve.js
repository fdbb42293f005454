// Lines over steps or epochs, with what they reach beside them.

import { draw, short } from "../dom.js";

const HEIGHT = 190, LEFT = 54, RIGHT = 10, TOP = 26, BOTTOM = 22;

// lines  [{name, className, points: [[x, y], ...]}], of which those without points are left out
// span   [least, most] of y; null: what there is, from 0.95 of the least to 1.05 of the most
export function drawCurve(lines, width, { span = null, unit = short, label = "" } = {}) {
  const shown = lines.filter((line) => line.points.length);
  const across = Math.max(width, 200) - LEFT - RIGHT, high = HEIGHT - TOP - BOTTOM;
  const svg = draw("svg", { width: across + LEFT + RIGHT, height: HEIGHT, viewBox: `0 0 ${across + LEFT + RIGHT} ${HEIGHT}`, role: "img", "aria-label": label });
  const all = shown.flatMap((line) => line.points);
  if (!all.length) {
    svg.append(draw("text", { x: LEFT, y: HEIGHT / 2, text: "nothing is measured yet" }));
    return svg;
  }
  const [low, top] = span ?? bounds(all.map((point) => point[1]));
  const first = Math.min(...all.map((point) => point[0])), last = Math.max(...all.map((point) => point[0]), first + 1);
  const x = (value) => LEFT + ((value - first) / (last - first)) * across;
  const y = (value) => TOP + high * (1 - (Math.min(Math.max(value, low), top) - low) / (top - low));
  for (const share of [0, 0.5, 1]) {
    const value = low + share * (top - low);
    svg.append(draw("line", { class: "axis", x1: LEFT, x2: LEFT + across, y1: y(value), y2: y(value) }));
    svg.append(draw("text", { x: LEFT - 5, y: y(value) + 4, "text-anchor": "end", text: unit(Number(value.toPrecision(3))) }));
  }
  svg.append(draw("text", { x: LEFT, y: HEIGHT - 6, text: String(first) }), draw("text", { x: LEFT + across, y: HEIGHT - 6, "text-anchor": "end", text: String(last) }));
  shown.forEach((line, at) => {
    const path = line.points.map(([a, b], n) => `${n ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
    svg.append(draw("path", { class: line.className, d: path }));
    if (line.points.length === 1) svg.append(draw("circle", { cx: x(line.points[0][0]), cy: y(line.points[0][1]), r: 3, class: `of-${line.className}` }));
    svg.append(draw("text", { x: LEFT + (at * across) / 2, y: 12, class: `of-${line.className}`, text: `${line.name}: ${unit(line.points.at(-1)[1])}` }));
  });
  return svg;
}

function bounds(values) {
  const low = Math.min(...values) * 0.95, top = Math.max(...values) * 1.05;
  return top > low ? [low, top] : [low - 1, low + 1];
}
