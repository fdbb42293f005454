// What the page hands out as files: pictures as they look now, and what the server made.

import { draw } from "./dom.js";

const STYLES = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-size", "font-family"];
const ZOOM = 2; // of a PNG

export function save(name, content, type = "") {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// Pictures one below the other, as a file that needs no style sheet.
export function svgText(pictures) {
  return new XMLSerializer().serializeToString(joined(pictures));
}

export async function png(pictures) {
  const whole = joined(pictures);
  const [width, height] = ["width", "height"].map((name) => ZOOM * Number(whole.getAttribute(name)));
  const image = new Image(width, height);
  const source = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(whole)], { type: "image/svg+xml" }));
  image.src = source;
  await image.decode();
  URL.revokeObjectURL(source);
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").drawImage(image, 0, 0, width, height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

function joined(pictures) {
  let top = 0, width = 0;
  const whole = draw("svg", { xmlns: "http://www.w3.org/2000/svg" });
  for (const picture of pictures) {
    const copy = styled(picture);
    copy.setAttribute("y", top);
    whole.append(copy);
    top += Number(picture.getAttribute("height"));
    width = Math.max(width, Number(picture.getAttribute("width")));
  }
  const ground = getComputedStyle(document.body).getPropertyValue("--card").trim();
  whole.prepend(draw("rect", { width, height: top, fill: ground }));
  for (const [name, value] of [["width", width], ["height", top]]) whole.setAttribute(name, value);
  return whole;
}

// A copy whose elements say for themselves how they look.
function styled(picture) {
  const copy = picture.cloneNode(true);
  const from = picture.querySelectorAll("*"), to = copy.querySelectorAll("*");
  to.forEach((one, at) => {
    const style = getComputedStyle(from[at]);
    for (const name of STYLES) one.setAttribute(name, style.getPropertyValue(name));
    one.removeAttribute("class");
  });
  return copy;
}
