"""What an arena takes at which cost, beside MONeT's published figures: `python bench/monet.py`.

The nets and batches of Shah et al., "Memory optimization for deep networks" (MONeT, ICLR 2021), plain SGD, float32.
MONeT's figures, and PyTorch's beside them, are gigabytes at measured extra time. gpunet's are plans: the fewest bytes
of the arena at so many extra FLOPs at the most, and what time is predicted for that on an RTX 3060. GB = 10**9 bytes.
No GPU is needed; exit code 1 where a target is missed.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gpunet
from bench.common import RESULTS, save
from bench.gpu.table import Table, as_text

GB = 10**9


@dataclass(frozen=True, slots=True)
class Case:
    """A net at a batch; `pytorch_gb` and `monet`, (GB, % more time), as published; None: not told.

    `targets`  (% extra FLOPs, most GB) that gpunet is to reach
    """

    net: str
    batch: int
    pytorch_gb: float | None
    monet: tuple[tuple[float, float], ...]
    targets: tuple[tuple[int, float], ...]


CASES = (
    Case("vgg16", 176, 14.1, ((5.51, 9.1),), ((0, 7.6), (3, 3.8), (9, 2.5))),
    Case("googlenet", 320, 14.9, ((9.98, 7.1), (4.99, 15.8)), ((0, 5.2), (2, 4.2), (9, 3.3))),
    Case("resnet50", 184, 15.1, ((10.01, 3.2), (6.00, 9.3), (4.99, 12.0)), ((0, 9.3), (3, 7.0), (7, 4.8))),
    Case("vgg16_bn", 176, None, (), ((0, 11.0), (3, 7.3), (9, 5.0))),
    Case("mobilenet_v2", 272, 14.5, ((5.01, 8.7),), ((0, 7.6), (5, 5.0))),
)


@dataclass(frozen=True, slots=True)
class Reached:
    """The fewest bytes at a cap on extra FLOPs, and what they cost."""

    net: str
    batch: int
    most_flops: float
    arena_bytes: int
    lower_bound_bytes: int
    extra_flops_fraction: float
    extra_time_fraction: float
    target_gb: float

    @property
    def holds(self) -> bool:
        return self.arena_bytes <= self.target_gb * GB


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, write the JSON. Exit code 1 where a target is missed."""
    options = _options(arguments)
    found = reached([case for case in CASES if not options.net or case.net in options.net])
    print(as_text(table(found)))
    print(f"written to {save('monet', {'rows': as_json(found)}, options.json)}")
    return 0 if all(one.holds for one in found) else 1


def reached(cases: Sequence[Case] = CASES) -> list[Reached]:
    """The smallest plan of each case at each of its costs."""
    found = []
    for case in cases:
        net = gpunet.load(case.net)
        for percent, target_gb in case.targets:
            plan = gpunet.plan(net, case.batch, budget=1, reserve=1, optimizer="sgd", max_cost_flops=percent / 100)
            found.append(
                Reached(
                    case.net,
                    case.batch,
                    percent / 100,
                    plan.arena_bytes,
                    plan.lower_bound_bytes,
                    plan.extra_flops_fraction,
                    plan.extra_time_fraction,
                    target_gb,
                )
            )
    return found


def as_json(found: Sequence[Reached]) -> list[dict[str, object]]:
    """With MONeT's figures beside."""
    cases = {case.net: case for case in CASES}
    return [
        {**asdict(one), "holds": one.holds, "pytorch_gb": cases[one.net].pytorch_gb, "monet": cases[one.net].monet}
        for one in found
    ]


def table(found: Sequence[Reached]) -> Table:
    cases = {case.net: case for case in CASES}
    lines = []
    for one in found:
        case = cases[one.net]
        theirs = "; ".join(f"{gb:g} at {percent:g} %" for gb, percent in case.monet) or "-"
        lines.append(
            [
                f"{one.net}, {one.batch}",
                "-" if case.pytorch_gb is None else f"{case.pytorch_gb:g}",
                theirs,
                f"{one.most_flops:.0%}",
                f"{one.arena_bytes / GB:.2f}",
                f"{one.extra_flops_fraction:.2%}",
                f"{one.extra_time_fraction:.2%}",
                f"{one.target_gb:g}" + ("" if one.holds else "  ABOVE"),
            ]
        )
    columns = ["net, batch", "PyTorch", "MONeT at time", "FLOPs, most", "gpunet", "FLOPs", "time", "target"]
    notes = ["GB = 10**9 bytes. MONeT's time was measured; gpunet's is predicted for an RTX 3060."]
    return Table("Arena at extra cost, plain SGD", columns, lines, notes)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", action="append", choices=[case.net for case in CASES], help="default: all of them")
    parser.add_argument("--json", type=Path, help=f"where to write (default: {RESULTS.name}/monet.json)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
