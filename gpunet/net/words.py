"""How mistakes in a text are said: the place quoted with a caret under it, values kept short, and "did you mean"."""

from collections.abc import Iterable

WIDTH = 100
"""Characters of a quoted line; longer ones are cut around the caret."""


def nearest(word: str, words: Iterable[str]) -> str:
    """'; did you mean WORD?' with the most similar of `words` (case does not count), or '' where none is similar."""
    from difflib import get_close_matches  # only after a mistake

    if len(word) > 40:  # no known word is as long, and comparing takes quadratic time
        return ""
    by_lower = {known.lower(): known for known in words}
    close = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean {by_lower[close[0]]}?" if close else ""


def listed(words: Iterable[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    *most, last = list(words)
    return f"{', '.join(most)} and {last}" if most else last


def shown(value: object) -> str:
    """A value as a message shows it: at most 60 characters, whatever it is."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= 10**30:  # Python refuses to print integers of thousands of digits
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    if isinstance(value, tuple):  # sizes
        return "x".join(shown(size) for size in value)
    text = repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def line_of(text: str, at: int) -> int:
    """The number, from 1, of the line of `text` that holds position `at`."""
    return text.count("\n", 0, at) + 1


def _in_place(text: str) -> str:
    """The text with a blank for each character that a terminal would not show: a caret below it stays where it is."""
    return "".join(character if character.isprintable() else " " for character in text)


def encodable(text: str) -> str:
    r"""The text with an escape like \udcff for each part of a path that is no UTF-8: JSON has no place for halves."""
    return text.encode("utf-8", "backslashreplace").decode()


def quoted(text: str, at: int) -> str:
    """The line of `text` that holds position `at`, indented, and a line with a caret under the place."""
    first = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    last = len(text) if end < 0 else end
    start = max(first, at - WIDTH * 2 // 3) if last - first > WIDTH else first
    stop = min(last, start + WIDTH)
    before, after = "..." * (start > first), "..." * (stop < last)
    return f"    {before}{_in_place(text[start:stop]).rstrip()}{after}\n    {' ' * (len(before) + at - start)}^"
