"""A description of a net as tables and lines for people, 80 columns wide as long as names are short."""

from textwrap import fill

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gpunet.description.blocks import PATTERN, Blocks
from gpunet.description.description import Description
from gpunet.description.facts import LayerFacts
from gpunet.description.on_card import OnCard
from gpunet.memory.size import format_bytes
from gpunet.planning.fitter import Rung
from gpunet.report.figures import NOTHING
from gpunet.report.table import made_for
from gpunet.report.ways import cost

WIDTH = 80
NOTE = """\
Multiply-adds are those of matrix products, forward, for one image. An output position sees field x field positions of
the input, the next one those `stride` further; `start` and `centre` are the first field's: below 0 is padding."""


def description_parts(description: Description, held: OnCard | None = None) -> list[Table | str]:
    """A description, ready to show: the layers, what the columns mean, the pattern, the hints; what a card holds."""
    net = description.net
    return [
        f"{net.name}: {net.input} -> {net.output}",
        "",
        field_table(description),
        "",
        fill(NOTE, WIDTH),
        "",
        *pattern_lines(description.blocks),
        *hint_lines(description),
        *([] if held is None else card_lines(held)),
    ]


def field_table(description: Description) -> Table:
    """A row for each layer, and their total."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, show_footer=True)
    table.add_column("layer", "total")
    table.add_column("volume")
    totals = {"parameters": description.net.parameters, "multiply-adds": description.multiply_adds}
    for heading in ("parameters", "multiply-adds", "field", "stride", "start", "centre"):
        table.add_column(heading, f"{totals[heading]:,}" if heading in totals else "", justify="right")
    for one in description.layers:
        table.add_row(one.name, str(one.volume), _count(one.parameters), _count(one.multiply_adds), *_field_cells(one))
    return table


def pattern_lines(blocks: Blocks) -> list[str]:
    """Where the net follows the notes' pattern, and with which numbers."""
    if blocks.departure:
        return [f"departs from {PATTERN}", f"  {blocks.departure}"]
    same = len(set(blocks.N)) == 1
    N = ",".join(map(str, blocks.N[:1] if same else blocks.N)) or "0"
    lines = [f"follows {PATTERN}", f"  N={N}, M={blocks.M}, K={blocks.K}"]
    if blocks.aside:
        lines += fill(f"and beside the pattern {', '.join(blocks.aside)}", WIDTH - 2).splitlines()
        lines[2:] = [f"  {line}" for line in lines[2:]]
    return lines


def hint_lines(description: Description) -> list[str]:
    """The rules of thumb, each a paragraph."""
    if not description.hints:
        return ["", "no hints: the notes' rules of thumb are kept"]
    lines = ["", "hints, from the notes' rules of thumb"]
    for hint in description.hints:
        text = f"{hint.rule}: {hint.text}"
        lines.append(fill(text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False))
    return lines


def card_lines(held: OnCard) -> list[str]:
    """How many images a card holds."""
    where = held.target
    return [
        "",
        made_for(where),
        f"  {where.total_bytes:,} B: {where.total_source}",
        f"  trains on {_images(held.training)}",
        f"  scores {_images(held.scoring)}",
    ]


def _images(rung: Rung) -> str:
    """The largest batch and what it takes, in words."""
    if rung.total_bytes is None:
        return f"no image: it would take {format_bytes(rung.next_total_bytes)}"
    extra = f", {cost(rung.extra_flops_fraction, rung.extra_time_fraction)}" if rung.extra_time_fraction else ""
    return f"up to {rung.batch:,} images at a time: {format_bytes(rung.total_bytes)}{extra}"


def _field_cells(one: LayerFacts) -> list[str]:
    """Size, stride, start and centre; rows x columns where they differ."""

    def cell(read: str) -> str:
        rows, columns = (f"{getattr(field, read):g}" for field in (one.rows, one.columns))
        return rows if rows == columns else f"{rows}x{columns}"

    return [cell("size"), cell("stride"), cell("start"), cell("centre")]


def _count(number: int) -> str:
    return f"{number:,}" if number else NOTHING
