// A net's program, run as gpunet planned it: one arena, every tensor at its place, the ops in order.

import { makeArena } from "./lanes.js";

const TYPES = { float32: Float32Array, float64: Float64Array, uint8: Uint8Array, int32: Int32Array };

// What ops take: the shape of a tensor, and its values where they lie.
export function tensor(arena, { offset, shape, dtype }) {
  const count = shape.reduce((product, size) => product * size, 1);
  return { shape, data: new TYPES[dtype](arena, offset, count) };
}

export class Program {
  // plan  {arena_bytes, tensors: [{offset, shape, dtype}], ops: [{name, arguments: [number of a tensor or null],
  //       numbers or null, layer, work}], image, scores}; `work` is an op's share of all, for whoever waits
  // ops   the functions by name
  constructor(plan, ops) {
    this.plan = plan;
    this.arena = makeArena(plan.arena_bytes);
    this.tensors = plan.tensors.map((one) => tensor(this.arena, one));
    this.calls = plan.ops.map((op) => {
      const given = op.arguments.map((number) => (number === null ? null : this.tensors[number]));
      const numbers = op.numbers ? [op.numbers] : [];
      return { op, run: () => ops[op.name](...given, ...numbers) };
    });
  }

  // The scores, as doubles, of an image: H*W*D bytes. Calls progress(share) behind each op, from 0 to 1.
  scores(image, progress = () => {}) {
    this.tensors[this.plan.image].data.set(image);
    let done = 0;
    for (const { op, run } of this.calls) {
      run();
      progress((done += op.work));
    }
    return Float64Array.from(this.tensors[this.plan.scores].data);
  }
}

// The softmax of scores. Throws where one is infinite or NaN.
export function probabilities(scores) {
  if (!scores.every(Number.isFinite)) throw new Error("the net gives scores that are infinite or NaN");
  const most = scores.reduce((a, b) => Math.max(a, b));
  const powers = scores.map((score) => Math.exp(score - most));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}
