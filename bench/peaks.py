"""Who is alive at the peak of each shipped net, where memory is not short and where it is: `python bench/peaks.py`.

Three plans of a step with plain SGD, float32, for a GPU: the free savings alone; the fewest bytes without a product of
matrices more; the fewest at 9 % more FLOPs. Bytes alive in the fullest step, by tensor in the JSON, the largest in
the table. GB = 10**9 bytes. No GPU is needed.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gpunet
from bench.common import RESULTS, save
from bench.gpu.table import Table, as_text
from gpunet.net.net import Net
from gpunet.system.resources import config_names

BATCH = 64

SHARE = 0.01
"""Of the bytes at a peak, what a tensor that is told by name has at least; the rest is one number."""

SHOWN = 4
"""Tensors of a peak in the table."""

GB = 10**9

PLANS: dict[str, dict[str, Any]] = {
    "free": {"max_cost": 0},
    "no products": {"budget": 1, "reserve": 1, "max_cost_flops": 0},
    "9 % FLOPs": {"budget": 1, "reserve": 1, "max_cost_flops": 0.09},
}
"""By name, the options of a plan; no plan fits a byte, so each is the smallest there is."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", action="append", help="a net, a config or a pattern; default: every shipped one")
    parser.add_argument("--json", type=Path, help=f"where to write (default: {RESULTS.name}/peaks.json)")
    options = parser.parse_args(arguments)
    nets = map(gpunet.load, options.net or config_names())
    rows = [peak(net, name) for net in nets for name in PLANS]
    print(as_text(table(rows)))
    print(f"written to {save('peaks', {'batch': BATCH, 'rows': rows}, options.json)}")
    return 0


def peak(net: Net, name: str) -> dict[str, Any]:
    """The fullest step of a plan, and the bytes of all that is alive in it."""
    plan = gpunet.plan(net, BATCH, optimizer="sgd", **PLANS[name])
    op, live = plan.program.ops[plan.peak_step], plan.live_bytes[plan.peak_step]
    alive = sorted(plan.alive(plan.peak_step), key=lambda planned: -planned.nbytes)
    large = {planned.name: planned.nbytes for planned in alive if planned.nbytes >= SHARE * live}
    return {
        "net": net.name,
        "plan": name,
        "arena_bytes": plan.arena_bytes,
        "extra_flops_fraction": plan.extra_flops_fraction,
        "extra_time_fraction": plan.extra_time_fraction,
        "op": f"{op.name} of {op.layer}",
        "bytes": live,
        "alive": large,
        "rest_bytes": live - sum(large.values()),
    }


def table(rows: Sequence[dict[str, Any]]) -> Table:
    lines = []
    for row in rows:
        parts = [f"{nbytes / row['bytes']:.0%} {name}" for name, nbytes in list(row["alive"].items())[:SHOWN]]
        cells = [f"{row['bytes'] / GB:.3f}", f"{row['extra_flops_fraction']:.1%}", row["op"], ", ".join(parts)]
        lines.append([row["net"], row["plan"], *cells])
    notes = [f"Batch {BATCH}, plain SGD, float32. Every tensor of {SHARE:.0%} and more is in the JSON."]
    return Table("Alive at the peak", ["net", "plan", "GB", "FLOPs", "at", "most of it"], lines, notes, left=2)


if __name__ == "__main__":
    sys.exit(main())
