"""Several ranks in tables and JSON: who has what, what goes over the wire, what that is predicted to cost."""

from typing import Any

from rich.table import Table

from gpunet.compile.wire import wire_bytes
from gpunet.memory.plan import Plan
from gpunet.memory.size import format_bytes, format_speed
from gpunet.planning.network import ASSUMED, RanksPrediction, by_layer
from gpunet.planning.weird_trick import BothWays, Way
from gpunet.report.predicted import range_json


def ranks_table(plan: Plan, found: RanksPrediction | None, both: BothWays | None = None) -> Table:
    """How a batch is divided, the bytes on the wire of a step, and how long a network takes that was named."""
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
        table.add_row(found.network.name, f"{found.wire_ms:,.1f} ms a step, {_hidden(found)}")
        if found.efficiency is not None and found.images_per_second is not None:
            low, likely, high = found.efficiency
            speed = found.images_per_second
            table.add_row("efficiency", f"{likely:.0%} ({low:.0%} to {high:.0%}) of {plan.ranks:,} times one rank")
            table.add_row("", f"{format_speed(speed.likely)} images/s of all ranks")
        table.add_row("", ASSUMED)
    if both is not None:
        table.add_row("fc layers", _way(both, "data parallel", both.parallel))
        table.add_row("", _way(both, "--split-fc", both.split))
    return table


def _hidden(found: RanksPrediction) -> str:
    if found.step_ms is None:
        return "how much of it is hidden is not told without a card"
    return f"{found.hidden_ms:,.1f} ms of it hidden behind the arithmetic"


def _way(both: BothWays, name: str, way: Way) -> str:
    """A way to train fully connected layers, in a line."""
    words = f"{name}: {format_bytes(way.plan.total_bytes)} a rank, {format_bytes(wire_bytes(way.plan.program))} a step"
    if way.found is None:
        return words
    efficiency = way.found.efficiency
    words += f", {way.found.waits_ms:,.1f} ms of waiting" if efficiency is None else f", {efficiency.likely:.0%}"
    return words + f"; recommended over {way.found.network.name}" * (way is both.recommended)


def ranks_json(plan: Plan, found: RanksPrediction | None, both: BothWays | None = None) -> dict[str, Any]:
    """The same as plain values."""
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
            "hidden_ms": found.hidden_ms,
            "efficiency": range_json(found.efficiency),
            "images_per_second": range_json(found.images_per_second),
            "assumed": ASSUMED,
        }
    if both is not None:
        ways = {"data_parallel": both.parallel, "split_fc": both.split}
        values["fully_connected"] = {name: _way_json(way) for name, way in ways.items()}
        recommended = next((name for name, way in ways.items() if way is both.recommended), None)
        values["fully_connected"]["recommended"] = recommended
    return values


def _way_json(way: Way) -> dict[str, Any]:
    values: dict[str, Any] = {"total_bytes": way.plan.total_bytes, "wire_bytes": wire_bytes(way.plan.program)}
    if way.found is not None:
        values |= {"waits_ms": way.found.waits_ms, "efficiency": range_json(way.found.efficiency)}
    return values
