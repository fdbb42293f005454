// The page: its tabs, and what they share.

import { ask, send } from "./ask.js";
import { find } from "./dom.js";
import { Learn } from "./learn.js";
import { News } from "./news.js";
import { Plan } from "./plan.js";
import { See } from "./see.js";
import { Train } from "./train.js";

const NAMES = ["plan", "train", "see", "learn"];
const HERE_MS = 60000; // a page that is open says so, also where it is hidden

const start = await (await fetch("start")).json();
const news = new News();
const parts = {};
parts.learn = new Learn((link) => {
  parts.plan.open(link);
  show("plan");
});
parts.see = new See(news);
parts.train = new Train(news, start);
parts.plan = new Plan(start, async (asked) => {
  await ask("do", { do: "net", ...asked });
  show("train");
});

function show(name) {
  for (const one of NAMES) {
    const chosen = one === name, tab = find(`tab-${one}`);
    find(one).hidden = !chosen;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    parts[one].shown(chosen);
  }
  document.title = `gpunet live: ${name}`;
}

for (const [at, name] of NAMES.entries()) {
  const tab = find(`tab-${name}`);
  tab.addEventListener("click", () => show(name));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = NAMES[(at + step + NAMES.length) % NAMES.length];
    show(next);
    find(`tab-${next}`).focus();
  });
}

news.listen((said) => {
  const where = said.progress ? `, epoch ${said.progress.epoch}, step ${said.progress.total}` : "";
  find("state").textContent = said.state === "closed" ? "gpunet live has ended" : `${said.net ?? ""} ${said.state}${where}`;
});
news.begin();
setInterval(() => send("here", "{}").catch(() => news.lost()), HERE_MS);
show("plan");
