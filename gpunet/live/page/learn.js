// The guided tour: stop by stop over the notes, each with a net, or an op, that answers.

import { words } from "./ask.js";
import { find, make } from "./dom.js";
import { conv } from "./stops/conv.js";
import { early } from "./stops/early.js";
import { fields } from "./stops/fields.js";
import { columns } from "./stops/columns.js";
import { pool } from "./stops/pool.js";
import { ways } from "./stops/ways.js";

const STOPS = [conv, fields, columns, pool, early, ways];

export class Learn {
  // plan  called with what a link has of the net at a stop, to be planned
  constructor(plan) {
    this.plan = plan;
    find("stops").append(...STOPS.map((stop, at) => make("li", {}, make("button", { type: "button", text: `${at + 1}. ${stop.title}`, on: { click: () => this.go(at) } }))));
  }

  shown(chosen) {
    if (chosen && this.at === undefined) this.go(0);
  }

  async go(at) {
    this.at = at;
    const stop = STOPS[at];
    find("stops").querySelectorAll("button").forEach((button, one) => (one === at ? button.setAttribute("aria-current", "step") : button.removeAttribute("aria-current")));
    const said = make("p", { "aria-live": "polite" });
    const room = make("div");
    const own = make("button", { type: "button", text: "Plan this net", disabled: true });
    room.addEventListener("net", ({ detail }) => {
      own.disabled = false;
      own.onclick = () => this.plan(detail);
    });
    const next = make("button", { type: "button", text: at + 1 < STOPS.length ? "Next stop" : "Back to the first", on: { click: () => this.go((at + 1) % STOPS.length) } });
    find("stop-here").replaceChildren(make("h2", { text: stop.title }), ...stop.words.map((text) => make("p", { text })), room, said, make("div", { class: "row" }, own, next));
    const tried = async (work) => {
      try {
        await work();
        said.textContent = "";
      } catch (error) {
        said.textContent = words(error);
        said.className = "wrong";
      }
    };
    await tried(() => stop.open(room, tried));
  }
}
