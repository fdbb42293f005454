"""Which array of a foreign file became which parameter, as a table."""

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gpunet.formats.match import Match
from gpunet.values.visible import visible


def import_table(match: Match) -> Table:
    """A row for each parameter: what it is here, what it is there, and what is done to its axes."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in ("parameter", "shape", "from", "shape there", "laid out anew"):
        table.add_column(heading)
    for pair in match.pairs:
        there = _by(pair.values.shape)
        table.add_row(pair.parameter, _by(pair.place.shape), visible(pair.array), there, pair.moves)
    return table


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
