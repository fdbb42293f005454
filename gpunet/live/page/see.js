// What the net makes of an image: its layers, what a prediction goes by, and what is taken for what.

import { send, words } from "./ask.js";
import { find, grouped, make, options, percent, short } from "./dom.js";
import { Drawing } from "./drawing.js";
import { Again, look } from "./looks.js";
import { drawConfusion } from "./pictures/confusion.js";
import { drawHistogram } from "./pictures/histogram.js";
import { drawTiles, placeIn } from "./pictures/tiles.js";
import { Results } from "./results.js";

const SETS = [["activations", "activations"], ["gradients", "gradients"], ["filters", "filters"], ["filter_gradients", "gradients of the filters"]];
const MOST_LOOKS = 60;
const SEEN_PIXELS = 144;
const MOST_SHEET = 64; // pixels of a side that people draw on

export class See {
  constructor(news) {
    this.news = news;
    this.source = { index: 0 }; // or {picture}
    this.history = {};
    this.cards = {};
    this.inView = new Set();
    this.observer = new IntersectionObserver((entries) => this.moved(entries), { rootMargin: "200px" });
    this.again = new Again(() => this.layers(), () => this.isShown && !document.hidden && find("follow").checked && this.news.said?.state === "running", (error) => this.say(error));
    this.listen();
    news.listen((said) => this.hear(said));
  }

  shown(chosen) {
    this.isShown = chosen;
    if (!chosen) return;
    this.once();
    this.again.kick();
  }

  listen() {
    const index = find("index");
    const turn = (step) => {
      index.value = Math.max(0, Number(index.value) + step);
      this.choose({ index: Number(index.value) });
    };
    find("before").addEventListener("click", () => turn(-1));
    find("after").addEventListener("click", () => turn(1));
    index.addEventListener("change", () => turn(0));
    find("follow").addEventListener("change", () => this.again.kick());
    find("salient").addEventListener("click", () => this.saliency());
    find("judge").addEventListener("click", () => this.judge());
    for (const id of ["field-layer", "field-row", "field-column"]) find(id).addEventListener("input", () => this.showField());
    find("file").addEventListener("change", ({ target }) => {
      if (target.files.length) this.give(target.files[0]);
      target.value = "";
    });
    addEventListener("paste", ({ clipboardData }) => this.isShown && clipboardData.files.length && this.give(clipboardData.files[0]));
    for (const kind of ["dragenter", "dragover"]) addEventListener(kind, (event) => (event.preventDefault(), find("give").classList.add("over")));
    addEventListener("dragleave", (event) => event.relatedTarget || find("give").classList.remove("over"));
    addEventListener("drop", (event) => {
      event.preventDefault();
      find("give").classList.remove("over");
      if (this.isShown && event.dataTransfer.files.length) this.give(event.dataTransfer.files[0]);
    });
    find("clear").addEventListener("click", () => this.drawing?.clear());
    find("dark").addEventListener("change", ({ target }) => this.drawing?.turn(target.checked));
  }

  hear(said) {
    if (said.layers && said.began !== this.began) {
      this.began = said.began;
      this.open(said);
    }
    this.again.kick();
  }

  // Another net, or the same begun anew.
  open(said) {
    this.classes = said.classes;
    this.history = {};
    this.observer.disconnect();
    this.inView.clear();
    this.cards = Object.fromEntries(said.layers.map((layer) => [layer.name, card(layer)]));
    find("maps").replaceChildren(...Object.values(this.cards));
    for (const one of Object.values(this.cards)) this.observer.observe(one);
    find("classes").replaceChildren();
    this.results = new Results(find("classes"), said.classes);
    for (const id of ["field-layer", "of-class"]) find(id).replaceChildren();
    options(find("field-layer"), said.layers.map((layer) => layer.name));
    options(find("of-class"), [["the most probable", ""], ...said.classes.map((name, at) => [name, at])]);
    this.source = { index: 0 };
    find("index").value = 0;
    this.openSheet(said.image);
    if (this.isShown) this.once();
  }

  openSheet([H, W, D]) {
    find("give").hidden = ![1, 3].includes(D);
    const fresh = find("sheet").cloneNode();
    find("sheet").replaceWith(fresh); // without the listeners of the net before
    const side = Math.max(H, W), small = side > MOST_SHEET ? [Math.round((H * MOST_SHEET) / side), Math.round((W * MOST_SHEET) / side)] : [H, W];
    this.drawing = new Drawing(fresh, [...small, D], find("dark").checked, () => this.drawn());
  }

  drawn() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => find("sheet").toBlob((blob) => this.give(blob)), 150);
  }

  async give(file) {
    try {
      const { picture } = await (await send("picture", file)).json();
      await this.choose({ picture });
    } catch (error) {
      this.say(error);
    }
  }

  choose(source) {
    this.source = source;
    return this.once();
  }

  moved(entries) {
    const before = this.inView.size;
    for (const { target, isIntersecting } of entries) this.inView[isIntersecting ? "add" : "delete"](target.dataset.layer);
    if (this.isShown && this.inView.size > before) this.once();
  }

  // One look, and one more where something was asked for meanwhile.
  async once() {
    this.wanted = true;
    if (this.looking || !this.classes) return;
    this.looking = true;
    try {
      while (this.wanted) {
        this.wanted = false;
        await this.layers();
      }
    } catch (error) {
      this.say(error);
    }
    this.looking = false;
  }

  say(error) {
    find("see-message").textContent = error instanceof Error ? words(error) : error;
    find("see-message").className = "wrong";
  }

  async layers() {
    const source = this.source;
    const took = await look("layers", { ...source, layers: [...this.inView] }, (part) => {
      if (part.stage === "image") this.showImage(part, source);
      if (part.stage === "layer") this.showLayer(part);
    });
    find("see-message").textContent = "";
    this.showField();
    return took;
  }

  showImage({ picture, gradient, label, chances, step }, source) {
    this.size = { h: picture.h, w: picture.w };
    this.picture = picture;
    this.redrawImage();
    drawTiles(find("seen-gradient"), gradient);
    find("seen-gradient").style.width = "";
    const whose = source.picture === undefined ? `image ${source.index}: ${this.classes[label]}` : "your picture";
    find("seen-about").textContent = `${whose}, after step ${grouped(step)}`;
    find("seen-gradient-about").textContent = `its gradient, ${short(gradient.low)} to ${short(gradient.high)}`;
    this.results.show(chances);
  }

  redrawImage() {
    drawTiles(find("seen"), this.picture, 1);
    find("seen").style.width = `${SEEN_PIXELS}px`;
  }

  showLayer(part) {
    const one = this.cards[part.name];
    if (!one) return;
    one.field = part.field;
    const shown = [make("h3", { text: part.name })];
    const { low, high } = part.activations;
    const dead = part.dead ? `; ${part.dead[0]} of ${part.dead[1]} units are 0 in all of ${part.dead[2]} images` : "";
    shown.push(make("p", { class: "hint", text: `${one.dataset.about}; ${short(low)} to ${short(high)}${dead}`, data: { low, high } }));
    for (const [name, caption] of SETS) {
      if (!part[name]) continue;
      shown.push(this.set(part.name, name, caption, part[name]));
    }
    for (const [name, caption] of [["histogram", "activations"], ["weights", "weights"]]) {
      if (!part[name]) continue;
      const kept = (this.history[`${part.name}.${name}`] ??= []);
      kept.push(part[name]);
      if (kept.length > MOST_LOOKS) kept.shift();
      shown.push(make("figure", {}, make("figcaption", { text: caption }), drawHistogram(kept, `${caption} of ${part.name}`)));
    }
    one.replaceChildren(...shown);
  }

  set(layer, name, caption, set) {
    const canvas = make("canvas", { role: "img", "aria-label": `${caption} of ${layer}`, data: { set: name } });
    const tiles = drawTiles(canvas, set);
    const first = !set.row && set.n < set.of ? `the first ${set.n} of ${set.of}, ` : "";
    const size = set.row ? `${set.of} values` : `${set.h}x${set.w}`;
    const text = `${caption}: ${first}${size}, ${short(set.low)} to ${short(set.high)}`;
    if (name === "activations") {
      canvas.addEventListener("click", (event) => {
        const { row, column } = placeIn(canvas, tiles, event);
        Object.assign(find("field-layer"), { value: layer });
        find("field-row").value = row;
        find("field-column").value = column;
        this.showField();
      });
    }
    return make("figure", {}, make("figcaption", { text }), canvas);
  }

  // What a unit sees, drawn on the image.
  showField() {
    const field = this.cards[find("field-layer").value]?.field;
    if (!field || !this.picture) return;
    const [rows, columns] = field, at = (axis, id) => axis.start + axis.stride * Number(find(id).value);
    const top = at(rows, "field-row"), left = at(columns, "field-column");
    this.redrawImage();
    const [H, W] = this.news.said.image, scale = this.size.h / H;
    const context = find("seen").getContext("2d");
    context.fillStyle = "rgb(26 98 212 / 45%)";
    context.fillRect(left * scale, top * scale, columns.size * scale, rows.size * scale);
    find("field-told").textContent = `sees rows ${top} to ${top + rows.size - 1}, columns ${left} to ${left + columns.size - 1} of ${H}x${W}; below 0 is padding`;
  }

  async saliency() {
    const chosen = find("of-class").value;
    const shown = [];
    try {
      await look("saliency", { ...this.source, ...(chosen === "" ? {} : { class: Number(chosen) }) }, (part) => {
        if (part.stage === "image") this.about = `${this.classes[part.class]}, ${percent(part.chance)}`;
        if (part.stage !== "map") return;
        const canvas = make("canvas", { role: "img", "aria-label": `${part.kind} saliency` });
        drawTiles(canvas, part.map);
        canvas.style.width = "";
        const text = part.kind === "occlusion" ? `occlusion: probability where a square is covered, ${short(part.map.low)} to ${short(part.map.high)}` : `${part.kind}, to ${short(part.map.high)}`;
        shown.push(make("figure", {}, canvas, make("figcaption", { text })));
      });
      find("saliency").replaceChildren(make("p", { text: this.about }), ...shown);
    } catch (error) {
      find("saliency").replaceChildren(make("p", { class: "wrong", text: words(error) }));
    }
  }

  async judge() {
    const mistakes = [];
    try {
      await look("judged", {}, (part) => {
        if (part.stage === "confusion") this.showConfusion(part);
        if (part.stage === "mistake") mistakes.push(this.mistake(part));
      });
      find("mistakes").replaceChildren(...mistakes);
    } catch (error) {
      find("judged-about").textContent = words(error);
    }
  }

  showConfusion({ counts, accuracy, images, classes, step }) {
    const whose = this.news.said.judged_by === "test" ? "to test on" : "to validate with";
    find("judged-about").textContent = `${percent(accuracy, 2)} of ${grouped(images)} images ${whose} are told right, after step ${grouped(step)}; the worst mistakes are below`;
    find("confusion").replaceChildren(drawConfusion(counts, classes));
  }

  mistake({ index, picture, label, said, chance }) {
    const canvas = make("canvas", { role: "img", "aria-label": `image ${index}` });
    drawTiles(canvas, picture, 1);
    canvas.style.width = "";
    const text = `${this.classes[label]}, taken for ${this.classes[said]}, ${percent(chance, 0)}`;
    const on = {
      click: () => {
        find("index").value = index;
        this.choose({ index });
        find("see").scrollIntoView();
      },
    };
    return make("li", {}, make("button", { type: "button", on }, canvas, text));
  }
}

function card(layer) {
  const about = `${layer.type}, ${layer.output}`;
  return make("article", { class: `layer ${layer.type}`, data: { layer: layer.name, about } }, make("h3", { text: layer.name }), make("p", { class: "hint", text: about }));
}
