"""How long planning takes: `python bench/planner.py`.

The smallest plan of a net at the default cost, where every way is tried; a plan without a budget; the largest batch for
a budget; the refusal of what fits nowhere. The nets are shipped ones, chains in the manner of VGG, and what is hard for
a planner: volumes of all that came before, hundreds of sums, thousands of branches.

Each runs in a process of its own; told are its processor time, which a busy machine changes little, and the most memory
that it took. Exit code 1 where a target is missed.
"""

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gpunet
from bench.common import RESULTS, save
from bench.gpu.table import Table, as_text, number
from gpunet import FC, BudgetError, Conv, MaxPool, Net, ReLU
from gpunet.layers.layer import Layer
from gpunet.planning.choose import MAX_COST

POOLS = 5
"""From 224x224 to 7x7, as in VGG."""


@dataclass(frozen=True, slots=True)
class Case:
    """Something to plan.

    `batch`    images; 0: the largest batch for `budget` is looked for
    `budget`   "" for a plan without one; "least" for the smallest plan that there is
    `limit_s`  seconds of a processor that it may take; None: no target
    `limit_mb` MB (10**6 bytes) of memory that planning may add; None: no target
    """

    net: str
    batch: int
    budget: str
    limit_s: float | None = None
    limit_mb: float | None = None
    max_cost: float | None = None

    @property
    def name(self) -> str:
        """What is asked for, in words."""
        what = f"fit {self.budget}" if not self.batch else f"batch {self.batch}, {self.budget or 'no budget'}"
        return f"{self.net}: {what}" + ("" if self.max_cost is None else f", max_cost={self.max_cost:g}")


@dataclass(frozen=True, slots=True)
class Row:
    """What a case took; `found`: what came of it, in a word."""

    case: Case
    seconds: float
    added_mb: float
    found: str

    @property
    def holds(self) -> bool:
        case = self.case
        slow = case.limit_s is not None and self.seconds > case.limit_s
        return not slow and (case.limit_mb is None or self.added_mb <= case.limit_mb)


CASES = (
    Case("vgg16", 64, "", 1),
    Case("vgg16", 64, "2.7GiB", 1),
    Case("vgg16", 64, "least", 1),
    Case("vgg16", 0, "4GiB", 2),
    Case("vgg16", 0, "12GiB", 2),
    Case("vgg_cifar", 0, "1GiB", 2),
    Case("googlenet", 0, "4GiB"),
    Case("resnet50", 184, "least", 3),
    Case("resnet50", 64, "least", max_cost=1.0),
    Case("resnet50", 0, "12GiB"),
    Case("resnet152", 32, "least", 5),
    Case("resnet152", 0, "12GiB", 6),
    Case("inception_v4", 32, "least", 5),
    Case("inception_v4", 0, "12GiB"),
    Case("densenet121", 64, "least"),
    Case("preact_resnet1001", 64, "least"),
    Case("dense-243", 0, "1MiB", 2),
    Case("dense-483", 0, "1MiB", 8),
    Case("residual-600", 0, "1MiB", 10),
    Case("sums-120", 0, "1MiB", 3),
    Case("branches-3000", 0, "1MiB", 5, 200),
    Case("chain-200", 64, "least", 10),
    Case("chain-1200", 64, "least", 100),
    Case("chain-1200", 64, "least", max_cost=1.0),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, write the JSON. Exit code 1 where a target is missed."""
    options = _options(arguments)
    if options.one:
        print(json.dumps(measured(next(case for case in CASES if case.name == options.one))))
        return 0
    rows = [measure(case) for case in CASES if not options.net or case.net in options.net]
    print(as_text(table(rows)))
    results = {"max_cost": MAX_COST, "rows": [{**asdict(row), "holds": row.holds} for row in rows]}
    print(f"written to {save('planner', results, options.json)}")
    return 0 if all(row.holds for row in rows) else 1


def measure(case: Case) -> Row:
    """What a case takes in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--one", case.name]
    return Row(case, **json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def measured(case: Case) -> dict[str, Any]:
    """What a case takes in this process, once the net is there and all is imported: the fields of a Row."""
    net = net_of(case.net)
    gpunet.fit(chain(8), "600MiB")
    before, started = _memory_mb(), process_time()
    found = _plan(net, case)
    seconds = process_time() - started
    return {"seconds": seconds, "added_mb": _memory_mb() - before, "found": found}


def _memory_mb() -> float:
    """The most that this process has taken so far; Linux counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _plan(net: Net, case: Case) -> str:
    """Plan; returns what came of it."""
    if case.batch:
        budget: str | int | None = {"": None, "least": 1}.get(case.budget, case.budget)
        plan = gpunet.plan(net, case.batch, budget=budget, max_cost=case.max_cost)
        return f"{plan.total_bytes:,} B, {' + '.join(plan.ways.names) or 'free'}"
    try:
        return f"batch {gpunet.fit(net, case.budget, max_cost=case.max_cost).batch}"
    except BudgetError:
        return "refused"


# -- nets ------------------------------------------------------------------------------------------


def net_of(name: str) -> Net:
    """A shipped net, or one that is made here: KIND-SIZE."""
    kind, _, size = name.partition("-")
    return MADE[kind](int(size)) if kind in MADE and size else gpunet.load(name)


def chain(layers: int) -> Net:
    """A net of so many layers in the manner of VGG: convolutions with ReLU, five pools evenly between them, an FC."""
    pairs = (layers - POOLS - 1) // 2
    chosen: list[Layer] = []
    pooled = 0
    for number_of_conv in range(pairs):
        chosen += [Conv(min(32 << pooled, 512)), ReLU()]
        while pooled < POOLS * (number_of_conv + 1) // pairs:
            chosen.append(MaxPool(2))
            pooled += 1
    if len(chosen) < layers - 1:
        chosen.append(ReLU())
    return Net("224x224x3", [*chosen, FC(1000)], name=f"chain-{layers}")


def dense(layers: int) -> Net:
    """Each block takes the volumes of all blocks before it, concatenated."""
    return gpunet.load(f"INPUT[32x32x3] -> CONV3-4 -> RELU -> [{{ ID | CONV3-4 -> RELU }}]*{layers // 3 - 1} -> FC-10")


def residual(blocks: int) -> Net:
    """Residual blocks without batch normalization."""
    return gpunet.load(
        f"INPUT[32x32x3] -> CONV3-8 -> [{{ ID + CONV3-8 -> RELU -> CONV3-8 }} -> RELU]*{blocks} -> FC-10"
    )


def sums(count: int) -> Net:
    """Each volume is the sum of all before it."""
    nodes = [gpunet.Node("conv0", Conv(8), ("input",))]
    for at in range(1, count + 1):
        before = tuple(f"conv{earlier}" for earlier in range(at))
        nodes.append(gpunet.Node(f"sum{at}", gpunet.Add(), before if at > 1 else (*before, *before)))
        nodes.append(gpunet.Node(f"conv{at}", Conv(8), (f"sum{at}",)))
    return Net("32x32x3", [*nodes, gpunet.Node("fc", FC(10), (f"conv{count}",))], name=f"sums-{count}")


def branches(count: int) -> Net:
    """So many branches from one volume, added up."""
    return gpunet.load(f"INPUT[8x8x3] -> {{ {' + '.join(['CONV3-4 -> RELU'] * count)} }} -> FC-10")


MADE: dict[str, Callable[[int], Net]] = {
    "chain": chain,
    "dense": dense,
    "residual": residual,
    "sums": sums,
    "branches": branches,
}


# -- what is shown ---------------------------------------------------------------------------------


def table(rows: Sequence[Row]) -> Table:
    columns = ["what", "seconds", "at most", "MB more", "found"]
    lines = [
        [
            *(row.case.name, number(row.seconds, 2), "-" if row.case.limit_s is None else f"{row.case.limit_s:g}"),
            *(f"{row.added_mb:.0f}", row.found + ("" if row.holds else "  ABOVE")),
        ]
        for row in rows
    ]
    notes = [f"Processor time. Training with momentum; making again takes at most {MAX_COST:.0%} of the time."]
    return Table("Seconds to plan", columns, lines, notes)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", action="append", help="only this net; may be repeated; default: all of them")
    parser.add_argument("--json", type=Path, help=f"where to write (default: {RESULTS.name}/planner.json)")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a case by its name, in this process
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
