// Classes with bars as long as their probabilities: green for the right one, red for what is wrong.

import { make, percent } from "../dom.js";

// chances  of each class;  label  the right one, null: nobody knows;  most  classes shown
export function drawChances(chances, classes, label, most = 3) {
  const order = chances.map((_, at) => at).sort((a, b) => chances[b] - chances[a] || a - b).slice(0, most);
  return order.map((at) => {
    const bar = make("span", { class: `bar ${label === null ? "" : at === label ? "right" : "wrong"}` });
    bar.style.inlineSize = `${100 * chances[at]}%`;
    const kind = at === label ? "right" : "";
    return make("div", { class: "chance" }, make("span", { text: classes[at], class: `name ${kind}` }), make("span", { class: "track" }, bar), make("span", { text: percent(chances[at]) }));
  });
}
