// The ladder of ways: the largest batch with the free savings alone, and with each way beyond them; rung by rung, as they are found.

import { bytes, grouped, make, percent, short, table } from "../dom.js";

const WAYS = {
  "": "free savings alone",
  "recompute": "layers made again, too",
  "recompute,chunks": "first layers in rounds, too",
  "chunks": "first layers in rounds, too",
  "micro-batches": "the whole step in rounds",
  "recompute,chunks,micro-batches": "all of these",
};

// rungs  as `gpunet fit --json` has them;  looking  whether there are more to be found
export function drawLadder(rungs, looking) {
  const rows = rungs.map((rung) => [
    WAYS[rung.ways.join(",")] ?? rung.ways.join(", "),
    { text: grouped(rung.batch), data: { batch: rung.batch } },
    rung.total_bytes === null ? "" : bytes(rung.total_bytes),
    rung.batch ? percent(rung.extra_time_fraction) : "",
    rung.predicted_ms ? short(rung.predicted_ms.likely) : "",
    rung.predicted_ms ? short((1000 * rung.batch) / rung.predicted_ms.likely) : "",
  ]);
  const found = table(["ways", "batch", "takes", "extra time", "ms a step", "images/s"], rows);
  return looking ? [found, make("p", { class: "hint", text: "looking for the next rung" })] : [found];
}
