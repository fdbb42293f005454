"""Runs side by side: in which settings they differ, and what came of each."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from gpunet.values.visible import visible

Values = Mapping[str, Any]


def compare_parts(names: Sequence[str], settings: Sequence[Values], results: Sequence[Values]) -> list[Table | str]:
    """Tables with a column for each run: the settings that are not the same in all, and all results.

    `settings`  of each run, as its config.toml says them; tables within tables are told by their path
    """
    flat = [dict(_flat(one)) for one in settings]
    differ = [name for name in _keys(flat) if len({str(one.get(name)) for one in flat}) > 1]
    same = f"{len(_keys(flat)) - len(differ):,} settings are the same in all"
    found: list[Table | str] = [_table("setting", names, flat, differ)] if differ else []
    return [*found, same, "", _table("result", names, results, _keys(results))]


def _table(head: str, names: Sequence[str], runs: Sequence[Values], keys: Sequence[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(head)
    for name in names:
        table.add_column(Text(name), justify="right")
    for key in keys:
        table.add_row(Text(visible(key)), *(Text(_said(one.get(key))) for one in runs))
    return table


def _said(value: Any) -> str:
    return "-" if value is None else visible(str(value))


def _keys(runs: Sequence[Values]) -> list[str]:
    """All names, in the order in which they come first."""
    return list(dict.fromkeys(name for one in runs for name in one))


def _flat(settings: Values, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{name}.")
        elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            for number, one in enumerate(value, 1):
                yield from _flat(one, f"{path}{name} {one.get('name', number)}.")
        else:
            yield f"{path}{name}", value
