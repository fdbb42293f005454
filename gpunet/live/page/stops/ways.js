// Stop 6: what each way to fit costs, rung by rung, for a card of one's own.

import { parts } from "../ask.js";
import { bytes, grouped, make, percent, short, table } from "../dom.js";
import { netOf } from "../lesson.js";

const BUDGETS = ["3GiB", "4GiB", "6GiB", "8GiB", "12GiB"];

export const ways = {
  title: "What each way to fit costs",
  words: [
    "What is free comes first: values that die early, pools before ReLUs, gradients over gradients. Where that is not enough, some layers are made again in the backward pass: time for memory. Then the first layers run some images at a time; and last, where it is asked for, the whole step.",
    "Choose how much memory there is for VGG-16: the largest batch in each way, and what it costs. The later rungs are searched for, which takes some seconds.",
  ],
  async open(room, tried) {
    let ending = null;
    const told = make("p"), rows = make("div", { class: "wide", tabindex: 0, role: "group", "aria-label": "The ladder" });
    const load = (budget) => async () => {
      ending?.abort();
      ending = new AbortController();
      netOf(room, "vgg16", { budget, batch: 16 });
      const rungs = [];
      for await (const part of parts("plan", { text: "vgg16", budget, batch: 16 }, { signal: ending.signal })) {
        if (part.stage === "rung") rungs.push(part);
        if (part.stage === "end") break;
        told.textContent = part.stage === "done" ? `In ${budget}, that is all of them.` : `In ${budget}: looking`;
        rows.replaceChildren(table(["ways", "batch", "takes", "extra time", "images/s, predicted"], rungs.map((rung) => [
          rung.used.join(", ") || "free savings alone",
          { text: grouped(rung.batch), data: { batch: rung.batch } },
          rung.total_bytes === null ? "" : bytes(rung.total_bytes),
          rung.batch ? percent(rung.extra_time_fraction) : "does not fit",
          rung.predicted_ms ? short((1000 * rung.batch) / rung.predicted_ms.likely) : "",
        ])));
      }
    };
    room.append(make("div", { class: "row" }, ...BUDGETS.map((text) => make("button", { type: "button", text, on: { click: () => tried(load(text)) } }))), told, rows);
    await load(BUDGETS[2])();
  },
};
