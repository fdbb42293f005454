"""Messages as text, as nets and solvers are written: `field: value` and `field { ... }`.

Source: protobuf's text format.
"""

import re
from collections.abc import Iterator
from math import inf, nan
from pathlib import Path
from typing import Any, NoReturn

from gpunet.data.raw import clean_name, read_whole
from gpunet.errors import DataError
from gpunet.formats.caffe.message import Message
from gpunet.formats.caffe.schema import ENUMERATIONS, Field, fields, is_message
from gpunet.net.words import listed

MOST_BYTES = 1 << 21
"""Of a text; that of a DenseNet of 264 layers has 300,000."""
MOST_DEEP = 30
"""Messages within messages, those that are skipped among them; Caffe's own go 5 deep."""

TOKEN = re.compile(
    r"""(?P<space>[ \t\r\f\v]+|\#[^\n]*)|(?P<newline>\n)|(?P<sign>[{}<>:\[\],;])
    |(?P<string>"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*')
    |(?P<word>-?[A-Za-z_][A-Za-z0-9_.]*)
    |(?P<number>[-+]?(?:0[xX][0-9a-fA-F]{1,16}|(?:[0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})(?:[eE][-+]?[0-9]{1,4})?[fF]?))
    """,
    re.VERBOSE,
)
CLOSING = {"{": "}", "<": ">"}
FLOATS = {"inf": inf, "infinity": inf, "-inf": -inf, "-infinity": -inf, "nan": nan, "-nan": nan}
ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))")
ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}

Token = tuple[str, str, int]
"""What it is, its text, its line."""


def read_text(path: Path, kind: str) -> Message:
    """The message of a kind in a text file. Raises DataError, with the line, for what is none."""
    content = read_whole(path, MOST_BYTES)
    if b"\0" in content:
        raise DataError(f"{path} is no text of Caffe: it holds bytes as no text has them")
    return Reader(path, content.decode("utf-8", "replace")).whole(kind)


class Reader:
    """Reads one message from a text."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._tokens = self._all(text)
        self._next: Token = next(self._tokens)

    def whole(self, kind: str) -> Message:
        """The message that the whole text is."""
        return self._message(kind, "")

    def _all(self, text: str) -> Iterator[Token]:
        at, line = 0, 1
        while at < len(text):
            found = TOKEN.match(text, at)
            if found is None:
                self._fail(line, f"{clean_name(text[at : at + 20])!r} is no part of a text of Caffe")
            at, what = found.end(), found.lastgroup or ""
            if what == "newline":
                line += 1
            elif what != "space":
                yield what, found[0], line
        yield "end", "the end", line

    def _take(self) -> Token:
        token = self._next
        if token[0] != "end":
            self._next = next(self._tokens)
        return token

    def _fail(self, line: int, what: str) -> NoReturn:
        raise DataError(f"{self._path}, line {line}: {what}")

    def _message(self, kind: str, closing: str, deep: int = 0) -> Message:
        """The fields up to what closes the message, which is taken, too."""
        made = Message(kind, self._next[2])
        known = fields(kind) if kind else {}
        while self._next[1] != closing or self._next[0] != "sign":
            what, name, line = self._take()
            if what == "end" and not closing:
                return made
            if what != "word":
                self._fail(line, f"here a field should begin, like name: ..., and {clean_name(name)} stands there")
            field = known.get(name)
            if field is None:
                self._skip(deep)
                if kind not in ("", "Other"):
                    made.strange.append((clean_name(name), line))
            else:
                made.values.setdefault(name, []).extend(self._values(field, deep))
            if self._next[1] in (",", ";"):
                self._take()
        self._take()
        return made

    def _values(self, field: Field, deep: int) -> list[Any]:
        """What a field is given: one value, or several in brackets."""
        colon = self._next[1] == ":"
        if colon:
            self._take()
        if colon and self._next[1] == "[":
            return self._listed(field, deep)
        return [self._value(field, deep, colon)]

    def _listed(self, field: Field, deep: int) -> list[Any]:
        self._take()
        values = []
        while self._next[1] != "]":
            values.append(self._value(field, deep, True))
            if self._next[1] == ",":
                self._take()
            elif self._next[1] != "]":
                self._fail(self._next[2], f"between the values of {field.name} a comma is missing")
        self._take()
        return values

    def _value(self, field: Field, deep: int, colon: bool) -> Any:
        what, text, line = self._take()
        if is_message(field.kind):
            if text not in CLOSING or what != "sign":
                self._fail(line, f"{field.name} is {{ ... }}, and {clean_name(text)} stands there")
            if deep >= MOST_DEEP:
                self._fail(line, "nested too deeply")
            return self._message(field.kind, CLOSING[text], deep + 1)
        if not colon or what not in ("string", "word", "number"):
            self._fail(line, f"{field.name} is missing its value: {clean_name(text)} stands there")
        try:
            return self._plain(field.kind, what, text)
        except (ValueError, KeyError, OverflowError):
            self._fail(line, f"{field.name} {_expected(field.kind)}, and {clean_name(text)} stands there")

    def _plain(self, kind: str, what: str, text: str) -> Any:
        """A value of a kind. Raises ValueError or KeyError for another."""
        if kind == "string":
            return self._joined(what, text)
        if what == "string":
            raise ValueError
        if kind == "bool":
            return {"true": True, "True": True, "t": True, "1": True}.get(text) or not {
                "false": True, "False": True, "f": True, "0": True,
            }[text]  # fmt: skip
        if kind in ENUMERATIONS:
            words = ENUMERATIONS[kind]
            return words[int(text)] if what == "number" else {word: word for word in words.values()}[text]
        if kind == "int":
            number = int(text, 0 if "x" in text.lower() else 10)
            if abs(number) >= 2**63:
                raise ValueError
            return number
        return FLOATS[text.lower()] if what == "word" else float(text.rstrip("fF"))

    def _joined(self, what: str, text: str) -> str:
        """A string, and those that stand next to it."""
        if what != "string":
            raise ValueError
        parts = [text[1:-1]]
        while self._next[0] == "string":
            parts.append(self._take()[1][1:-1])
        return ESCAPE.sub(_unescaped, "".join(parts))

    def _skip(self, deep: int) -> None:
        """Leave out what a field that is not known is given."""
        if self._next[1] == ":":
            self._take()
        what, text, line = self._take()
        if what == "sign" and text in CLOSING:
            if deep >= MOST_DEEP:
                self._fail(line, "nested too deeply")
            self._message("", CLOSING[text], deep + 1)
        elif what == "sign" and text == "[":
            while self._take()[1] != "]":
                if self._next[0] == "end":
                    self._fail(line, "a list does not end")
        elif what not in ("string", "word", "number"):
            self._fail(line, f"a value is missing: {clean_name(text)} stands there")
        while what == "string" and self._next[0] == "string":
            self._take()


def _expected(kind: str) -> str:
    if kind in ENUMERATIONS:
        return f"is one of {listed(ENUMERATIONS[kind].values())}"
    return {"int": "is an integer", "bool": "is true or false", "string": 'is a text in quotes, "..."'}.get(
        kind, "is a number"
    )


def _unescaped(found: re.Match[str]) -> str:
    octal, hexadecimal, letter = found.groups()
    if octal or hexadecimal:
        return chr(int(octal, 8) if octal else int(hexadecimal, 16))
    return ESCAPED.get(letter, letter)
