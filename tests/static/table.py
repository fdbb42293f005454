"""The table of what is known of each kernel without a GPU, kept in bench/results/static.json, and what it must hold.

A row for each kernel, real type and GPU: registers of a thread, shared memory of a block, how many blocks of it a
multiprocessor has room for; of the hot loop (see sass.py) its instructions and the bytes that a thread loads and stores
at once; of its innermost part the instructions, and those that a warp issues there for 512 bytes moved; of a product's
loop how many of its instructions multiply and add. And for each kernel its traffic, see traffic.py.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from gpunet.devices.cuda.libraries import packaged_files
from gpunet.devices.cuda.nvrtc import REALS, Nvrtc, open_nvrtc
from gpunet.devices.cuda.source import compose, kernel_files
from gpunet.program.tensor import HALVES
from tests.emulator.builder import find_kernels
from tests.half_calls import HALF_FILES, OPS_IN_HALVES
from tests.op_calls import OPS
from tests.static.compiled import Report, compile_text, reports
from tests.static.products import products
from tests.static.sass import Code, disassemble
from tests.static.traffic import KINDS, drawn, traffic

PATH = Path(__file__).parents[2] / "bench" / "results" / "static.json"

GPUS = {"sm_61": 12, "sm_75": 13, "sm_86": 13, "sm_90": 13, "sm_120": 13}
"""Architectures of the table, each with the CUDA release that compiles for it."""

SHOWN = {
    "float32": ("sm_75", "sm_86", "sm_90", "sm_120"),
    "float64": ("sm_86",),
    "float16": ("sm_75",),
    "bfloat16": ("sm_86",),
}
"""By real type, where the instructions are looked at: before 7.5 no disassembler of today can, and what float64 shows
on one architecture it shows on all."""

IN_HALVES = (("float16", "sm_75"), ("bfloat16", "sm_86"), ("float16", "sm_90"))
"""Of what there are rows for the files that know of halves."""

ALL = (*((real, gpu) for real in REALS for gpu in GPUS), *IN_HALVES)
"""Of what there are rows."""

OFTEN = tuple((real, "sm_86") for real in REALS)
"""What `make test` looks at; halves and the other GPUs are left to `make test-all` and `make static`."""

REGISTERS = 65_536
"""Of a multiprocessor, on all of them."""

PRODUCTS = re.compile(r"(pool_)?(forward|backward_input|backward_weights)_\d+x\d+|convolve|sum_tiles")
"""What kernels are called that make products and nothing else."""

ON_TENSOR_CORES = re.compile(r"(tensor|thrice)_")
"""What kernels are called whose products are on tensor cores: one instruction multiplies and adds what 32 would."""

BY_WINOGRAD = re.compile(r"(pool_|unpool_|norm_)?(convolve|sum_tiles)(_scalars)?")
"""What kernels are called that no plan runs in float64: there only tests do."""

LEAST_PER_READ = 2.5
"""Of their products, for each instruction that reads factors from shared memory."""

LEAST_FUSED = 0.85
"""Share of multiply-adds in the main loop of a product."""

REACHED: dict[str, tuple[float, str]] = {
    r"((pool_)?forward|backward_input|backward_weights)_32x32": (
        0.74,
        "half as many products for the values it reads: without any other instruction 83 to 85 %",
    ),
    r"((pool_)?forward|backward_input|backward_weights)_128x64_scalars": (0.78, "values one by one"),
    r"((pool_)?forward|backward_input|backward_weights)_32x32_scalars": (0.60, "the same"),
    r"pool_backward_input_128x128": (0.83, "a switch beside each value, half a byte"),
    r"pool_backward_\w+_128x64": (0.80, "the same"),
    r"pool_backward_\w+_64x64": (0.80, "the same"),
    r"pool_backward_input_32x32": (0.71, "the same"),
    r"pool_backward_weights_32x32": (0.68, "the same"),
    r"pool_backward_\w+_128x64_scalars": (0.64, "the same"),
    r"pool_backward_\w+_32x32_scalars": (0.45, "the same"),
    r"norm_forward_128x128": (0.84, "what is read is normalized on the way"),
    r"norm_\w+_(128x64|64x64)": (0.82, "the same"),
    r"norm_\w+_32x32": (0.71, "the same"),
    r"norm_\w+_128x64_scalars": (0.76, "the same, values one by one"),
    r"norm_\w+_32x32_scalars": (0.58, "the same"),
    r"norm_convolve(_scalars)?": (
        0.45,
        "the threads that bring tiles normalize them and bring them to the points, too",
    ),
    r"norm_sum_tiles": (0.43, "the same, of one factor"),
    r"(pool_)?convolve(_scalars)?": (0.55, "the threads that bring tiles bring them to the points, too"),
    r"unpool_convolve": (0.45, "the same, and a switch beside each value"),
    r"unpool_convolve_scalars": (0.35, "the same, each value looked for"),
    r"sum_tiles": (0.49, "the same, and both factors are brought to the points"),
    r"unpool_sum_tiles": (0.47, "the same, and a switch beside each value"),
}
"""Products with less than that, by what matches the whole names of kernels: how much, and what else there is."""

MOST_TRAFFIC = {"reads": 1.1, "writes": 1.1, "wavefronts": 1.0}
"""Beside the ideal."""

ALLOWED: dict[tuple[str, str], tuple[float, str]] = {
    ("augment", "reads"): (1.45, "the three bytes of a pixel are read one by one: the first takes the sectors of all"),
    ("prelu_forward", "reads"): (1.3, "a map's slope beside each value; from the cache"),
    ("prelu_backward", "reads"): (1.2, "the same"),
    ("prelu_backward_slopes", "reads"): (1.9, "the same, in rows that are few values each"),
    ("scale_maps", "reads"): (1.6, "a map's factor beside each value; from the cache"),
    ("scale_and_shift", "reads"): (2.0, "a map's factor and shift beside each value; from the cache"),
    ("relu_and_halves", "writes"): (1.9, "a switch is half a byte beside a value; only the fallback by im2col runs it"),
    ("relu_and_halves", "reads"): (1.9, "the same"),
    ("sum_unpooled_rows", "reads"): (1.9, "a switch is a byte beside a value of four; the pool's volume is small"),
    ("unpool", "reads"): (1.6, "the same; only the fallback by im2col runs it"),
    (r"(pool_|norm_)?convolve", "reads"): (
        1.43,
        "a step takes four maps of a position, half a sector; the next step has the rest from the cache",
    ),
    (r"(pool_|norm_)?convolve_scalars", "reads"): (3.2, "the same, value by value"),
    (r"(pool_|unpool_|norm_)?convolve_scalars", "writes"): (1.2, "rows of 30 maps begin anywhere in a sector"),
    ("unpool_convolve", "reads"): (1.7, "as of convolve, and half a byte beside each value"),
    ("unpool_convolve_scalars", "reads"): (
        4.0,
        "the same, value by value; only padding by which tiles begin with a window runs it",
    ),
    (r"((tensor|thrice)_)?((pool|norm)_)?forward_\w+_scalars", "reads"): (
        1.9,
        "rows of 30 maps begin anywhere in a sector; the next step has the rest from the cache",
    ),
    (r"(tensor|thrice)_pool_backward_input_\w+_scalars", "reads"): (2.2, "the same, and half a byte beside each value"),
    (r"(tensor|thrice)_pool_backward_weights_\w+_scalars", "reads"): (1.4, "the same"),
    (r"pool_backward_input_\w+", "reads"): (
        1.4,
        "half a byte beside each value: a few bytes of a sector; the next step has the rest from the cache",
    ),
    (r"(tensor|thrice)_pool_backward_input_\d+x\d+", "reads"): (1.21, "the same"),
    (r"pool_forward_\w+", "writes"): (1.12, "half a byte beside each value: those of a block do not fill a sector"),
    (r"(tensor|thrice)_pool_forward_\w+", "writes"): (1.34, "the same, of the 32 filters that a warp has"),
}
"""What matches the whole names of kernels with more traffic than that, how much, and why that is right."""

NUMBERS_OF_MAPS = "eight float32 numbers of maps, or sums, in two pieces; few beside many rows"

ALLOWED_IN_HALVES: dict[tuple[str, str], tuple[float, str]] = {
    (r"batch_norm_\w+", "reads"): (1.55, NUMBERS_OF_MAPS),
    (r"batch_norm_\w+", "writes"): (2.0, NUMBERS_OF_MAPS),
    ("prelu_forward", "reads"): (1.5, "a map's slope beside each value; from the cache"),
    ("prelu_backward", "reads"): (1.3, "the same"),
    ("scale_maps", "reads"): (2.0, "a map's factor beside each value; from the cache"),
    ("scale_and_shift", "reads"): (2.5, "a map's factor and shift beside each value; from the cache"),
    ("sum_unpooled_rows", "reads"): (2.3, "a switch is a byte beside a value of two; the pool's volume is small"),
    ("shuffle", "reads"): (
        2.0,
        "values one by one; the next ones have the rest of a sector from the cache",
    ),
    (r"tensor_norm_forward_\d+x\d+", "reads"): (1.22, NUMBERS_OF_MAPS),
    (r"tensor_norm_backward_weights_\d+x\d+", "wavefronts"): (1.01, "numbers of maps, written once a block"),
    (r"tensor_((pool|norm)_)?backward_weights_\w+_scalars", "reads"): (
        1.55,
        "rows begin anywhere in a sector; the next step has the rest from the cache",
    ),
    (r"tensor_pool_forward_\w+", "writes"): (1.6, "half a byte beside two of a value: of a window a warp has 16 bytes"),
}
"""The same of volumes in halves, where that is more."""

IN_HALVES_FIRST = {**ALLOWED_IN_HALVES, **ALLOWED, **ALLOWED_IN_HALVES}
"""What holds of these."""

SLACK = 1.1
"""How much longer a hot loop may become before it is a regression."""

HALF_TRAFFIC = "traffic in halves"
"""Of the table: the traffic of kernels whose volumes are float16."""

Row = dict[str, Any]
Table = dict[str, dict[str, Any]]


def measure() -> Table:
    """{"made by": versions, "kernels": a row by "kernel real gpu", "traffic" and "traffic in halves": by kernel}."""
    rows = {name: row for file in kernel_files() for name, row in rows_of(file)}
    return {
        "made by": made_by(),
        "kernels": dict(sorted(rows.items())),
        **all_traffic(),
    }


def all_traffic() -> Table:
    """What every kernel moves, in random calls and in products."""
    found = {
        "traffic": traffic(chain(drawn(OPS), products())),
        HALF_TRAFFIC: traffic(chain(drawn(OPS_IN_HALVES, "float16"), products("float16"))),
    }
    return {part: dict(sorted(moved.items())) for part, moved in found.items()}


def made_by() -> dict[str, str]:
    """The NVRTC of each CUDA release."""
    return {str(release): "NVRTC {}.{}".format(*_nvrtc(release).version) for release in sorted(set(GPUS.values()))}


def only(table: Table, kernels: Collection[str], cases: Collection[tuple[str, str]] = ALL) -> Table:
    """The rows of these kernels, for these real types and GPUs."""
    rows = {name: (*name.split(),) for name in table["kernels"]}
    wanted = {name for name, (kernel, *case) in rows.items() if kernel in kernels and tuple(case) in cases}
    return {**table, "kernels": {name: row for name, row in table["kernels"].items() if name in wanted}}


def rows_of(file: str, cases: Collection[tuple[str, str]] = ALL) -> Iterator[tuple[str, Row]]:
    """The rows of one file's kernels, by name, for these real types and GPUs."""
    source = compose(file)
    threads = launch_bounds(source)
    for real, gpu in cases:
        if real in HALVES and file not in HALF_FILES:
            continue
        code, log = compile_text(_nvrtc(GPUS[gpu]), source, real, gpu)
        shown = disassemble(code) if gpu in SHOWN[real] else {}
        for kernel, report in reports(log).items():
            yield f"{kernel} {real} {gpu}", _row(report, threads[kernel], shown.get(kernel))


def _row(report: Report, threads: int, code: Code | None) -> Row:
    row: Row = {"registers": report.registers, "shared": report.shared, "blocks": blocks(report.registers, threads)}
    if report.spills:
        row["spills"] = report.stack + report.stores + report.loads
    if code and code.local:
        row["local"] = code.local
    if code and code.hot:
        row |= {"loop": code.hot.size, "load": code.hot.widest("LDG"), "store": code.hot.widest("STG")}
        trip = code.trip
        assert trip is not None  # a hot loop moves something
        row |= {"trip": trip.size, "slots": round(trip.size * 512 / (32 * trip.moved), 1)}
        if code.hot.divisions:
            row["divisions"] = code.hot.divisions
    if code and code.product:
        row["fused"] = round(code.product.share, 3)
        if code.product.per_read:
            row["per_read"] = round(code.product.per_read, 2)
    return row


def blocks(registers: int, threads: int) -> int:
    """Blocks that a multiprocessor has registers for; a warp gets them in hundreds, 8 a thread at a time."""
    return REGISTERS // (-(-registers // 8) * 8 * -(-threads // 32) * 32)


def launch_bounds(source: str) -> dict[str, int]:
    """Threads of a block, by kernel, as __launch_bounds__ say with the constants of the text."""
    constants: dict[str, int] = {}
    for name, value in re.findall(r"constexpr int (\w+) = ([^;]+);", source):
        if re.fullmatch(r"[\w\s+*/()-]+", value) and set(re.findall(r"[A-Za-z_]\w*", value)) <= set(constants):
            constants[name] = int(eval(value.replace("/", "//"), {}, dict(constants)))
    return {name: int(eval(bounds.split(",")[0], {}, dict(constants))) for bounds, name in find_kernels(source)}


def _nvrtc(release: int) -> Nvrtc:
    return open_nvrtc(packaged_files("NVRTC")[release])


# ---- what must hold ----


def faults(table: Table) -> list[str]:
    """What no kernel may do, in words; see MOST_TRAFFIC, LEAST_FUSED."""
    found = []
    for name, row in table["kernels"].items():
        runs = "float64" not in name or not BY_WINOGRAD.fullmatch(name.split()[0])
        if row.get("spills") and runs:
            found.append(f"{name}: {row['spills']} bytes leave the registers")
        if row.get("local") and runs:
            found.append(f"{name}: {row['local']} accesses to local memory")
        if row.get("divisions"):
            found.append(
                f"{name}: {row['divisions']} divisions of integers in its hot loop; Divisor of common.cuh has none"
            )
        least = least_fused(name.split()[0])
        if "float32" in name and row.get("fused", 1) < least:
            found.append(f"{name}: {row['fused']:.1%} of its main loop multiply and add; {least:.0%} are wanted")
        if row.get("per_read", LEAST_PER_READ) < LEAST_PER_READ:
            found.append(f"{name}: {row['per_read']} products for each read of factors; {LEAST_PER_READ} are wanted")
    found += _too_much_traffic(table.get("traffic", {}), "", ALLOWED)
    found += _too_much_traffic(table.get(HALF_TRAFFIC, {}), " in halves", IN_HALVES_FIRST)
    return found


def _too_much_traffic(
    traffic: dict[str, Any], words: str, allowed: Mapping[tuple[str, str], tuple[float, str]]
) -> Iterator[str]:
    for kernel, kinds in traffic.items():
        for kind, ratio in kinds.items():
            most = most_traffic(kernel, kind, allowed)
            if ratio > most:
                yield f"{kernel}{words}: {kind} take {ratio} times the least; {most} may be"


def most_traffic(kernel: str, kind: str, allowed: Mapping[tuple[str, str], tuple[float, str]]) -> float:
    """Beside the ideal, what a kernel may move of a kind."""
    found = (most for (names, of), (most, _) in allowed.items() if of == kind and re.fullmatch(names, kernel))
    return next(found, MOST_TRAFFIC[kind])


def least_fused(kernel: str) -> float:
    """Share of multiply-adds that the main loop of a kernel must have; 0 of what is no product."""
    if not PRODUCTS.search(kernel) or ON_TENSOR_CORES.match(kernel):
        return 0.0
    return next((share for names, (share, _) in REACHED.items() if re.fullmatch(names, kernel)), LEAST_FUSED)


def regressions(now: Table, kept: Table) -> list[str]:
    """What is worse than in the table that is kept, in words; lengths and registers of the same NVRTC alone."""
    found = []
    missing = sorted(now["kernels"].keys() - kept["kernels"].keys())
    gone = sorted(kept["kernels"].keys() - now["kernels"].keys())
    if missing or gone:
        lacks = f"the table lacks {missing or 'nothing'} and has {gone or 'nothing'} too much"
        found.append(f"{lacks}: python -m tests.static --write")
    for name in now["kernels"].keys() & kept["kernels"].keys():
        release = str(GPUS[name.split()[2]])
        if now["made by"][release] == kept["made by"].get(release):
            found += _worse(name, now["kernels"][name], kept["kernels"][name])
    return sorted(found)


def _worse(name: str, now: Row, kept: Row) -> Iterator[str]:
    if now["blocks"] < kept["blocks"]:
        yield (
            f"{name}: {now['registers']} registers, not {kept['registers']}: room for {now['blocks']} blocks, "
            f"not {kept['blocks']}"
        )
    if now["shared"] > kept["shared"]:
        yield f"{name}: {now['shared']} bytes of shared memory, not {kept['shared']}"
    if now.get("loop", 0) > SLACK * kept.get("loop", 0):
        yield f"{name}: {now['loop']} instructions in its hot loop, not {kept.get('loop', 0)}"
    for what in ("load", "store"):
        if now.get(what, 0) < kept.get(what, 0):
            yield f"{name}: {what}s {now.get(what, 0)} bytes at once, not {kept[what]}"


# ---- as people see it ----


def read(path: Path = PATH) -> Table:
    table: Table = json.loads(path.read_text(encoding="utf-8"))
    return table


def write(table: Mapping[str, Any], path: Path = PATH) -> None:
    """A row a line, so that a change shows what it changes."""
    parts = []
    for part, rows in table.items():
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
        parts.append(f" {json.dumps(part)}: {{\n{lines}\n }}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


COLUMNS = ("registers", "blocks", "shared", "loop", "load", "store", "slots", "fused")


def lines(table: Table, gpu: str) -> Iterator[str]:
    """The table of one GPU in float32, as text."""
    yield f"{'float32 on ' + gpu:30}" + "".join(f"{column:>11}" for column in (*COLUMNS, *KINDS))
    for name, row in table["kernels"].items():
        kernel, real, of = name.split()
        if (real, of) == ("float32", gpu):
            moved = table.get("traffic", {}).get(kernel, {})
            values = [*(row.get(column, "") for column in COLUMNS), *(moved.get(kind, "") for kind in KINDS)]
            yield f"{kernel:30}" + "".join(f"{value:>11}" for value in values)
