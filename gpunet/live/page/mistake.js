// What is wrong, under the text: a sentence, and the line of the text with the caret in view.

import { find, make } from "./dom.js";

// of  what is wrong: the "net", which another one mends, or an "action", which may succeed later
export function showMistake(what, of) {
  const lines = what.split("\n"), first = lines.findIndex((line) => line.startsWith(" "));
  const said = first < 0 ? lines : lines.slice(0, first), shown = first < 0 ? [] : lines.slice(first);
  const text = make("pre", { text: shown.join("\n"), tabindex: 0, hidden: !shown.length });
  find("mistake").replaceChildren(make("p", { text: said.join("\n"), class: "lines" }), text);
  find("mistake").dataset.of = of;
  find("mistake").hidden = false;
  showCaret(text, shown);
}

export function hideMistake(of) {
  if (!of || find("mistake").dataset.of === of) find("mistake").hidden = true;
}

// Where a line is longer than there is room for.
function showCaret(text, lines) {
  const at = Math.max(0, ...lines.map((line) => line.indexOf("^")));
  const letter = text.scrollWidth / Math.max(1, ...lines.map((line) => line.length));
  text.scrollLeft = at * letter - text.clientWidth / 2;
}
