"""The pieces of a pattern's text, and what a mistake in it is: a reason, and the place under a caret."""

import re
from typing import NamedTuple, NoReturn

from gpunet.errors import ConfigError
from gpunet.net.fields import MOST_DIGITS
from gpunet.net.words import line_of, quoted, shown

START = "INPUT"
IDENTITY = "ID"
HEAD = "AUX"
RESERVED = (START, IDENTITY, HEAD, "as", "max")
"""Words of the notation that are no layers."""

_BLANK = re.compile(r"(?:\s|#[^\n]*)*")
_TOKEN = re.compile(
    r"(?P<arrow>->)"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<sizes>[0-9]+(?:x[0-9]+)+)"
    r"|(?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<string>'[^'\n]*'|\"[^\"\n]*\")"
    r"|(?P<sign>[-\[\](){}*=,|+?])"
)
_MEANT = {">": "->", "→": "->", "⟶": "->", "⇒": "->"} | dict.fromkeys("\u2013\u2014\u2212", "-") | {"\u00d7": "*"}
"""What people, and programs that make text pretty, write instead of arrows, dashes and the times sign."""


class PatternError(ConfigError):
    """A mistake in a pattern: `reason`, and the place in `text`, which the message quotes."""

    def __init__(self, reason: str, text: str, at: int) -> None:
        self.text = text
        self.reason, self.line, self.quote = reason, line_of(text, at), quoted(text, at)
        where = f"line {self.line}: " if "\n" in text.strip() else ""
        super().__init__(f"{where}{reason}\n{self.quote}")


class Token(NamedTuple):
    """A piece of the text, where it begins, and its kind: arrow, word, sizes (1x7), number, string, sign or end."""

    kind: str
    text: str
    at: int

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else shown(self.text)


class Tokens:
    """A text read token by token: `token` is the next one. Raises PatternError for a character that begins none."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.token = self._scan(0)

    def advance(self) -> None:
        """Make the token after this one the next."""
        self.token = self.following()

    def following(self) -> Token:
        """The token after the next one, which stays the next."""
        return self._scan(self.token.at + len(self.token.text))

    def _scan(self, at: int) -> Token:
        """The first token at or after a position."""
        blank = _BLANK.match(self.text, at)
        assert blank  # it may be empty, but it always matches
        start = blank.end()
        if start == len(self.text):
            return Token("end", "", at)
        found = _TOKEN.match(self.text, start)
        if not found or not found.lastgroup:
            character = self.text[start]
            hint = f"; write {_MEANT[character]}" if character in _MEANT else ""
            self.fail(f"{character!r} means nothing here{hint}", start)
        return Token(found.lastgroup, found[0], start)

    def fail(self, reason: str, at: int | None = None) -> NoReturn:
        """Raise PatternError for a place in the text, the next token's if none is given."""
        raise PatternError(reason, self.text, self.token.at if at is None else at)

    def integer(self, what: str, example: str) -> int:
        """Take an integer of at least 0; `what` it is and an `example` are for the message where it is not."""
        if self.token.kind != "number":
            self.fail(f"expected a number, {what}, found {self.token}; write {example}")
        value = self.value_of(self.token)
        if not isinstance(value, int):
            self.fail(f"{what} must be an integer; got {value}")
        self.advance()
        return value

    def value_of(self, token: Token) -> int | float | tuple[int | float, ...]:
        """The value of a token of a number or of sizes. Raises when one is longer than any size can be."""
        if token.kind == "sizes":
            return tuple(self._number_of(Token("number", size, token.at)) for size in token.text.split("x"))
        return self._number_of(token)

    def _number_of(self, token: Token) -> int | float:
        if token.text.isdigit():
            if len(token.text.lstrip("0")) > MOST_DIGITS:
                self.fail(f"this number is too long; numbers have at most {MOST_DIGITS} digits", token.at)
            return int(token.text.lstrip("0") or "0")
        if len(token.text) > 40:
            self.fail("this number is too long; write fewer digits", token.at)
        return float(token.text)
