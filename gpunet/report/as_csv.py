"""Rows of plain values as CSV, for spreadsheets: a line of names, then a line a row. Sizes are bytes."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

NAMED_INSIDE = "."
"""Between the name of a value and that of one within it: placement.gap."""


def csv_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """The rows under the names of all that any of them says; what one does not say, or is None, is empty.

    Sizes of a volume stand as 8x8x64, other lists with blanks between.
    """
    flat = [dict(_flat(row)) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flat(row: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{within}{name}{NAMED_INSIDE}")
        else:
            yield f"{within}{name}", _cell(value)


def _cell(value: Any) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        sizes = value and all(isinstance(one, int) for one in value)
        return ("x" if sizes else " ").join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else value
