// Which classes are taken for which: images by label, in rows, and prediction, in columns.

import { make } from "../dom.js";

const MOST = 40; // classes that a table can show
const PALE = 15, DEEP = 45; // per cent of colour behind a number, which is read in both themes

export function drawConfusion(counts, classes) {
  const shown = Math.min(counts.length, MOST);
  const head = make("tr", {}, make("th", { text: "is \\ said" }), ...classes.slice(0, shown).map((text) => make("th", { text, scope: "col" })));
  const rows = counts.slice(0, shown).map((row, label) => {
    const sum = row.reduce((a, b) => a + b, 0) || 1;
    const cells = row.slice(0, shown).map((count, said) => {
      const cell = make("td", { text: count || "", data: { count } });
      if (count) cell.style.background = `color-mix(in srgb, var(--${label === said ? "right" : "wrong"}) ${Math.round(PALE + ((DEEP - PALE) * count) / sum)}%, transparent)`;
      return cell;
    });
    return make("tr", {}, make("th", { text: classes[label], scope: "row" }), ...cells);
  });
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}
