// The playground of the memory planner: a net as text, and what it costs, as `gpunet plan --json` has it.

import { Newest, parts, send, words } from "./ask.js";
import { asked, FIELDS, fromLink, linkOf } from "./choices.js";
import { commandOf } from "./command.js";
import { bytes, draw, find, grouped, list, make, options, percent, short, table } from "./dom.js";
import { png, save, svgText } from "./files.js";
import { hideMistake, showMistake } from "./mistake.js";
import { drawArena } from "./pictures/arena.js";
import { drawLadder } from "./pictures/ladder.js";
import { KINDS, drawSteps, kindWords } from "./pictures/steps.js";

const PAUSE_MS = 60; // behind the last key
const MOST_ALIVE = 20;
const OCTAVE = 4; // notches of the batch's slider from a batch to twice as many

export class Plan {
  // start  what the server begins with;  train  called with {text, batch, optimizer} of a net to be trained
  constructor(start, train) {
    this.newest = new Newest();
    this.plan = null;
    this.start = start;
    options(find("shipped"), start.nets);
    options(find("optimizer"), start.optimizers);
    options(find("dtype"), start.dtypes);
    options(find("card"), start.cards.map((card) => [`${card.name} (${bytes(card.bytes)})`, card.name]));
    fromLink() || (find("text").value = start.text);
    this.listen(train);
    this.plannedSoon(0);
  }

  shown(chosen) {
    this.isShown = chosen;
    if (chosen && this.plan) this.drawPictures();
    if (chosen) this.goOn();
  }

  // Ask again where a file, or a stop of the tour, was asked for meanwhile.
  goOn() {
    if (this.superseded) this.plannedSoon(0);
  }

  listen(train) {
    const changed = () => this.plannedSoon(PAUSE_MS);
    for (const id of ["text", "micro", ...Object.values(FIELDS).map(([id]) => id)]) find(id).addEventListener("input", changed);
    find("card").addEventListener("input", () => (find("budget").value = ""));
    find("budget").addEventListener("input", () => (find("card").value = ""));
    find("batch-slide").addEventListener("input", ({ target }) => {
      find("batch").value = batchAt(target.value);
      changed();
    });
    find("shipped").addEventListener("change", ({ target }) => {
      if (target.value) find("text").value = target.value;
      changed();
    });
    find("as-text").addEventListener("click", () => this.asText());
    find("step").addEventListener("input", ({ target }) => this.at(Number(target.value)));
    find("train-this").addEventListener("click", () => {
      const { text, ...said } = asked();
      const chosen = ["batch", "optimizer", "dtype"].filter((name) => said[name]).map((name) => [name, said[name]]);
      this.tried(() => train({ text, ...Object.fromEntries(chosen) }));
    });
    find("copy-link").addEventListener("click", () => this.copyLink());
    find("save-json").addEventListener("click", () => this.exported("json", "plan.json"));
    find("save-snapshot").addEventListener("click", () => this.exported("snapshot", "plan.pickle"));
    find("save-svg").addEventListener("click", () => this.plan && save("plan.svg", svgText(this.pictures()), "image/svg+xml"));
    find("save-png").addEventListener("click", () => this.plan && this.tried(async () => save("plan.png", await png(this.pictures()))));
    addEventListener("hashchange", () => fromLink() && this.plannedSoon(0));
    addEventListener("resize", () => this.isShown && this.plan && this.drawPictures());
  }

  plannedSoon(ms) {
    clearTimeout(this.timer);
    hideMistake("action"); // now, not with the answer: what is done meanwhile may be wrong, too
    find("plan").dataset.old = this.waits = true; // until what is shown is that of what was written
    this.timer = setTimeout(() => this.newest.run((signal) => this.planned(signal)), ms);
  }

  async planned(signal) {
    const said = asked();
    this.link = linkOf(said);
    this.superseded = this.waits = false;
    try {
      for await (const part of parts("plan", said, { signal })) {
        if (signal.aborted) return;
        this.heard(part, said.text);
      }
    } catch (error) {
      if (signal.aborted) return;
      this.failed(words(error), "net");
      find("searching").textContent = this.plan ? "that of the net before the mistake" : "";
    }
  }

  heard(part, text) {
    if (part.stage === "net") {
      this.rungs = [];
      hideMistake("net");
      find("batch").placeholder = part.batch;
      for (const name of ["optimizer", "dtype"]) find(name).options[0].textContent = `the net's: ${part[name]}`;
    } else if (part.stage === "plan") {
      this.show(part, text);
    } else if (part.stage === "rung") {
      this.rungs.push(part);
      this.showLadder(true);
    } else if (part.stage === "search") {
      find("searching").textContent = this.plan.fits ? "looking for the largest batch" : "looking for ways to fit";
    } else if (part.stage === "done") {
      if (part.largest !== null) this.showLadder(false);
      find("searching").textContent = part.largest === null ? "" : `the largest batch that fits: ${grouped(part.largest)}`;
      find("cost").dataset.done = "true";
    } else if (part.stage === "superseded") {
      this.superseded = true;
      if (this.plan) this.showLadder(false);
      find("searching").textContent = "another plan was asked for meanwhile; change something to ask again";
    }
  }

  failed(what, of) {
    if (!what) return;
    showMistake(what, of);
    find("cost").dataset.done = "mistake";
  }

  async tried(work) {
    try {
      await work();
      hideMistake("action");
    } catch (error) {
      this.failed(words(error), "action");
    }
  }

  show({ plan, final, verdict, ops, command }, text) {
    this.plan = plan;
    this.ops = ops;
    this.step = plan.peak.step;
    if (!this.waits) delete find("plan").dataset.old;
    Object.assign(find("cost").dataset, { planned: final, done: "" }); // for whoever waits for the page
    find("verdict").textContent = final ? verdict : "does not fit by the free savings alone";
    find("verdict").className = final && !plan.fits ? "wrong" : "";
    find("searching").textContent = final ? "" : "looking for ways to fit";
    find("command").textContent = commandOf(text, command);
    if (batchAt(find("batch-slide").value) !== plan.batch) find("batch-slide").value = Math.round(OCTAVE * Math.log2(plan.batch));
    list(find("figures"), this.figures(plan));
    find("step").max = plan.steps - 1;
    this.showLadder(true);
    this.showLayers();
    if (this.isShown) this.drawPictures();
  }

  figures(plan) {
    const exact = (count) => ({ text: bytes(count), data: { bytes: count }, title: `${grouped(count)} bytes` });
    const ms = plan.predicted?.step_ms;
    return {
      "Arena": exact(plan.arena_bytes),
      "Reserve": exact(plan.reserve_bytes),
      "In all": exact(plan.total_bytes),
      ...(plan.budget_bytes === null ? {} : { "There is": exact(plan.budget_bytes) }),
      "Batch": grouped(plan.batch),
      "Parameters": grouped(plan.parameters),
      "Planned for": plan.card ?? plan.device,
      ...(ms ? { "Predicted a step": `${short(ms.low)} to ${short(ms.high)} ms` } : {}),
      ...(plan.ways.names.length ? { "To fit": plan.ways.names.join(", "), "Extra time": percent(plan.extra_time_fraction) } : {}),
    };
  }

  drawPictures() {
    const hear = { at: (step) => this.at(step), on: (layer, what) => this.light(layer, what) };
    find("steps").replaceChildren(drawSteps(this.plan, this.ops, find("steps").clientWidth, hear));
    find("arena").replaceChildren(drawArena(this.plan, find("arena").clientWidth, hear));
    find("kinds").replaceChildren(...KINDS.map(legend));
    this.at(this.step);
  }

  pictures() {
    return [find("steps").firstChild, find("arena").firstChild];
  }

  // Show who is alive in a step.
  at(step) {
    this.step = step;
    find("step").value = step;
    const [op, layer, phase] = this.ops[step];
    for (const picture of this.pictures()) picture?.moveTo(step);
    const alive = this.plan.tensors.filter((one) => one.first <= step && step < one.last).sort((a, b) => b.nbytes - a.nbytes);
    const sum = alive.reduce((total, one) => total + one.nbytes, 0);
    const peak = step === this.plan.peak.step ? ", the peak" : "";
    const rows = alive.slice(0, MOST_ALIVE).map((one) => [one.name, kindWords(one.kind), { text: bytes(one.nbytes), data: { bytes: one.nbytes } }]);
    const said = `step ${step} of ${this.plan.steps}${peak}: ${op} of ${layer}, ${phase}; ${alive.length} tensors, ${bytes(sum)}`;
    find("alive").replaceChildren(make("p", { text: said, data: { bytes: sum } }), table(["tensor", "kind", "bytes"], rows));
  }

  // Show a layer everywhere; null: none.
  light(layer, what = "") {
    find("steps").firstChild?.show(layer);
    for (const root of [find("arena"), find("layers")]) {
      root.classList.toggle("lighting", layer !== null);
      for (const one of root.querySelectorAll(".lit")) one.classList.remove("lit");
      if (layer === null) continue;
      for (const one of root.querySelectorAll("[data-layer]")) one.classList.toggle("lit", one.dataset.layer === layer);
    }
    if (layer !== null) find("told").textContent = what || this.about(layer);
  }

  about(layer) {
    const own = this.plan.tensors.filter((one) => one.layer === layer);
    const total = own.reduce((sum, one) => sum + one.nbytes, 0);
    return `${layer}: ${own.length} tensors, ${bytes(total)} over the step`;
  }

  showLayers() {
    const times = Object.fromEntries((this.plan.predicted?.layers ?? []).map((one) => [one.name, one]));
    const heads = ["layer", "type", "output", "parameters", "activations", "gradients", "parameters, gradients, caches", "scratch"];
    const timed = Object.keys(times).length > 0;
    const cell = (count) => ({ text: count ? bytes(count) : "", data: { bytes: count } });
    const rows = this.plan.layers.map((one) => [
      one.name,
      one.type,
      one.output.join("x"),
      one.parameters ? grouped(one.parameters) : "",
      cell(one.activation_bytes),
      cell(one.gradient_bytes),
      cell(one.parameter_bytes + one.parameter_gradient_bytes + one.optimizer_cache_bytes),
      cell(one.workspace_bytes),
      ...(timed ? [short(times[one.name]?.ms)] : []),
    ]);
    find("layers").replaceChildren(table(timed ? [...heads, "ms, predicted"] : heads, rows, (at) => this.rowOf(this.plan.layers[at].name)));
  }

  rowOf(layer) {
    const on = () => this.light(layer), off = () => this.light(null);
    return { tabindex: 0, data: { layer }, on: { mouseenter: on, focus: on, mouseleave: off, blur: off } };
  }

  showLadder(looking) {
    const without = make("p", { text: "Without a limit there is no largest batch: choose a card, or say a budget." });
    find("ladder").replaceChildren(...(this.plan.budget_bytes === null ? [without] : drawLadder(this.rungs, looking)));
  }

  async asText() {
    await this.tried(async () => {
      const name = find("text").value.trim();
      if (!this.start.nets.includes(name)) return;
      find("text").value = await (await fetch(`net/${name}`)).text();
      this.plannedSoon(0);
    });
  }

  async copyLink() {
    history.replaceState(null, "", this.link);
    try {
      await navigator.clipboard.writeText(location.href);
      find("told").textContent = "the link is copied: it has the net and the choices in it";
    } catch {
      find("told").textContent = "the address of this page has the net and the choices in it now";
    }
  }

  open(link) {
    history.replaceState(null, "", `#${link}`);
    fromLink();
    this.plannedSoon(0);
  }

  async exported(kind, name) {
    await this.tried(async () => {
      const answer = await send(`file/${kind}`, JSON.stringify(asked()));
      save(name, await answer.blob());
    });
    this.goOn();
  }
}

// The batch at a notch of the slider.
function batchAt(notch) {
  return Math.round(2 ** (notch / OCTAVE));
}

function legend(kind) {
  const square = draw("svg", { width: 10, height: 10, "aria-hidden": "true" }, draw("rect", { width: 10, height: 10, fill: `var(--${kind})` }));
  return make("li", {}, square, kindWords(kind));
}
