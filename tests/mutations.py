"""Mutants: changes of the kernels that the tests must notice. `tests/mutants.py` tries them.

Those of a kernel stand in the file of its tests, those of common.cuh here.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from gpunet.devices.cuda.source import kernel_files

USERS = {
    "half types": ("relu", "cast", "half_kernels"),
    "thrice_products": ("thrice_products",),
    "items": ("relu", "image"),
    "elementwise": ("image", "relu"),
    "table": ("update", "batch_norm"),
    "covering": ("conv", "pool"),
    "place_of": ("pool", "average_pool"),
    "each_seen": ("pool", "average_pool"),
    "seen": ("average_pool",),
    "each_window": ("pool", "average_pool", "local"),
    "beats": ("pool", "softmax"),
    "best": ("softmax", "hinge"),
    "reduce": ("bias", "loss"),
    "random_words": ("dropout", "augment"),
    "add_bias": ("conv", "fc"),
    "each_pack": ("pool", "conv"),
    "divisor": ("pool", "conv", "bias"),
    "each_column": ("fc", "batch_norm"),
    "batch_norm_relu_forward": ("batch_norm", "batch_norm_relu"),
    "batch_norm_relu_backward_sums": ("batch_norm", "batch_norm_relu"),
    "batch_norm_relu_backward": ("batch_norm", "batch_norm_relu"),
    "columns": ("bias", "batch_norm"),
    "normalized": ("batch_norm", "conv_norm"),
    "warp": ("softmax",),
    "halves": ("pool", "by_axis", "conv_pool"),
    "add_maps": ("merge", "concat"),
    "relu_backward_maps": ("relu", "concat"),
    "relu_mask_maps": ("relu", "concat"),
    "relu_backward_masked_maps": ("relu", "concat"),
    "rows of batch norm": ("batch_norm", "batch_norm_relu", "concat"),
    "rows of implicit": ("conv", "conv_relu", "concat"),
    "rows of winograd": ("conv", "conv_relu", "concat"),
}
"""Who uses what stands in one file and is used from others, or a part of common.cuh: enough of them to tell."""

TESTS = {
    "tile": ("implicit",),
    "gather": ("implicit",),
    "implicit_forward": ("implicit", "concat"),
    "implicit_backward_input": ("implicit",),
    "implicit_backward_weights": ("implicit",),
    "forward": ("implicit",),
    "backward_input": ("implicit",),
    "backward_weights": ("implicit",),
    "implicit_pool_forward": ("conv_pool",),
    "implicit_pool_backward_input": ("conv_pool",),
    "implicit_pool_backward_weights": ("conv_pool",),
    "unpool": ("conv_pool",),
    "plus_bias": ("implicit", "concat"),
    "implicit_norm_forward": ("conv_norm",),
    "implicit_norm_backward_weights": ("conv_norm",),
    "winograd2_norm": ("conv_norm",),
    "winograd2_norm_weights": ("conv_norm",),
    "slices": ("implicit",),
    "depthwise": ("implicit",),
    "behind_pool": ("conv_pool",),
    "maximum": ("conv_pool",),
    "winograd2_pool": ("conv_pool", "winograd2"),
    "winograd2_pool_weights": ("conv_pool",),
    "winograd": ("winograd2",),
    "winograd_convolve": ("winograd2",),
    "winograd_sums": ("winograd2",),
    "winograd2": ("winograd2",),
    "winograd2_weights": ("winograd2",),
    **{
        f"{products}_{pool}{pass_}": (f"{'thrice' if products == 'thrice' else 'tensor'}_products",)
        for products in ("tensor", "thrice", "mma")
        for pool in ("", "pool_")
        for pass_ in ("forward", "backward_input", "backward_weights")
    },
    **dict.fromkeys(("mma", "mma_gather", "mma_pool", "mma_unpool", "tensor_types"), ("tensor_products",)),
    "mma_normalized": ("tensor_norm",),
    **{
        f"{products}_norm_{pass_}": ("tensor_norm",)
        for products in ("tensor", "thrice")
        for pass_ in ("forward", "backward_weights")
    },
}
"""The tests of files of kernels that are not those of their own name: they are algorithms of the ops of conv.cu."""


@dataclass(frozen=True)
class Mutant:
    """`old` becomes `new` in cuda/`file`; `kernel` says what it breaks: a kernel, or a part of common.cuh."""

    kernel: str
    name: str
    file: str
    old: str
    new: str

    def apply(self, folder: Path) -> None:
        """Change the copy in `folder`. Raises ValueError where the text does not occur exactly once."""
        path = folder / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file} has {text.count(self.old)} times, not once: {self.old}")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")

    @property
    def matters_to(self) -> tuple[str, ...]:
        """The files of ops that use what is broken."""
        file = self.file.partition(".")[0]
        return USERS.get(self.kernel) or (("conv", *TESTS[file]) if file in TESTS else (file,))

    def __str__(self) -> str:
        return f"{self.kernel}: {self.name}"


def mutants_of(file: str, kernel: str, *changes: tuple[str, str, str]) -> list[Mutant]:
    """The mutants of a kernel: (name, old, new) of each change."""
    return [Mutant(kernel, name, file, old, new) for name, old, new in changes]


COMMON = [
    *mutants_of(
        "common.cuh",
        "items",
        ("the block is forgotten", "(long long)blockIdx.x * blockDim.x + threadIdx.x", "threadIdx.x"),
        ("32-bit item", "(long long)blockIdx.x * blockDim.x + threadIdx.x", "blockIdx.x * blockDim.x + threadIdx.x"),
        ("the stride forgets the grid", "(long long)gridDim.x * blockDim.x", "blockDim.x"),
        ("the stride is too long", "(long long)gridDim.x * blockDim.x", "(long long)gridDim.x * blockDim.x + 1"),
        ("ints for huge tensors", "SMALL = 1LL << 30", "SMALL = 1LL << 40"),
    ),
    *mutants_of(
        "common.cuh",
        "elementwise",
        ("one pack too many", "packable ? count / COUNT : 0", "packable ? count / COUNT + 1 : 0"),
        (
            "one pack too few",
            "pack += item_stride()) body(Size",
            "pack += item_stride()) if (pack < packs - 1) body(Size",
        ),
        ("no tail", "item < count; item +=", "item < packs * COUNT; item +="),
        ("tail guard off by one", "item < count; item +=", "item <= count; item +="),
        ("tail starts late", "packs * COUNT + first_item()", "packs * COUNT + 1 + first_item()"),
        ("packs at any address", "% 16 == 0) && ...", "% 4 == 0) && ..."),
    ),
    *mutants_of(
        "common.cuh",
        "covering",
        ("first window off by one", "(position - F) / S + 1;", "(position - F) / S;"),
        ("first window of the edge", "position < F ? 0", "position <= F ? 0"),
        ("last window off by one", "position / S + 1;\n    return", "position / S;\n    return"),
        ("windows behind the last", "last < to ? last : to", "last"),
        ("windows before the first", "first > from ? first : from", "first"),
    ),
    *mutants_of(
        "common.cuh",
        "place_of",
        ("the image of another row", "n = line / H;\n    return", "n = line;\n    return"),
        ("rows go on in the next image", "line - n * H.number,", "line,"),
        ("columns go on in the next row", "position - line * W.number,", "position,"),
        ("the first maps of each position", "item - position * D.number}", "0}"),
    ),
    *mutants_of(
        "common.cuh",
        "each_pack",
        ("the last pack is left out", "packs = count / COUNT;\n    for", "packs = count / COUNT - 1;\n    for"),
        ("one pack too many", "packs = count / COUNT;\n    for", "packs = count / COUNT + 1;\n    for"),
        ("packs overlap", "body(pack * COUNT);", "body(pack);"),
    ),
    *mutants_of(
        "common.cuh",
        "divisor",
        ("nothing is added", "by.multiplier) + (unsigned int)n) >>", "by.multiplier)) >>"),
        ("nothing is shifted", ">> by.shift);", ">> 0);"),
        ("a multiple is the rest", "return n - n / by * by.number;", "return n / by * by.number;"),
        ("the magic's other half", "multiplier((unsigned int)by.magic)", "multiplier((unsigned int)(by.magic >> 32))"),
    ),
    *mutants_of(
        "common.cuh",
        "each_column",
        (
            "a row for all",
            "body(pack * COUNT - row * D.number, row, lines);",
            "body(pack * COUNT - row * D.number, 0, lines);",
        ),
        ("a column for all", "body(pack * COUNT - row * D.number, row, lines);", "body(0, row, lines);"),
        ("rows are done twice", "row, lines);", "row, lines > 1 ? lines - 1 : 1);"),
        ("rows are left out", "row, lines);", "row, lines + 1);"),
        (
            "columns beyond the threads",
            "pack < lines * columns; pack += stride",
            "pack < lines * columns; pack += lines * columns",
        ),
    ),
    *mutants_of(
        "columns.cuh",
        "columns",
        ("rows behind the last", "after < rows ? after : rows", "after"),
        (
            "the last row of a part is left out",
            "last = after < rows ? after : rows",
            "last = (after < rows ? after : rows) - 1",
        ),
        (
            "the rest of the rows is left out",
            "tiles = (D + MAPS - 1) / MAPS, parts = (rows + block_rows - 1) / block_rows",
            "tiles = (D + MAPS - 1) / MAPS, parts = rows / block_rows",
        ),
        ("a tile is left out", "tile < parts * tiles;", "tile < parts * tiles - 1;"),
        ("all threads add the same rows", "row = first + threadIdx.x / SIDE", "row = first"),
        ("starts with the second row", "row = first + threadIdx.x / SIDE", "row = first + 1 + threadIdx.x / SIDE"),
        ("a row of many is left out", "row += RUN * LINES;", "row += RUN * LINES + 1;"),
        ("a long run is too long", "row + (RUN - 1) * LINES < last", "row + (RUN - 2) * LINES < last"),
        ("the last run alone", "add_to(sums.of[sum], run.of[sum]);", "sums.of[sum] = run.of[sum];"),
        (
            "the first thread alone",
            "sums.of[sum] = reduce(sums.of[sum], shared, plus, SIDE);",
            "reduce(sums.of[sum], shared, plus, SIDE);",
        ),
        ("maps behind the last", "k < D ? last : first, k", "last, k"),
        ("all packs alike", "+ threadIdx.x % SIDE * COUNT, part", ", part"),
        ("every block comes last", "const bool last = shared == blocks;", "const bool last = true;"),
        ("the first block comes last", "const bool last = shared == blocks;", "const bool last = shared == 1;"),
        ("counters stay", "if (shared == blocks) *counter = 0;", ""),
        ("one counter for all", "counters + begins / MAPS", "counters"),
        ("some maps alone are summed", "some < begins + MAPS && some < D;", "some < begins + SIDE && some < D;"),
    ),
    *mutants_of(
        "common.cuh",
        "warp",
        ("half of a sum", "value = combine(value, __shfl_xor", "value = combine(value * real(0.5), __shfl_xor"),
        (
            "one step short",
            "real value, Combine combine) {\n    for (int apart = WARP / 2; apart > 0;",
            "real value, Combine combine) {\n    for (int apart = WARP / 2; apart > 1;",
        ),
        (
            "half of the lanes look for the best",
            "Best best) {\n    for (int apart = WARP / 2;",
            "Best best) {\n    for (int apart = WARP / 4;",
        ),
        ("the place of another", "{value, __shfl_xor_sync(0xFFFFFFFFu, best.k, apart)}", "{value, best.k}"),
    ),
    *mutants_of(
        "common.cuh",
        "each_seen",
        ("rows above the input", "Index h = top > 0 ? top : 0", "Index h = top"),
        ("columns left of the input", "Index w = left > 0 ? left : 0", "Index w = left"),
        ("rows below the input", "h < top + F && h < H;", "h < top + F;"),
        ("columns right of the input", "w < left + F && w < W;", "w < left + F;"),
        ("a window too small", "w < left + F && w < W;", "w < left + F - 1 && w < W;"),
    ),
    *mutants_of(
        "common.cuh",
        "seen",
        ("padding before the input counts", "- (start > 0 ? start : 0)", "- start"),
        ("padding behind the input counts", "(start + F < size ? start + F : size)", "(start + F)"),
    ),
    *mutants_of(
        "common.cuh",
        "each_window",
        ("no padding", "down = covering<Index>(h + P,", "down = covering<Index>(h,"),
        ("windows below the last", "covering<Index>(h + P, F, S, 0, H2)", "covering<Index>(h + P, F, S, 0, H2 + 1)"),
        ("windows right of the last", "(w + P, F, S, 0, W2)", "(w + P, F, S, 0, W2 + 1)"),
        ("a row of windows is left out", "i < down.last;", "i < down.last - 1;"),
    ),
    *mutants_of(
        "common.cuh",
        "best",
        ("the last of equals", "|| a.k < b.k", "|| a.k > b.k"),
        ("a value is left out of the maximum", "k < K; k += BLOCK) best =", "k < K - 1; k += BLOCK) best ="),
    ),
    *mutants_of(
        "common.cuh",
        "beats",
        ("NaN loses", "return value > best || (value != value && best == best);", "return value > best;"),
        ("the last of equals wins", "return value > best ||", "return value >= best ||"),
        ("the last NaN wins", "value != value && best == best", "value != value"),
    ),
    *mutants_of(
        "common.cuh",
        "reduce",
        ("half of the threads", "int half = BLOCK / 2", "int half = BLOCK / 4"),
        ("one step short", "half >= apart", "half > apart"),
        (
            "no barrier between steps",
            "        __syncthreads();\n        if (thread < half)",
            "        if (thread < half)",
        ),
        ("no barrier before the result", "    __syncthreads();\n    const T result", "    const T result"),
        ("no barrier behind the result", "    __syncthreads();  // nobody", "    // nobody"),
        (
            "a barrier for some threads",
            "__syncthreads();\n        if (thread < half)",
            "if (thread >= half) continue;\n        __syncthreads();\n        if (thread < half)",
        ),
        ("one result for all groups", "PACK_AT(shared + thread % apart)", "PACK_AT(shared)"),
    ),
    *mutants_of(
        "common.cuh",
        "random_words",
        ("nine rounds", "round < 10", "round < 9"),
        ("the key stays", "        key0 += 0x9E3779B9u;\n", ""),
        ("every round begins alike", "key1 += 0xBB67AE85u", "key1 += 0"),
        ("the half of the key", "(unsigned int)(seed >> 32)", "0u"),
        ("places wrap around", "(unsigned int)(group >> 32)", "0u"),
        ("all steps alike", "(unsigned int)step", "0u"),
        ("all layers alike", "(unsigned int)layer", "0u"),
    ),
    *mutants_of(
        "half.cuh",
        "half types",
        ("float16 is cut off", "cvt.rn.f16.f32 %0", "cvt.rz.f16.f32 %0"),
        ("bfloat16 is cut off", "cvt.rn.bf16.f32 %0", "cvt.rz.bf16.f32 %0"),
        ("the second of float16 first", "narrowed<Float16>(second) << 16", "narrowed<Float16>(first) << 16"),
        (
            "neighbours change places",
            'cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first)',
            'cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(first), "f"(second)',
        ),
        (
            "half of a bfloat16",
            "__uint_as_float((unsigned int)bits << 16)",
            "__uint_as_float((unsigned int)bits << 15)",
        ),
    ),
]


def all_mutants() -> list[Mutant]:
    """Those of common.cuh, and those that the tests of each kernel file list as MUTANTS."""
    names = dict.fromkeys(name for file in kernel_files() for name in TESTS.get(file, (file,)))
    lists = [import_module(f"tests.test_{name}").MUTANTS for name in names]
    return [*COMMON, *(mutant for mutants in lists for mutant in mutants)]
