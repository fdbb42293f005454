// Looks into the net, one after the other, and so seldom that they cost the training little.

import { parts } from "./ask.js";

const SHARE = 20; // of the time, one part in so many
const LEAST_MS = 700, MOST_MS = 30000; // of a pause

let turn = Promise.resolve();

// Waits for its turn; calls hear(part) for each part. Returns the milliseconds that it took the processor.
export function look(kind, asked, hear) {
  const mine = turn.then(async () => {
    let took = 0;
    for await (const part of parts(`look/${kind}`, asked)) {
      if (part.stage === "end") took = part.ms;
      else hear(part);
    }
    return took;
  });
  turn = mine.catch(() => {});
  return mine;
}

// Does `work` again and again while `wanted()`, with pauses by how long it took; what fails ends it until the next kick.
export class Again {
  constructor(work, wanted, failed) {
    Object.assign(this, { work, wanted, failed, busy: false });
  }

  async kick() {
    if (this.busy) return;
    this.busy = true;
    try {
      while (this.wanted()) {
        const took = await this.work();
        await new Promise((resolve) => setTimeout(resolve, Math.min(MOST_MS, Math.max(LEAST_MS, SHARE * took))));
      }
    } catch (error) {
      this.failed(error);
    }
    this.busy = false;
  }
}
