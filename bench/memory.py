"""The largest batch in a few GB beside PyTorch's own count, and what a plan takes: `python bench/memory.py`.

Both sides plan the same training step: float32, SGD with momentum 0.9, the same reserve for what lies outside of the
tensors. gpunet's batches are those of its plans, to the byte; PyTorch's those of its MemTracker, which knows neither
cuDNN's workspace nor what the allocator cannot use. No GPU is needed. The second table holds VGG-16's figures against
the project's targets; exit code 1 where one is missed.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gpunet
from bench.common import RESULTS, save
from bench.gpu.table import Table, as_text, number
from bench.tracker import Peaks, describe
from gpunet.memory.plan import Plan
from gpunet.memory.size import format_bytes, parse_bytes
from gpunet.net.net import Net
from gpunet.optimize.optimizers import OptimizerName
from gpunet.planning.aim import aim
from gpunet.planning.by_card import fit_types
from gpunet.planning.choose import MAX_COST
from gpunet.planning.fitter import Rung, ladder
from gpunet.planning.options import WAYS
from gpunet.program.program import Dtype
from gpunet.program.tensor import Kind
from gpunet.system.resources import config_names

BUDGETS = ("3GiB", "4GiB", "6GiB", "8GiB", "11GiB", "12GiB")
RESERVE = "512MiB"
"""For the CUDA context and loaded kernels, the same on both sides."""

GB = 10**9

CARDS = ("RTX 3060 12GB", "RTX 4070", "RTX 5070", "Titan X Pascal")
"""Of about 12 GB; the last one has no half types."""

DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class Target:
    """A figure of VGG-16 and what it must reach."""

    name: str
    reached: float
    target: float
    unit: str
    at_least: bool = False

    @property
    def holds(self) -> bool:
        return self.reached >= self.target if self.at_least else self.reached <= self.target


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables, write the JSON. Exit code 1 where a target is missed."""
    options = _options(arguments)
    peers = []
    rows = []
    for name in options.net or config_names():
        net = gpunet.load(name)
        try:
            peaks = Peaks.of(net)
            peers.append(describe(net, peaks))
        except NotImplementedError as reason:
            print(f"{name} is left out, for PyTorch has no such net: {reason}", file=sys.stderr)
            continue
        rows += [compare(net, budget, peaks) for budget in options.budget or BUDGETS]
    print(as_text(batches_table(rows)))
    print(as_text(peers_table(peers)))
    reached, types = ([], []) if options.no_targets else (targets(gpunet.load("vgg16")), by_type(gpunet.load("vgg16")))
    if reached:
        print(as_text(types_table(types)))
        print(as_text(targets_table(reached)))
    results = {
        "reserve_bytes": parse_bytes(RESERVE),
        "max_cost_flops": MAX_COST,
        "rows": rows,
        "pytorch": peers,
        "by_type": types,
        "targets": [
            {"name": one.name, "reached": one.reached, "target": one.target, "unit": one.unit, "holds": one.holds}
            for one in reached
        ],
    }
    print(f"written to {save('memory', results, options.json)}")
    return 0 if all(one.holds for one in reached) else 1


def compare(net: Net, budget: str, peaks: Peaks) -> dict[str, Any]:
    """The largest batch in a budget: PyTorch's, and gpunet's on each rung of its ladder, at most MAX_COST extra."""
    theirs = peaks.largest(parse_bytes(budget) - parse_bytes(RESERVE))
    rungs = {" + ".join(rung.ways) or "free": rung for rung in rungs_of(net, budget)}
    return {
        "net": net.name,
        "budget": budget,
        "pytorch": theirs,
        "gpunet": {
            name: {
                "batch": rung.batch,
                "total_bytes": rung.total_bytes,
                "next_total_bytes": rung.next_total_bytes,
                "extra_flops_fraction": rung.extra_flops_fraction,
                "ratio": rung.batch / theirs if theirs else None,
            }
            for name, rung in rungs.items()
        },
    }


def rungs_of(net: Net, budget: str) -> list[Rung]:
    """The ladder of ways that change neither the batch of a step nor, but for rounding, any value."""
    return ladder(net, budget, reserve=RESERVE, max_cost_flops=MAX_COST, ways=WAYS)


def targets(net: Net) -> list[Target]:
    """What VGG-16's plans reach."""
    most = parse_bytes("12GiB") - parse_bytes(RESERVE)
    theirs = Peaks.of(net).largest(most)
    free, *_, best = rungs_of(net, "12GiB")
    return [
        Target("bytes an image, free savings", slope_of_free_savings(net) / 1e6, 38.5, "MB"),
        Target(f"bytes an image, at most {MAX_COST:.0%} extra", slope_under_budgets(net) / 1e6, 19.5, "MB"),
        Target("bfloat16: bytes an image, free savings", slope_of_free_savings(net, "bfloat16") / 1e6, 19.5, "MB"),
        Target(
            f"bfloat16: bytes an image, at most {MAX_COST:.0%} extra",
            slope_under_budgets(net, "bfloat16") / 1e6,
            9.8,
            "MB",
        ),
        *_arena(net, 176, budget_bytes=int(5.6 * GB), optimizer="sgd", max_cost=0.02),
        *_arena(net, 256, budget_bytes=int(8.5 * GB), optimizer="momentum", max_cost=MAX_COST),
        Target("12 GiB: batch over PyTorch's, free savings", free.batch / theirs, 1.8, "x", at_least=True),
        Target(f"12 GiB: batch over PyTorch's, at most {MAX_COST:.0%} extra", best.batch / theirs, 3.5, "x", True),
    ]


def by_type(net: Net) -> list[dict[str, Any]]:
    """The largest batch of each card of about 12 GB in each type that it has, free and at most MAX_COST extra."""
    cards = [aim("cuda", None, card) for card in CARDS]
    aims = [(where, total) for where, total in cards if total is not None]
    free, costly = (
        fit_types(net, aims, DTYPES, max_cost_flops=cost, ways=ways) for cost, ways in ((0, ()), (MAX_COST, WAYS))
    )
    return [
        {
            "card": fit.target.card,
            "dtype": fit.dtype,
            "budget_bytes": fit.budget_bytes,
            "free": fit.rung.batch,
            "at_a_cost": more.rung.batch,
            "extra_flops_fraction": more.rung.extra_flops_fraction,
        }
        for fit, more in zip(free, costly, strict=True)
    ]


def types_table(rows: Sequence[dict[str, Any]]) -> Table:
    lines = [
        [row["card"], row["dtype"], row["free"], row["at_a_cost"], f"{row['extra_flops_fraction']:.2%}"] for row in rows
    ]
    return Table(
        "Largest batch of VGG-16 on cards of 12 GB", ["card", "dtype", "free", "at a cost", "extra"], lines, left=2
    )


def slope_of_free_savings(net: Net, dtype: Dtype = "float32") -> float:
    """Bytes an image, im2col scratch not counted: from batch 128 to 256, nothing being short."""
    return slope(*(gpunet.plan(net, batch, max_cost=0, dtype=dtype) for batch in (128, 256)))


def slope_under_budgets(net: Net, dtype: Dtype = "float32") -> float:
    """Bytes an image, im2col scratch not counted: from the largest batch in 8 GiB to that in 12 GiB."""
    options: dict[str, Any] = dict(reserve=RESERVE, max_cost_flops=MAX_COST, dtype=dtype)
    plans = []
    for budget in ("8GiB", "12GiB"):
        batch = gpunet.fit(net, budget, **options).batch
        plans.append(gpunet.plan(net, batch, budget=budget, **options))
    return slope(*plans)


def slope(small: Plan, large: Plan) -> float:
    return (without_scratch(large) - without_scratch(small)) / (large.batch - small.batch)


def without_scratch(plan: Plan) -> int:
    """Most bytes alive at once of all that is not scratch."""
    scratch = [0] * plan.steps
    for planned in plan.tensors:
        if planned.kind is Kind.WORKSPACE:
            for step in range(planned.first, planned.last):
                scratch[step] += planned.nbytes
    return max(all_of_it - part for all_of_it, part in zip(plan.live_bytes, scratch, strict=True))


def _arena(net: Net, batch: int, *, budget_bytes: int, optimizer: OptimizerName, max_cost: float) -> list[Target]:
    """The arena of a batch that is made to fit, and what that costs."""
    plan = gpunet.plan(net, batch, budget=budget_bytes + 1, reserve=1, optimizer=optimizer, max_cost_flops=max_cost)
    name = f"arena of {batch} images, {optimizer}"
    return [
        Target(name, plan.arena_bytes / GB, budget_bytes / GB, "GB"),
        Target(f"{name}: extra FLOPs", 100 * plan.extra_flops_fraction, 100 * max_cost, "%"),
    ]


def batches_table(rows: Sequence[dict[str, Any]]) -> Table:
    names = list(dict.fromkeys(name for row in rows for name in row["gpunet"]))
    columns = ["net", "budget", "PyTorch", *(part for name in names for part in (f"gpunet, {name}", "ratio", "extra"))]
    lines = []
    for row in rows:
        cells: list[object] = [row["net"], row["budget"], row["pytorch"]]
        for name in names:
            rung = row["gpunet"][name]
            ratio = "-" if rung["ratio"] is None else f"{rung['ratio']:.2f}"
            cells += [rung["batch"], ratio, f"{rung['extra_flops_fraction']:.2%}"]
        lines.append(cells)
    notes = [
        f"Training with momentum, float32; {format_bytes(parse_bytes(RESERVE))} of each budget are reserve, on both "
        "sides.",
        "ratio: gpunet's batch over PyTorch's. extra: FLOPs of what is made again, over those of a step.",
    ]
    return Table("Largest batch", columns, lines, notes, left=2)


def peers_table(peers: Sequence[dict[str, Any]]) -> Table:
    lines = [[peer["net"], number(peer["bytes"] / 1e6, 5), number(peer["bytes_per_image"] / 1e6, 4)] for peer in peers]
    return Table("PyTorch's MemTracker at its peak, in MB = 10**6 bytes", ["net", "fixed", "an image"], lines)


def targets_table(reached: Sequence[Target]) -> Table:
    lines = [
        [
            one.name,
            f"{one.reached:.2f} {one.unit}",
            f"{'>=' if one.at_least else '<='} {one.target:g} {one.unit}",
            "yes" if one.holds else "NO",
        ]
        for one in reached
    ]
    return Table("VGG-16 against its targets", ["figure", "reached", "target", "holds"], lines)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", action="append", help="a net, a config or a pattern; default: every shipped one")
    parser.add_argument("--budget", action="append", help=f"like 6GiB; default: {', '.join(BUDGETS)}")
    parser.add_argument("--no-targets", action="store_true", help="leave out VGG-16's table of targets")
    parser.add_argument("--json", type=Path, help=f"where to write (default: {RESULTS.name}/memory.json)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
