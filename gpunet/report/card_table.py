"""Cards as tables for people and as plain data: what is known of each, and what batch each holds."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gpunet.devices.cards import Card, capability
from gpunet.memory.size import format_bytes, format_speed
from gpunet.planning.by_card import CardFit
from gpunet.planning.fitter import Rung
from gpunet.report.figures import NOTHING
from gpunet.report.predicted import cell

NOTE = """\
total: the least CUDA total that is known, which is what --gpu plans for; less than nvidia-smi shows. GB/s: of its
memory. TFLOPS: dense, at boost clock; TF32 and FP16 of tensor cores that add up in float32. -: has none. ?: unsure."""

FIT_NOTE = """\
budget: the least CUDA total that is known of each card; total is within it, and with one image more would not be.
predicted: of a training step of that batch, from its bytes and operations and the card's data sheet; not measured."""

HEADINGS = {
    "multiprocessors": "SMs",
    "bandwidth_gb_s": "GB/s",
    "l2_mib": "L2\nMiB",
    "float32_tflops": "FP32\nTFLOPS",
    "tf32_tflops": "TF32",
    "float16_tflops": "FP16",
}


def card_parts(cards: Sequence[Card]) -> list[Table | str]:
    """What is known of cards, ready to show: a row for each, what the columns mean, and what is unsure."""
    return [card_table(cards), "", NOTE, "", *_doubts((card.name, _doubt(card)) for card in cards)]


def card_table(cards: Sequence[Card]) -> Table:
    """A row for each card."""
    table = _table("card", "compute\ncapability", "total", "total\nbytes", *HEADINGS.values())
    for card in cards:
        mark = "" if card.total_is_sure else "?"
        table.add_row(
            card.name,
            capability(card.compute_capability),
            format_bytes(card.total_bytes) + mark,
            f"{card.total_bytes:,}{mark}",
            *(_figure(card, name) for name in HEADINGS),
        )
    return table


def card_fit_parts(fits: Sequence[CardFit]) -> list[Table | str]:
    """The largest batch of each card, ready to show, and what is unsure of their memory."""
    return [card_fit_table(fits), "", FIT_NOTE, *_doubts((fit.target.card, fit.target.doubt) for fit in fits)]


def card_fit_table(fits: Sequence[CardFit]) -> Table:
    """A row for each card, and for each dtype where there are several."""
    several = len({fit.dtype for fit in fits}) > 1
    headings = (
        *(("dtype",) if several else ()),
        "compute\ncapability",
        "budget",
        "largest\nbatch",
        "total",
        "total\nbytes",
        "more\ntime",
        "extra\nFLOPs",
    )
    table = _table("card", *headings, "predicted\nms a step", "predicted\nimages/s")
    for fit in fits:
        rung = fit.rung
        cells = [NOTHING] * 4
        if rung.total_bytes is not None:
            fractions = (rung.extra_time_fraction, rung.extra_flops_fraction)
            more = [f"{fraction:.2%}" if fraction else NOTHING for fraction in fractions]
            cells = [format_bytes(rung.total_bytes), f"{rung.total_bytes:,}", *more]
        table.add_row(
            fit.target.card or fit.target.name,
            *((fit.dtype,) if several else ()),
            capability(fit.target.compute_capability),
            format_bytes(fit.budget_bytes) + ("?" if fit.target.doubt else ""),
            f"{rung.batch:,}" if rung.batch else "none",
            *cells,
            *_time_cells(rung),
        )
    return table


def _time_cells(rung: Rung) -> tuple[str, str]:
    """Milliseconds of a step of the largest batch, and images a second."""
    if rung.predicted_ms is None:
        return NOTHING, NOTHING
    speed = rung.predicted_ms.over(rung.batch * 1e3)
    return cell(rung.predicted_ms), f"{format_speed(speed.low)} to {format_speed(speed.high)}"


def cards_json(cards: Sequence[Card]) -> list[dict[str, Any]]:
    """All that is known of each card; `total_bytes` is what --gpu plans for, `total_is_sure` whether it was seen so."""
    return [
        {
            **asdict(card),
            "compute_capability": capability(card.compute_capability),
            "total_bytes": card.total_bytes,
            "total_is_sure": card.total_is_sure,
            "total_source": card.total_source,
        }
        for card in cards
    ]


def _table(*headings: str) -> Table:
    """An empty table; the first column is of words, the others are of figures."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    return table


def _figure(card: Card, name: str) -> str:
    """A figure, with a mark where it is unsure."""
    value, unsure = getattr(card, name), name in card.unsure
    if value is None:
        return "?" if unsure else NOTHING
    return f"{value:g}{'?' if unsure else ''}"


def _doubt(card: Card) -> str:
    """What is unsure of a card, in words."""
    return "; ".join(filter(None, ["" if card.total_is_sure else card.total_source, card.note]))


def _doubts(told: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each doubt, with the cards that it is of."""
    names: dict[str, list[str]] = {}
    for name, doubt in told:
        if doubt:
            names.setdefault(doubt, []).append(name)
    return [f"{', '.join(of)}: {doubt}" for doubt, of in names.items()]
