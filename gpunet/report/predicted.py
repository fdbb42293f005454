"""Times that are predicted, as people and programs read them: what a step of a plan takes on its card, by layer."""

from collections.abc import Callable, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gpunet.devices.cards import with_article
from gpunet.memory.plan import Plan
from gpunet.memory.size import format_speed
from gpunet.net.net import Net
from gpunet.planning.prediction import OpPrediction, Prediction, Range, why_not
from gpunet.program.volume import Volume
from gpunet.report.figures import NOTHING, number
from gpunet.report.rows import layer_rows, loss_rows

TIMES_NOTE = """\
Predicted, not measured: milliseconds of all ops of the layer. bound by: what most of them goes to, the card's memory,
its arithmetic, or starting kernels."""


WORTH_WHILE = 1.05
"""From which speed on a way of products is said to gain something."""

UNITS = (("hours", 1), ("minutes", 60), ("seconds", 3600))
"""Of an epoch: what they are called, and how many are an hour."""


def time_table(plan: Plan, images: int | None = None) -> Table:
    """What is predicted of a plan, and of an epoch of so many images; where nothing is, why."""
    found: Prediction | None = plan.predicted
    if found is not None:
        return step_table(found, images)
    table = _bare_table()
    table.add_row("predicted", why_not(plan))
    return table


def step_table(found: Prediction, images: int | None = None) -> Table:
    """Milliseconds a step, images a second, hours of an epoch of so many images, and what bounds them."""
    table = _bare_table()
    table.add_row("predicted", f"{_spoken(found.ms, _what(found))} on {with_article(found.card)}; by {found.source}")
    table.add_row("", _spoken(found.images_per_second, "images/s", format_speed))
    if images is not None:
        table.add_row("", _epoch(found.hours(images), images))
    table.add_row("bound by", _shares(found))
    for way, ms in found.beside.items():
        table.add_row("tensor cores", _on_tensor_cores(way, ms, found))
    return table


def prediction_line(found: Prediction) -> str:
    """A prediction in one line."""
    speed = _spoken(found.images_per_second, "images/s", format_speed)
    return f"{with_article(found.card)}, batch {found.batch:,}: {_spoken(found.ms, _what(found))}, {speed}"


def prediction_parts(found: Prediction) -> list[Table | str]:
    """A prediction, ready to show."""
    return [step_table(found), "", layer_table(found), "", TIMES_NOTE]


def layer_times(net: Net, plan: Plan) -> list[Table | str]:
    """A row for each layer of a plan, and what the columns mean; where nothing is predicted, why."""
    found: Prediction | None = plan.predicted
    if found is None:
        return [f"predicted: {why_not(plan)}"]
    volumes = {row.name: row.volume for row in layer_rows(net, plan) + loss_rows(net, plan)}
    return [layer_table(found, volumes), "", TIMES_NOTE]


def layer_table(found: Prediction, volumes: Mapping[str, Volume | None] | None = None) -> Table:
    """A row for each layer, of those whose `volumes` are given where they are; of one that does nothing empty ones."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, show_footer=True)
    layers = found.by_layer
    sums = [sum(getattr(one, name) for one in layers.values()) for name in ("forward_ms", "backward_ms", "update_ms")]
    table.add_column("layer", "total")
    if volumes is not None:
        table.add_column("volume")
    for heading, ms in zip(("forward\nms", "backward\nms", "update\nms", "all\nms"), (*sums, sum(sums)), strict=True):
        table.add_column(heading, number(ms), justify="right")
    table.add_column("bound by")
    for name in layers if volumes is None else volumes:
        first = [name] if volumes is None else [name, str(volumes[name] or "")]
        if one := layers.get(name):
            cells = map(number, (one.forward_ms, one.backward_ms, one.update_ms, one.ms))
            table.add_row(*first, *cells, one.bound)
        else:
            table.add_row(*first, *[NOTHING] * 5)
    return table


def cell(ms: Range | None) -> str:
    """Milliseconds for a table, from the lowest to the highest."""
    return NOTHING if ms is None else f"{number(ms.low)} to {number(ms.high)}"


def prediction_json(plan: Plan, images: int | None = None) -> dict[str, Any] | None:
    """What is predicted of a plan as plain values; None where nothing is."""
    found: Prediction | None = plan.predicted
    return None if found is None else as_plain(found, images)


def as_plain(found: Prediction, images: int | None = None) -> dict[str, Any]:
    """A prediction as plain values, by layer and by op, and of an epoch of so many images."""
    return {
        "card": found.card,
        "source": found.source,
        "step_ms": range_json(found.ms),
        "images_per_second": range_json(found.images_per_second),
        "epoch_images": images,
        "epoch_hours": None if images is None else range_json(found.hours(images)),
        "bound_by": found.shares,
        "on_tensor_cores": {way: range_json(ms) for way, ms in found.beside.items()},
        "layers": [
            {
                "name": name,
                "forward_ms": one.forward_ms,
                "backward_ms": one.backward_ms,
                "update_ms": one.update_ms,
                "ms": one.ms,
                "bound_by": one.bound,
            }
            for name, one in found.by_layer.items()
        ],
        "ops": [_op(one) for one in found.ops],
    }


def range_json(figures: Range | None) -> dict[str, float] | None:
    """A figure that is predicted, and what it lies between."""
    return None if figures is None else figures._asdict()


def _bare_table() -> Table:
    return Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)


def _what(found: Prediction) -> str:
    """What takes these milliseconds."""
    return "ms a step" if any(one.op.phase != "forward" for one in found.ops) else "ms a forward pass"


def _op(one: OpPrediction) -> dict[str, Any]:
    return {
        "name": one.op.name,
        "layer": one.op.layer,
        "phase": one.op.phase,
        "ms": range_json(one.ms),
        "bound_by": one.bound,
        **{f"{bound}_ms": ms for bound, ms in one.ms_by.items()},
    }


def _spoken(figures: Range, unit: str, written: Callable[[float], str] = number) -> str:
    """ "873 to 1,108 ms a step, about 990"."""
    return f"{written(figures.low)} to {written(figures.high)} {unit}, about {written(figures.likely)}"


def _on_tensor_cores(way: str, ms: Range, found: Prediction) -> str:
    """ "--math tf32: about 41.0 ms a step, 2.1 times as fast"."""
    option = "--math" if way == "tf32" else "--dtype"
    gain = found.ms.likely / ms.likely
    told = f"{gain:.1f} times as fast" if gain >= WORTH_WHILE else "nothing is gained on this card"
    return f"{option} {way}: about {number(ms.likely)} {_what(found)}, {told}"


def _epoch(hours: Range, images: int) -> str:
    """An epoch in hours, or in what is smaller."""
    unit, factor = next((one for one in UNITS if hours.likely * one[1] >= 1), UNITS[-1])
    return _spoken(hours.times(factor), f"{unit} an epoch of {images:,} images")


def _shares(found: Prediction) -> str:
    """What a step goes to, the most first, and the layer that takes most."""
    shares = sorted(found.shares.items(), key=lambda item: -item[1])
    name, most = max(found.by_layer.items(), key=lambda item: item[1].ms)
    told = ", ".join(f"{bound} {share:.0%}" for bound, share in shares if share >= 0.005)
    return f"{told}; {name} takes most, {number(most.ms)} ms, bound by {most.bound}"
