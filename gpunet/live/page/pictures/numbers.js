// A matrix of whole numbers, some of its cells marked: `on`, what is multiplied; `of`, what comes of it.

import { make } from "../dom.js";

// rows  [[number, ...], ...];  mark(row, column)  class names of a cell
export function drawNumbers(caption, rows, mark = () => "") {
  const body = rows.map((row, at) => make("tr", {}, ...row.map((value, column) => make("td", { text: value, class: mark(at, column) }))));
  return make("table", { class: "numbers" }, make("caption", { text: caption }), make("tbody", {}, ...body));
}
