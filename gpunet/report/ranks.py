"""Several ranks in tables and JSON: who has what, what goes over the wire, what that is predicted to cost."""

from typing import Any

from rich.table import Table

from gpunet.memory.plan import Plan
from gpunet.memory.size import format_bytes, format_speed
from gpunet.planning.network import ASSUMED, RanksPrediction, by_layer
from gpunet.report.predicted import range_json


def ranks_table(plan: Plan, found: RanksPrediction | None) -> Table:
    """How a batch is divided, the bytes on the wire of a step, and how long a network takes that was named."""
    from gpunet.compile.wire import wire_bytes

    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_row(
        "ranks", f"{plan.ranks:,}, each with at most {plan.batch:,} of {plan.whole_batch:,} images; all above: of one"
    )
    sent = by_layer(plan)
    most = sorted(sent, key=lambda layer: -sent[layer])[:3]
    table.add_row(
        "on the wire",
        f"{format_bytes(wire_bytes(plan.program))} a step from each rank, most of it for {', '.join(most)}",
    )
    if found is not None:
        table.add_row(found.network.name, f"{found.wire_ms:,.1f} ms a step, none of it hidden")
        if found.efficiency is not None and found.images_per_second is not None:
            low, likely, high = found.efficiency
            speed = found.images_per_second
            table.add_row("efficiency", f"{likely:.0%} ({low:.0%} to {high:.0%}) of {plan.ranks:,} times one rank")
            table.add_row("", f"{format_speed(speed.likely)} images/s of all ranks")
        table.add_row("", ASSUMED)
    return table


def ranks_json(plan: Plan, found: RanksPrediction | None) -> dict[str, Any]:
    """The same as plain values."""
    from gpunet.compile.wire import wire_bytes

    values: dict[str, Any] = {
        "ranks": plan.ranks,
        "whole_batch": plan.whole_batch,
        "wire_bytes": wire_bytes(plan.program),
        "wire_bytes_by_layer": by_layer(plan),
    }
    if found is not None:
        values |= {
            "network": found.network.name,
            "wire_ms": found.wire_ms,
            "hidden_ms": 0.0,
            "efficiency": range_json(found.efficiency),
            "images_per_second": range_json(found.images_per_second),
            "assumed": ASSUMED,
        }
    return values
