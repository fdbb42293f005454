// Counts as bars, and histograms over time: a column a look, the darker the more.

import { draw, short } from "../dom.js";

const WIDTH = 180, HEIGHT = 46, MOST_LOOKS = 60;

// history  [{low, high, counts}], the newest last
export function drawHistogram(history, label) {
  const newest = history.at(-1), most = Math.max(...newest.counts), bars = newest.counts.length;
  const svg = draw("svg", { width: 2 * WIDTH + 10, height: HEIGHT + 14, viewBox: `0 0 ${2 * WIDTH + 10} ${HEIGHT + 14}`, role: "img" });
  svg.setAttribute("aria-label", `${label}: from ${short(newest.low)} to ${short(newest.high)}, ${history.length} looks`);
  newest.counts.forEach((count, at) => {
    const high = (HEIGHT * Math.log1p(count)) / Math.log1p(most);
    svg.append(draw("rect", { x: (at * WIDTH) / bars, y: HEIGHT - high, width: WIDTH / bars - 0.5, height: high, fill: "var(--accent)" }));
  });
  svg.append(draw("text", { x: 0, y: HEIGHT + 12, text: short(newest.low) }), draw("text", { x: WIDTH, y: HEIGHT + 12, "text-anchor": "end", text: short(newest.high) }));
  const looks = history.slice(-MOST_LOOKS), low = Math.min(...looks.map((one) => one.low)), high = Math.max(...looks.map((one) => one.high));
  const y = (value) => HEIGHT * (1 - (value - low) / (high - low || 1));
  looks.forEach((one, at) => {
    const top = Math.max(...one.counts), tall = (one.high - one.low) / one.counts.length;
    one.counts.forEach((count, bin) => {
      if (!count) return;
      const from = one.low + bin * tall, opacity = Math.log1p(count) / Math.log1p(top);
      const box = { x: WIDTH + 10 + (at * WIDTH) / MOST_LOOKS, y: y(from + tall), width: WIDTH / MOST_LOOKS, height: Math.max(y(from) - y(from + tall), 0.5) };
      svg.append(draw("rect", { ...box, fill: "var(--activation)", opacity: opacity.toFixed(2) }));
    });
  });
  svg.append(draw("text", { x: WIDTH + 10, y: HEIGHT + 12, text: "over time" }));
  return svg;
}
