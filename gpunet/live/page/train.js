// The training: its controls, its numbers and curves, and what it says of some images meanwhile.

import { ask, words } from "./ask.js";
import { bytes, find, grouped, list, make, options, percent, short } from "./dom.js";
import { Again, look } from "./looks.js";
import { drawChances } from "./pictures/chances.js";
import { drawCurve } from "./pictures/curve.js";
import { drawTiles } from "./pictures/tiles.js";

const SMOOTH = 0.95;
const MOST_EXAMPLES = 80;
const MOST_POINTS = 800; // of a line that is drawn
const DRAW_MS = 250;

export class Train {
  constructor(news, start) {
    this.news = news;
    options(find("anew").elements.optimizer, start.optimizers);
    this.listen();
    this.examples = new Again(() => this.someExamples(), () => this.isShown && !document.hidden && news.said?.state === "running", (error) => this.say(words(error)));
    news.listen((said, points) => this.hear(said, points));
    document.addEventListener("visibilitychange", () => this.examples.kick());
  }

  shown(chosen) {
    this.isShown = chosen;
    if (!chosen) return;
    this.redraw();
    this.examples.kick();
  }

  listen() {
    for (const [id, what] of [["start", "start"], ["pause", "pause"], ["one", "step"], ["stop", "stop"]]) {
      find(id).addEventListener("click", () => this.tell({ do: what }));
    }
    find("measure").addEventListener("click", () => this.measure());
    find("reset").addEventListener("click", () => this.tell({ do: "reset", ...numbers(find("anew"), this.said.settings, true) }));
    find("at-once").addEventListener("submit", (event) => {
      event.preventDefault();
      this.tell({ do: "change", ...numbers(find("at-once"), this.said.settings) });
    });
    find("anew").addEventListener("submit", (event) => {
      event.preventDefault();
      this.tell({ do: "net", ...numbers(find("anew"), this.said.settings) });
    });
    addEventListener("resize", () => this.isShown && this.redraw());
  }

  async tell(asked) {
    this.say("");
    try {
      await ask("do", asked);
    } catch (error) {
      this.say(words(error));
    }
  }

  async measure() {
    this.say("timing a step, on random images");
    try {
      this.times = (await ask("do", { do: "measure" })).phases;
      this.say("");
      this.showNumbers();
    } catch (error) {
      this.say(words(error));
    }
  }

  say(what) {
    find("train-message").textContent = what;
    find("train-message").className = what && !what.startsWith("timing") ? "wrong" : "";
  }

  hear(said, points) {
    if (said.began !== this.said?.began) {
      find("examples").replaceChildren();
      this.times = null;
    }
    this.fill(said.settings ?? {}, this.said?.settings ?? {});
    const before = this.said;
    this.said = said;
    this.points = points;
    if (said.message !== before?.message) {
      find("train-message").textContent = said.message ?? "";
      find("train-message").className = said.state === "failed" ? "wrong" : "";
    }
    const open = !["opening", "failed", "closed"].includes(said.state), over = said.state === "finished";
    find("start").disabled = !open || over || said.state === "running";
    find("start").textContent = said.state === "paused" ? "Resume" : "Start";
    find("pause").disabled = said.state !== "running";
    find("one").disabled = !open || over;
    find("measure").disabled = !open;
    find("stop").disabled = said.state === "closed";
    if (this.isShown) this.redrawSoon();
    this.examples.kick();
  }

  // Bring the fields to the settings that are other than before; what somebody is writing stays.
  fill(settings, before) {
    for (const form of [find("at-once"), find("anew")]) {
      for (const field of form.elements) {
        if (!field.name || settings[field.name] === before[field.name]) continue;
        field.value = settings[field.name] ?? "";
        field.disabled = settings[field.name] === null && field.name !== "clip_norm";
      }
    }
  }

  redrawSoon() {
    if (this.drawing) return;
    this.drawing = setTimeout(() => {
      this.drawing = null;
      if (this.isShown) this.redraw();
    }, DRAW_MS);
  }

  redraw() {
    const said = this.said;
    if (!said) return;
    const kept = said.run ? `, kept in ${said.run}` : "";
    find("train-about").textContent = said.net ? `${said.net} on ${said.device}, learning from ${said.settings.data}, schedule ${said.settings.schedule}${kept}` : "";
    this.showNumbers();
    const raw = thinned(this.points.map((point) => [point[0], point[1]]));
    const lines = [{ name: "a step", className: "raw", points: raw }, { name: "smoothed", className: "smooth", points: smoothed(raw) }];
    find("loss").replaceChildren(drawCurve(lines, find("loss").clientWidth, { label: "Loss over the steps" }));
    const judged = said.judged_by === "test" ? "test_accuracy" : "val_accuracy";
    const of = (name) => said.epochs.map((row) => [row.epoch, row[name]]).filter((point) => point[1] !== null);
    const rates = [{ name: "train", className: "smooth", points: of("train_accuracy") }, { name: said.judged_by ?? "", className: "second", points: of(judged) }];
    find("accuracy").replaceChildren(drawCurve(rates, find("accuracy").clientWidth, { span: [0, 1], unit: (value) => percent(value, 0), label: "Accuracy over the epochs" }));
  }

  showNumbers() {
    const said = this.said, now = said.progress, last = said.epochs.at(-1), times = this.times;
    const judged = last && (said.judged_by === "test" ? last.test_accuracy : last.val_accuracy);
    const each = (phase) => (times ? `${short(times[phase] ?? 0)} ms` : "");
    list(find("numbers"), {
      "State": said.state,
      "Epoch": now ? `${now.epoch} of ${said.settings.epochs}` : "",
      "Step": now ? { text: `${grouped(now.total)} (${now.step} of ${now.steps})`, data: { steps: now.total } } : "",
      "Loss": now ? { text: short(now.loss), data: { loss: now.loss } } : "",
      "Loss, mean of the epoch": now ? short(now.mean_loss) : "",
      "Training accuracy": now ? percent(now.mean_accuracy) : "",
      [said.judged_by === "test" ? "Test accuracy, each epoch" : "Validation accuracy"]: percent(judged ?? null),
      "Test accuracy, at the end": percent(said.test_accuracy ?? null, 2),
      "Learning rate": now ? short(now.rate) : "",
      "Images/s": now ? short(now.images_per_second) : "",
      "Forward": each("forward"),
      "Backward": each("backward"),
      "Update": each("update"),
      "Arena": said.arena_bytes ? { text: bytes(said.arena_bytes), data: { bytes: said.arena_bytes } } : "",
      "Free on the device": said.free_bytes ? bytes(said.free_bytes) : "",
    });
  }

  async someExamples() {
    const fresh = [];
    const took = await look("examples", { draw: this.said.progress?.total ?? 0 }, (part) => part.stage === "example" && fresh.push(part));
    for (const part of fresh) {
      const canvas = make("canvas", { role: "img", "aria-label": `image ${part.index}, ${this.said.classes[part.label]}` });
      drawTiles(canvas, part.picture, 1);
      canvas.style.width = "";
      const words = make("div", {}, ...drawChances(part.chances, this.said.classes, part.label));
      find("examples").prepend(make("li", { class: "example" }, canvas, words));
    }
    while (find("examples").children.length > MOST_EXAMPLES) find("examples").lastChild.remove();
    find("examples-about").textContent = `Of those to ${this.said.judged_by === "test" ? "test on" : "validate with"}; green: the right class.`;
    return took;
  }
}

// What stands in a form and is other than the settings; of all its fields where asked.
function numbers(form, settings, all = false) {
  const found = {};
  for (const field of form.elements) {
    if (!field.name || field.disabled) continue;
    const value = field.type === "number" ? (field.value === "" ? null : Number(field.value)) : field.value;
    if (all || value !== (settings[field.name] ?? null)) found[field.name] = value;
  }
  return found;
}

function thinned(points) {
  const every = Math.ceil(points.length / MOST_POINTS);
  return points.filter((_, at) => at % every === 0 || at === points.length - 1);
}

function smoothed(points) {
  let mean = 0, weight = 0;
  return points.map(([step, loss]) => {
    mean = SMOOTH * mean + (1 - SMOOTH) * loss;
    weight = SMOOTH * weight + (1 - SMOOTH);
    return [step, mean / weight];
  });
}
