"""How low plans lie: height of the arena over its lower bound, `python bench/placement.py`.

The lower bound is what is alive at once in the fullest step; no placement is lower. Two tables: every shipped net at
some batches, training and inference, on both devices, free and in the fewest bytes that the ways allow; and cases made
hard on purpose, a full rectangle of steps x bytes cut into buffers, whose bound is known to be reachable. Exit code 1
where a gap is above its limit.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gpunet
from bench.common import RESULTS, save
from bench.gpu.table import Table, as_text, number
from gpunet.memory.arena import Placement, place
from gpunet.memory.validate import validate
from gpunet.program.program import Mode
from gpunet.system.resources import config_names
from tests.hard_plans import hard_plan

BATCHES = (1, 16, 64, 128)
MODES: tuple[Mode, ...] = ("train", "infer")
NET_GAP = 0.01
"""Most that the arena of a shipped net may lie above its bound, as a fraction."""

HARD_GAP = 0.25
HARD_SECONDS = 3.0
HARD = (100, 200, 400, 800)
"""Buffers of the hard cases."""


@dataclass(frozen=True, slots=True)
class Row:
    """One placement: its height over its bound, minus one, and how it was found."""

    case: str
    buffers: int
    height_bytes: int
    gap: float
    order: str
    seconds: float

    @classmethod
    def of(cls, case: str, placement: Placement, seconds: float) -> "Row":
        return cls(
            case, len(placement.offsets), placement.height_bytes, placement.gap, placement.order, round(seconds, 4)
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables, write the JSON. Exit code 1 where a gap is too wide or took too long."""
    options = _options(arguments)
    nets = list(shipped(options.net or config_names(), options.batch or BATCHES))
    hard = list(hard_cases(options.hard or HARD, options.seeds, options.seconds))
    print(as_text(_table("Shipped nets", nets, f"a gap above {NET_GAP:.0%} fails; only the widest gaps are shown")))
    print(as_text(_table("Hard cases", hard, f"a gap above {HARD_GAP:.0%}, or more than {HARD_SECONDS:g} s, fails")))
    exact = sum(row.gap == 0 for row in nets)
    print(f"{exact} of {len(nets)} plans of shipped nets lie at their bound\n")
    results = {"nets": [asdict(row) for row in nets], "hard": [asdict(row) for row in hard]}
    print(f"written to {save('placement', results, options.json)}")
    late = any(row.seconds > HARD_SECONDS for row in hard)
    wide = any(row.gap > NET_GAP for row in nets) or any(row.gap > HARD_GAP for row in hard)
    return 1 if late or wide else 0


def shipped(names: Sequence[str], batches: Sequence[int]) -> Iterator[Row]:
    """The plans of these nets, without a budget and with one that nothing holds, so that all ways are used."""
    for name in names:
        net = gpunet.load(name)
        for mode in MODES:
            for device in ("cuda", "cpu"):
                for batch in batches:
                    for said, budget in (("", None), (", smallest", 1)):
                        placement = gpunet.plan(net, batch, mode=mode, device=device, budget=budget).placement
                        case = f"{net.name}, {mode}, {device}, batch {batch}{said}"
                        yield Row.of(case, placement, placement.seconds)


def hard_cases(counts: Sequence[int], seeds: int, deadline_s: float) -> Iterator[Row]:
    """Cases whose lowest arena is known; each placement is checked."""
    for count in counts:
        for seed in range(seeds):
            buffers = hard_plan(seed, count)
            started = perf_counter()
            placement = place(buffers, deadline_s=deadline_s)
            seconds = perf_counter() - started
            validate(buffers, placement.offsets, placement.height_bytes)
            yield Row.of(f"{count} buffers, seed {seed}", placement, seconds)


def _table(title: str, rows: Sequence[Row], note: str) -> Table:
    widest = sorted(rows, key=lambda row: -row.gap)[:20]
    lines = [
        [
            row.case,
            row.buffers,
            number(row.height_bytes / 2**20, 4),
            f"{row.gap:.3%}",
            number(row.seconds, 2),
            row.order,
        ]
        for row in widest
    ]
    columns = ["case", "buffers", "MiB", "above the bound", "s", "found by"]
    return Table(title, columns, lines, [f"{note}; {len(rows)} in all."])


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", action="append", help="a net, a config or a pattern; default: every shipped one")
    parser.add_argument("--batch", type=int, action="append", help=f"default: {', '.join(map(str, BATCHES))}")
    parser.add_argument("--hard", type=int, action="append", help=f"buffers; default: {', '.join(map(str, HARD))}")
    parser.add_argument("--seeds", type=int, default=5, help="hard cases of each size (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.5, help="deadline of a hard case (default: %(default)s)")
    parser.add_argument("--json", type=Path, help=f"where to write (default: {RESULTS.name}/placement.json)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
