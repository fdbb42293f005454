// What is chosen for a plan: read from the controls, as the server takes it, and kept in links.

import { find } from "./dom.js";

const MOST_TEXT = 65536;

export const FIELDS = {
  batch: ["batch", (text) => (text === "" ? null : Number(text))],
  device: ["device", (text) => text],
  card: ["card", (text) => text],
  budget: ["budget", (text) => text],
  optimizer: ["optimizer", (text) => text],
  dtype: ["dtype", (text) => text],
  mode: ["mode", (text) => text],
  max_cost: ["max-cost", (text) => (text === "" ? null : Number(text) / 100)],
};

export function asked() {
  const said = { text: find("text").value };
  for (const [name, [id, read]] of Object.entries(FIELDS)) said[name] = read(find(id).value);
  return { ...said, micro_batches: find("micro").checked };
}

// The link of a plan: its text and what was chosen.
export function linkOf(said) {
  const link = new URLSearchParams({ text: said.text });
  for (const [name, [id]] of Object.entries(FIELDS)) if (find(id).value !== "") link.set(name, find(id).value);
  if (said.micro_batches) link.set("micro_batches", "1");
  return `#${link}`;
}

// Bring the controls to what the page's link says; false where it says nothing.
export function fromLink() {
  const said = new URLSearchParams(location.hash.slice(1));
  if (!said.has("text")) return false;
  find("text").value = said.get("text").slice(0, MOST_TEXT);
  for (const [name, [id]] of Object.entries(FIELDS)) {
    find(id).value = said.get(name) ?? "";
    if (find(id).selectedIndex < 0) find(id).selectedIndex = 0; // there is no such choice, or none was made
  }
  find("micro").checked = said.has("micro_batches");
  return true;
}
