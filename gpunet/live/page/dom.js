// Elements, made in one line; texts are texts and never markup.

const SVG = "http://www.w3.org/2000/svg";

export const find = (id) => document.getElementById(id);

// attributes  of the element; `text` its text, `on` its listeners by event, `data` what is read back from `dataset`
export function make(kind, { text, on = {}, data = {}, ...attributes } = {}, ...children) {
  return filled(document.createElement(kind), text, on, data, attributes, children);
}

export function draw(kind, { text, on = {}, data = {}, ...attributes } = {}, ...children) {
  return filled(document.createElementNS(SVG, kind), text, on, data, attributes, children);
}

function filled(made, text, on, data, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  for (const [event, listener] of Object.entries(on)) made.addEventListener(event, listener);
  Object.assign(made.dataset, data);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

// A table: heads are texts, rows are lists of cells, a cell a text, {text, data} or an element.
export function table(heads, rows, about = () => ({})) {
  const cell = (value) => {
    if (value instanceof Node) return make("td", {}, value);
    return make("td", typeof value === "object" ? value : { text: value });
  };
  return make(
    "table",
    {},
    make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { text, scope: "col" })))),
    make("tbody", {}, ...rows.map((row, at) => make("tr", about(at), ...row.map(cell)))),
  );
}

export function options(select, values) {
  for (const value of values) {
    const [text, said] = Array.isArray(value) ? value : [value, value];
    select.append(make("option", { text, value: said }));
  }
}

// Names with what there is to say of them; what is "" is left out.
export function list(element, pairs) {
  const wanted = Object.entries(pairs).filter(([, value]) => value !== "");
  element.replaceChildren(...wanted.map(([name, value]) => {
    const said = typeof value === "object" && value ? value : { text: value };
    return make("div", {}, make("dt", { text: name }), make("dd", said));
  }));
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

// "7.520 GiB": four digits, in units of 1,024.
export function bytes(count) {
  let value = count, unit = 0;
  while (Math.abs(value) >= 1024 && unit < UNITS.length - 1) (value /= 1024), unit++;
  return unit === 0 ? `${grouped(count)} B` : `${Number(value.toPrecision(4))} ${UNITS[unit]}`;
}

export function grouped(count) {
  return Number(count).toLocaleString("en-US");
}

export function short(value) {
  if (value === null || value === undefined) return "";
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

export function percent(share, digits = 1) {
  return share === null || share === undefined ? "" : `${(100 * share).toFixed(digits)} %`;
}
