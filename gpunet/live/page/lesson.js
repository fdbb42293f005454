// What the stops of the tour share: answers of the server, and number fields.

import { Mistake, parts } from "./ask.js";
import { make } from "./dom.js";

// What the server answers to a lesson.
export async function lesson(asked) {
  let answer = null;
  for await (const part of parts("look/lesson", asked)) if (part.stage !== "end") answer = part;
  if (answer.stage === "superseded") throw new Mistake("something newer was asked for meanwhile; change a number to ask again");
  return answer;
}

// Tell at a stop's room which net it shows now, as a link has it: the text, and what is chosen for it.
export function netOf(room, text, chosen = {}) {
  room.dispatchEvent(new CustomEvent("net", { detail: new URLSearchParams({ text, ...chosen }) }));
}

// Number fields, one for each of {name: [label, value, least, most]}; `changed` is told {name: number}.
export function dials(wanted, changed) {
  const inputs = Object.entries(wanted).map(([name, [text, value, min, max]]) => {
    const input = make("input", { type: "number", name, value, min, max });
    input.addEventListener("input", () => input.value !== "" && changed(said()));
    return [name, input, make("label", { text: `${text} ` }, input)];
  });
  const said = () => Object.fromEntries(inputs.map(([name, input]) => [name, Number(input.value)]));
  return { element: make("div", { class: "row" }, ...inputs.map(([, , label]) => label)), said };
}
