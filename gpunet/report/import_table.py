"""What was imported, for people: which array of a foreign file became which parameter, and what was done."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gpunet.formats.match import Match
from gpunet.use.importing import Imported
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


def import_line(found: Imported) -> str:
    """What was imported, in one line."""
    pairs = found.match.pairs
    numbers = sum(pair.values.size for pair in pairs)
    return f"{found.net.name}: {len(pairs):,} arrays of {found.match.foreign.format}, {numbers:,} numbers"


def import_parts(found: Imported) -> list[Table | str]:
    """What was imported, ready to show."""
    return [*found.said, "", import_table(found.match)]


def import_json(found: Imported) -> dict[str, Any]:
    """What was imported as plain values, but for the weights themselves."""
    match, net = found.match, found.net
    return {
        "file": visible(str(match.foreign.path)),
        "format": match.foreign.format,
        "net": net.name,
        "by": match.words,
        "sure": match.sure,
        "dtype": found.dtype,
        "classes": [visible(name) for name in found.classes],
        "said": list(found.said),
        "left": [visible(line) for line in match.left],
        "parameters": [
            {
                "name": pair.parameter,
                "shape": list(pair.place.shape),
                "array": visible(pair.array),
                "array_shape": list(pair.values.shape),
                "array_dtype": str(pair.values.dtype),
                "moves": pair.moves,
            }
            for pair in match.pairs
        ],
    }


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
