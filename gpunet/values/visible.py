"""Text from files and from people as a line of a terminal: no character in it moves a cursor or changes a colour."""

import os
import pathlib
import shlex
from unicodedata import category


def visible(text: str) -> str:
    r"""The text with an escape, like \n or \x1b, for each character that cannot be seen; wide blanks are blanks."""
    return text if text.isprintable() else "".join(map(_visible, text))


def visible_lines(text: str) -> str:
    """The same for a text whose line ends are meant."""
    return "\n".join(map(visible, text.split("\n")))


def _visible(letter: str) -> str:
    if letter.isprintable():
        return letter
    return " " if category(letter) == "Zs" else letter.encode("unicode_escape").decode()


def typable(path: str | os.PathLike[str]) -> str:
    r"""A path as it may be typed at a shell, all of it to be seen: quoted where it must be, as in $'a\nb'."""
    text = str(path)
    if text.isprintable():
        return shlex.quote(text)
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{''.join(map(_visible, quoted))}'"


class _ToldPath(type(pathlib.Path())):  # type: ignore[misc]
    """A path that an f-string makes visible; to the system, and where it is asked for as text, it is what it is.

    So are those that are made from it: its parent, what lies in it.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(pathlib.Path(self))

    def __format__(self, how: str) -> str:
        return format(visible(str(self)), how)


def told_path(text: str | os.PathLike[str]) -> pathlib.Path:
    """The path, such that messages may name it. Every path that people type, or a list of theirs holds, becomes one."""
    return _ToldPath(text)
