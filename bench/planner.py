"""How long planning takes against the number of layers: `python bench/planner.py`.

VGG-16 and chains in its manner, from 10 to 200 layers: a plan without a budget; one with the smallest budget that can
be held at the default cost, where every way is tried; the refusal of a byte less, with the plan that comes nearest; the
search for the largest batch. Wall time, the best of some runs; exit code 1 where a target is missed.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gpunet
from bench.common import RESULTS, save
from bench.gpu.table import Table, as_text, number
from gpunet import FC, Conv, MaxPool, Net, ReLU
from gpunet.layers.layer import Layer
from gpunet.planning.choose import MAX_COST

LAYERS = (10, 25, 50, 100, 200)
BATCH = 64
FIT_BUDGET = "12GiB"
POOLS = 5
"""From 224x224 to 7x7, as in VGG."""

LIMIT_S = {"vgg16": 1.0, "chain-200": 10.0}
"""What a plan may take at most, with and without a budget."""


@dataclass(frozen=True, slots=True)
class Row:
    """Seconds to plan one net, in three ways, and for the largest batch."""

    net: str
    layers: int
    steps: int
    free_s: float
    tight_s: float
    refused_s: float
    fit_s: float
    tight_ways: str

    @property
    def holds(self) -> bool:
        limit = LIMIT_S.get(self.net, float("inf"))
        return max(self.free_s, self.tight_s, self.refused_s) <= limit


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, write the JSON. Exit code 1 where a target is missed."""
    options = _options(arguments)
    nets = [gpunet.load("vgg16"), *(chain(layers) for layers in options.layers or LAYERS)]
    rows = [measure(net, options.batch, options.repeat) for net in nets]
    print(as_text(_table(rows, options.batch)))
    results = {"batch": options.batch, "fit_budget": FIT_BUDGET, "limit_s": LIMIT_S, "rows": [asdict(r) for r in rows]}
    print(f"written to {save('planner', results, options.json)}")
    return 0 if all(row.holds for row in rows) else 1


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


def measure(net: Net, batch: int, repeat: int) -> Row:
    """Time all four on one net."""
    smallest = gpunet.plan(net, batch, budget=1, reserve=1).total_bytes
    tight = gpunet.plan(net, batch, budget=smallest, reserve=1)
    assert tight.fits  # the smallest plan was made within as many bytes
    return Row(
        net=net.name,
        layers=len(net.nodes),
        steps=tight.steps,
        free_s=best_of(repeat, lambda: gpunet.plan(net, batch)),
        tight_s=best_of(repeat, lambda: gpunet.plan(net, batch, budget=smallest, reserve=1)),
        refused_s=best_of(repeat, lambda: gpunet.plan(net, batch, budget=smallest - 1, reserve=1)),
        fit_s=best_of(1, lambda: gpunet.fit(net, FIT_BUDGET)),
        tight_ways=" + ".join(tight.ways.names) or "free",
    )


def best_of(repeat: int, run: Callable[[], object]) -> float:
    """Seconds of the fastest of some runs."""
    times = []
    for _ in range(repeat):
        started = perf_counter()
        run()
        times.append(perf_counter() - started)
    return min(times)


def _table(rows: Sequence[Row], batch: int) -> Table:
    columns = ["net", "layers", "steps", "no budget", "tight budget", "a byte less", f"fit {FIT_BUDGET}", "tight: ways"]
    lines = [
        [
            *(row.net, row.layers, row.steps),
            *(number(seconds, 2) for seconds in (row.free_s, row.tight_s, row.refused_s, row.fit_s)),
            row.tight_ways + ("" if row.holds else f"  ABOVE {LIMIT_S[row.net]:g} s"),
        ]
        for row in rows
    ]
    notes = [f"Batch {batch}, training with momentum; making again takes at most {MAX_COST:.0%} of the time."]
    return Table("Seconds to plan", columns, lines, notes)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--layers", type=int, action="append", help=f"of a chain; default: {', '.join(map(str, LAYERS))}"
    )
    parser.add_argument("--batch", type=int, default=BATCH, help="images of a step (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of which the best counts (default: %(default)s)")
    parser.add_argument("--json", type=Path, help=f"where to write (default: {RESULTS.name}/planner.json)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
