// Four float32 at a time: JavaScript has no word for what processors do with them, WebAssembly has. One small function is
// put together here, of the sums of a tile of a matrix product; the arena becomes its memory. Where a browser has no such
// thing, the arena is a plain one and products are made in JavaScript. Source: WebAssembly 2.0, binary format.

const PAGE_BYTES = 1 << 16;
const SUMS_BYTES = 16 * 16; // 16 results, each in four parts
const SCRATCH_VALUES = 1 << 17; // 512 KiB, which stay near the processor

let lanes = null; // {buffer, tile, sums, scratch} of the arena made last

// An arena of so many bytes: an ArrayBuffer of at least as many.
export function makeArena(bytes) {
  lanes = null;
  try {
    const behind = Math.ceil(bytes / 16) * 16, whole = behind + SUMS_BYTES + 4 * SCRATCH_VALUES;
    const memory = new WebAssembly.Memory({ initial: Math.ceil(whole / PAGE_BYTES) });
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(moduleBytes()), { gpunet: { memory } });
    const sums = new Float32Array(memory.buffer, behind, SUMS_BYTES / 4);
    const scratch = new Float32Array(memory.buffer, behind + SUMS_BYTES, SCRATCH_VALUES);
    lanes = { buffer: memory.buffer, tile: exports.tile, sums, scratch };
    return memory.buffer;
  } catch {
    return new ArrayBuffer(bytes);
  }
}

// Room for so many values, of no defined content, beside the arena `buffer` where there is some.
export function scratch(values, buffer) {
  const beside = lanes && lanes.buffer === buffer && values <= SCRATCH_VALUES;
  return beside ? lanes.scratch.subarray(0, values) : new Float32Array(values);
}

// Whether laneTile can read these arrays.
export function hasLanes(...arrays) {
  return lanes !== null && arrays.every((array) => array.buffer === lanes.buffer);
}

// As plainTile of product.js.
export function laneTile(sums, left, right, rows, filters, length) {
  const whole = length & ~3, parts = lanes.sums;
  const at = (array, start) => array.byteOffset + 4 * start;
  if (whole) lanes.tile(...rows.map((start) => at(left, start)), ...filters.map((start) => at(right, start)), 4 * whole, parts.byteOffset);
  for (let place = 0; place < 16; place++) {
    let sum = 0;
    if (whole) sum = parts[4 * place] + parts[4 * place + 1] + parts[4 * place + 2] + parts[4 * place + 3];
    const a = rows[place >> 2], b = filters[place & 3];
    for (let l = whole; l < length; l++) sum += left[a + l] * right[b + l];
    sums[place] = sum;
  }
}

// -- the module

const I32 = 0x7f, V128 = 0x7b, NOTHING = 0x40;
const LOCAL_GET = 0x20, LOCAL_SET = 0x21, LOCAL_TEE = 0x22;
const LOOP = 0x03, BRANCH_IF = 0x0d, END = 0x0b;
const I32_CONST = 0x41, I32_ADD = 0x6a, I32_LESS = 0x49;
const LOAD = [0xfd, 0x00, 0, 0], STORE = [0xfd, 0x0b, 0], ADD = [0xfd, 0xe4, 0x01], TIMES = [0xfd, 0xe6, 0x01];
const [LENGTH, OUT, PLACE, ROW, FILTER, SUM] = [8, 9, 10, 11, 15, 16]; // locals; 0 to 7: where rows and filters begin

function moduleBytes() {
  const name = (text) => sized([...text].map((letter) => letter.charCodeAt(0)));
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, ...sized(Array(10).fill(I32)), 0]), // the type of a function of ten integers
    ...section(2, [1, ...name("gpunet"), ...name("memory"), 2, 0, 1]), // a memory of a page or more comes in
    ...section(3, [1, 0]),
    ...section(7, [1, ...name("tile"), 0, 0]),
    ...section(10, [1, ...sized(tileBody())]),
  ]);
}

// tile(a0, a1, a2, a3, b0, b1, b2, b3, length, out): addresses, and a length of at least 16 bytes. The four parts of each
// of the 16 sums of products go to `out`.
function tileBody() {
  const get = (local) => [LOCAL_GET, local], set = (local) => [LOCAL_SET, local];
  const loaded = (address) => [...get(address), ...get(PLACE), I32_ADD, ...LOAD];
  const four = [0, 1, 2, 3];
  const added = (r, k) => {
    const sum = SUM + 4 * r + k;
    return [...get(sum), ...get(ROW + r), ...get(FILTER), ...TIMES, ...ADD, ...set(sum)];
  };
  return [
    ...[2, 1, I32, 4 + 1 + 16, V128],
    ...[LOOP, NOTHING],
    ...four.flatMap((r) => [...loaded(r), ...set(ROW + r)]),
    ...four.flatMap((k) => [...loaded(4 + k), ...set(FILTER), ...four.flatMap((r) => added(r, k))]),
    ...[...get(PLACE), I32_CONST, 16, I32_ADD, LOCAL_TEE, PLACE, ...get(LENGTH), I32_LESS, BRANCH_IF, 0],
    END,
    ...Array.from({ length: 16 }, (_, n) => [...get(OUT), ...get(SUM + n), ...STORE, ...number(16 * n)]).flat(),
    END,
  ];
}

function section(kind, content) {
  return [kind, ...sized(content)];
}

function sized(content) {
  return [...number(content.length), ...content];
}

// A whole number in pieces of seven bits, the lowest first.
function number(value) {
  return value < 128 ? [value] : [(value & 127) | 128, ...number(value >> 7)];
}
