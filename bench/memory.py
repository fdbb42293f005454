"""The largest batch beside PyTorch's own count, and who is alive at the peak of a plan: `python bench/memory.py`.

Both sides plan the same training step: float32, SGD with momentum 0.9, the same reserve for what lies outside of the
tensors. gpunet's batches are those of its plans, to the byte, at four prices: the free savings alone; what needs no
product of matrices, at whatever predicted time; 3 % more FLOPs; 3 % more predicted time. PyTorch's are those of its
MemTracker, which knows neither cuDNN's workspace nor what the allocator cannot use. No GPU is needed. Two tables hold
the figures against the project's targets; exit code 1 where one is missed.
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

BUDGETS = ("12GiB",)
RESERVE = "512MiB"
"""For the CUDA context and loaded kernels, the same on both sides."""

GB = 10**9

CARDS = ("RTX 3060 12GB", "RTX 4070", "RTX 5070", "Titan X Pascal")
"""Of about 12 GB; the last one has no half types."""

DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16", "float16")

PRICES: dict[str, dict[str, float]] = {
    "free": {"max_cost": 0},
    "no products": {"max_cost_flops": 0},
    "FLOPs": {"max_cost_flops": MAX_COST},
    "time": {"max_cost": MAX_COST},
}
"""By the name of a price, the options of a plan that may cost no more."""

AT_NO_PRODUCT, RESIDUAL_AT_NO_PRODUCT, AT_SOME_TIME = 1.25, 1.8, 2.0
"""How many times PyTorch's batch every net is to reach; every one with sums; and all at MAX_COST of predicted time."""

PEAK_BATCH = 64
"""Images of the plan whose peak is shown."""

SHOWN_AT_PEAK = 3
"""Kinds of tensors of a peak that the table shows, the largest first."""


@dataclass(frozen=True, slots=True)
class Target:
    """A figure and what it must reach."""

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
    peaks_of_nets = []
    for name in options.net or config_names():
        net = gpunet.load(name)
        peaks_of_nets.append(at_peak(net))
        try:
            peaks = Peaks.of(net)
            peers.append(describe(net, peaks))
        except NotImplementedError as reason:
            print(f"{name} is left out, for PyTorch has no such net: {reason}", file=sys.stderr)
            continue
        rows += [compare(net, budget, peaks) for budget in options.budget or BUDGETS]
    print(as_text(batches_table(rows)))
    print(as_text(peers_table(peers)))
    print(as_text(peak_table(peaks_of_nets)))
    reached, types = ([], []) if options.no_targets else (targets(gpunet.load("vgg16")), by_type(gpunet.load("vgg16")))
    reached += [] if options.no_targets else net_targets(rows)
    if reached:
        print(as_text(types_table(types)))
        print(as_text(targets_table(reached)))
    results = {
        "reserve_bytes": parse_bytes(RESERVE),
        "max_cost": MAX_COST,
        "rows": rows,
        "pytorch": peers,
        "by_type": types,
        "peaks": peaks_of_nets,
        "targets": [
            {"name": one.name, "reached": one.reached, "target": one.target, "unit": one.unit, "holds": one.holds}
            for one in reached
        ],
    }
    print(f"written to {save('memory', results, options.json)}")
    return 0 if all(one.holds for one in reached) else 1


def compare(net: Net, budget: str, peaks: Peaks) -> dict[str, Any]:
    """The largest batch in a budget: PyTorch's, and gpunet's at each price."""
    theirs = peaks.largest(parse_bytes(budget) - parse_bytes(RESERVE))
    return {
        "net": net.name,
        "residual": any(node.layer.type == "add" for node in net.nodes),
        "budget": budget,
        "pytorch": theirs,
        "gpunet": {name: fitted(net, budget, theirs, **most) for name, most in PRICES.items()},
    }


def fitted(net: Net, budget: str, theirs: int, **most: Any) -> dict[str, Any] | None:
    """The largest batch at a price, beside PyTorch's; None where not even one image fits."""
    try:
        found = gpunet.fit(net, budget, reserve=RESERVE, **most)
    except gpunet.BudgetError:
        return None
    return {
        "batch": found.batch,
        "total_bytes": found.total_bytes,
        "next_total_bytes": found.next_total_bytes,
        "extra_flops_fraction": found.extra_flops_fraction,
        "extra_time_fraction": found.extra_time_fraction,
        "ratio": found.batch / theirs if theirs else None,
    }


def at_peak(net: Net) -> dict[str, Any]:
    """Who is alive at the peak of a plan with the free savings alone, by the op that makes them, the largest first."""
    plan = gpunet.plan(net, PEAK_BATCH)
    makers = {t.name: op.name for op in reversed(plan.program.ops) for t in op.outputs if not t.kind.persistent}
    taken: dict[str, int] = {}
    for planned in plan.alive(plan.peak_step):
        kind = planned.kind.value
        what = f"{kind} of {makers[planned.name]}" if planned.name in makers else kind
        taken[what] = taken.get(what, 0) + planned.nbytes
    return {
        "net": net.name,
        "batch": PEAK_BATCH,
        "op": plan.program.ops[plan.peak_step].name,
        "bytes": plan.live_bytes[plan.peak_step],
        "alive": dict(sorted(taken.items(), key=lambda item: -item[1])),
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


def net_targets(rows: Sequence[dict[str, Any]]) -> list[Target]:
    """What every net is to reach beside PyTorch, at no product of matrices and at some predicted time."""
    found = []
    for row in rows:
        least = RESIDUAL_AT_NO_PRODUCT if row["residual"] else AT_NO_PRODUCT
        for price, wanted in (("no products", least), ("time", AT_SOME_TIME)):
            ratio = (row["gpunet"][price] or {}).get("ratio") or 0.0
            found.append(Target(f"{row['net']}, {row['budget']}, {price}", ratio, wanted, "x", at_least=True))
    return found


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
    columns = ["net", "budget", "PyTorch"]
    columns += [part for name in PRICES for part in (name, "ratio", *(("time",) if name != "free" else ()))]
    lines = []
    for row in rows:
        cells: list[object] = [row["net"], row["budget"], row["pytorch"]]
        for name in PRICES:
            one, paid = row["gpunet"][name], name != "free"
            if one is None:
                cells += ["-"] * (3 if paid else 2)
                continue
            cells += [one["batch"], "-" if one["ratio"] is None else f"{one['ratio']:.2f}"]
            cells += [f"{one['extra_time_fraction']:.1%}"] if paid else []
        lines.append(cells)
    notes = [
        f"Training with momentum, float32; {format_bytes(parse_bytes(RESERVE))} of each budget are reserve, on both "
        "sides.",
        f"no products: whatever needs no product of matrices; FLOPs and time: at most {MAX_COST:.0%} more of them.",
        "ratio: gpunet's batch over PyTorch's. time: predicted, of what is made again, over that of a step.",
    ]
    return Table("Largest batch", columns, lines, notes, left=2)


def peak_table(peaks: Sequence[dict[str, Any]]) -> Table:
    lines = []
    for one in peaks:
        parts = [f"{nbytes / one['bytes']:.0%} {what}" for what, nbytes in one["alive"].items()]
        an_image = number(one["bytes"] / one["batch"] / 1e6, 4)
        lines.append([one["net"], an_image, one["op"], ", ".join(parts[:SHOWN_AT_PEAK])])
    notes = [f"Free savings alone, batch {PEAK_BATCH}; MB = 10**6 bytes. By the op that made them."]
    return Table("Alive at the peak", ["net", "MB an image", "at", "most of it"], lines, notes)


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
    return Table("Against the targets", ["figure", "reached", "target", "holds"], lines)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", action="append", help="a net, a config or a pattern; default: every shipped one")
    parser.add_argument("--budget", action="append", help=f"like 6GiB; default: {', '.join(BUDGETS)}")
    parser.add_argument("--no-targets", action="store_true", help="leave out the table of targets")
    parser.add_argument("--json", type=Path, help=f"where to write (default: {RESULTS.name}/memory.json)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
