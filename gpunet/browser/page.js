// The page: pictures come in by choosing, dropping, pasting or drawing, and classes go out.

import { Drawing } from "./drawing.js";
import { Results } from "./results.js";
import { Session } from "./session.js";

const LIVE_MS = 60; // a net that is faster follows the pen

const find = (id) => document.getElementById(id);
const net = JSON.parse(find("net").textContent);
const results = new Results(find("classes"), net.classes);
let lastMs = 0, drawing = null, shown = null;

const session = new Session(net, find("worker").textContent, {
  loading: (share) => progress("Reading the weights", share),
  ready: invite,
  running: (share) => lastMs > LIVE_MS && progress("The net is at work", share),
  seen: showSeen,
  predicted(chances, ms, name) {
    lastMs = ms;
    say(results.show(chances), { detail: `${name}, in ${seconds(ms)}` });
  },
  failed(words) {
    results.show(null);
    say(words, { look: "wrong" });
  },
});
session.bring(document.querySelectorAll("script.weights"));

// look  quiet, wrong, or "" for a result
function say(words, { detail = "", look = "" } = {}) {
  find("status").textContent = words;
  find("status").className = look;
  find("detail").textContent = detail;
  find("progress").hidden = true;
}

function invite() {
  say(net.draws ? "Draw, or give a picture" : "Give a picture", { look: "quiet" });
}

function progress(words, share) {
  if (find("status").textContent !== words) say(words, { look: "quiet" });
  find("classes").classList.add("stale"); // what is shown is of the picture before
  find("progress").hidden = false;
  find("progress").value = share;
}

function seconds(ms) {
  return ms < 1000 ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

// The image as it enters the net.
function showSeen(image) {
  const [H, W, D] = net.image, canvas = find("seen");
  canvas.width = W;
  canvas.height = H;
  const pixels = new ImageData(W, H), bright = 255 / net.white;
  for (let i = 0; i < H * W; i++) {
    for (let map = 0; map < 3; map++) pixels.data[4 * i + map] = image[i * D + Math.min(map, D - 1)] * bright;
    pixels.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d", { willReadFrequently: true }).putImageData(pixels, 0, 0);
  find("seen-figure").hidden = false;
}

function give(files) {
  const file = [...files].find((one) => one.type.startsWith("image/")) ?? files[0];
  if (!file) return say("that holds no picture; save it as a file first, and give that", { look: "wrong" });
  if (shown) URL.revokeObjectURL(shown);
  find("picture").src = shown = URL.createObjectURL(file);
  find("picture").alt = file.name;
  find("drop").classList.add("full");
  session.predict({ name: file.name || "the picture", file });
}

find("picture").addEventListener("error", () => find("drop").classList.remove("full"));
find("file").addEventListener("change", ({ target }) => {
  if (target.files.length) give(target.files);
  target.value = ""; // so that the same file can be chosen again
});
addEventListener("paste", (event) => give(event.clipboardData.files));
for (const kind of ["dragenter", "dragover"]) {
  addEventListener(kind, (event) => {
    event.preventDefault();
    find("drop").classList.add("over");
  });
}
addEventListener("dragleave", (event) => event.relatedTarget || find("drop").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  find("drop").classList.remove("over");
  give(event.dataTransfer.files);
});

if (net.draws) {
  drawing = new Drawing(find("sheet"), net.image, net.dark, () => {
    if (lastMs <= LIVE_MS || !session.busy) session.predict({ name: "the drawing", pixels: drawing.pixels });
  });
  find("sheet").addEventListener("pointerup", () => session.predict({ name: "the drawing", pixels: drawing.pixels }));
  find("sheet").addEventListener("pen", ({ detail }) => showPen(detail));
  find("sheet").addEventListener("blur", () => (find("pen").hidden = true));
  find("clear").addEventListener("click", clear);
  find("dark").checked = net.dark;
  find("dark").addEventListener("change", ({ target }) => {
    drawing.turn(target.checked);
    clear();
  });
  find("draw").hidden = false;
}

function clear() {
  drawing.clear();
  results.show(null);
  find("seen-figure").hidden = true;
  invite();
}

function showPen({ x, y, down }) {
  const pen = find("pen");
  pen.hidden = false;
  pen.classList.toggle("down", down);
  pen.style.left = `${100 * x}%`;
  pen.style.top = `${100 * y}%`;
}
