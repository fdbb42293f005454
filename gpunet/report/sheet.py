"""Tables and lines, ready to show: a text that stands as it is where it is looked at, and HTML for a notebook."""

from collections.abc import Iterable, Iterator
from html import escape
from itertools import groupby
from typing import Self

from rich.table import Column, Table
from rich.text import Text

from gpunet.report.console import as_text


class Sheet(str):
    """The text of tables and lines. A prompt shows it as it prints; a notebook shows `html`."""

    html: str

    def __new__(cls, parts: Iterable[Table | str]) -> Self:
        parts = list(parts)
        made = super().__new__(cls, "\n".join(map(as_text, parts)))
        made.html = as_html(parts)
        return made

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return "".join(self)

    def _repr_html_(self) -> str:
        return self.html


def as_html(parts: Iterable[Table | str]) -> str:
    """Tables as tables and lines as they are, for a notebook. Names in them are text and nothing else."""
    return "<div>" + "".join(_blocks(parts)) + "</div>"


def _blocks(parts: Iterable[Table | str]) -> Iterator[str]:
    for is_text, run in groupby(parts, lambda part: isinstance(part, str)):
        if is_text:
            lines = "\n".join(map(str, run)).strip("\n")
            yield f'<pre style="margin: 0.5em 0">{escape(lines)}</pre>' if lines else ""
        else:
            yield from (_table(part) for part in run if isinstance(part, Table))


def _table(table: Table) -> str:
    head = _row("th", table.columns, [column.header for column in table.columns])
    foot = _row("th", table.columns, [column.footer for column in table.columns])
    rows = zip(*(column.cells for column in table.columns), strict=True)
    body = "".join(_row("td", table.columns, list(cells)) for cells in rows)
    top = f"<thead>{head}</thead>" if table.show_header else ""
    end = f"<tfoot>{foot}</tfoot>" if table.show_footer else ""
    return f"<table>{top}<tbody>{body}</tbody>{end}</table>"


def _row(tag: str, columns: Iterable[Column], cells: Iterable[object]) -> str:
    made = (_cell(tag, column, _words(cell)) for column, cell in zip(columns, cells, strict=True))
    return f"<tr>{''.join(made)}</tr>"


def _cell(tag: str, column: Column, words: str) -> str:
    tag = tag if words else "td"  # what is empty is the head of nothing
    return f'<{tag} style="text-align: {"right" if column.justify == "right" else "left"}">{words}</{tag}>'


def _words(cell: object) -> str:
    """A cell as HTML: of markup, which rich reads in a str, the words alone."""
    text = cell if isinstance(cell, Text) else Text.from_markup(str(cell))
    return escape(text.plain).replace("\n", "<br>")
