"""One layer of the arrow notation, `CONV3-64(S=2) as stem`: its word, numbers, options and name.

A config may define words of its own: `C = "CONV(bias=false) -> BN -> RELU"` makes `C3-64(S=2)` a convolution with what
stands behind it. Numbers and options behind the word go to the first layer of its definition, before those said there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from gpunet.errors import GpunetError
from gpunet.layers.layer import Layer
from gpunet.net.fields import converted, missing, problem, types_of
from gpunet.net.foreign import instead, option_instead
from gpunet.net.graph import INPUT
from gpunet.net.outside import known_layers
from gpunet.net.tokens import IDENTITY, START, Token, Tokens
from gpunet.net.tree import Branches, Head, Item, One, Repeat
from gpunet.net.words import listed, shown

MOST_NAME = 100
_WORD = re.compile(r"(.*?)([0-9]+(?:x[0-9]+)*)?")


@dataclass(frozen=True)
class Definition:
    """A word of a config's own: the kind of its first layer, what is said of that, and the items behind it."""

    kind: type[Layer]
    values: Mapping[str, Any]
    rest: tuple[Item, ...] = ()
    size: int = 1


class LayerText(Tokens):
    """A text of layers; `words`: those that are defined beside the layers' own, by name."""

    def __init__(self, text: str, words: Mapping[str, Definition]) -> None:
        super().__init__(text)
        self.words = {layer.word: Definition(layer, {}) for layer in known_layers()} | dict(words)
        self.names: dict[str, int] = {}  # in the order of the text, with their places

    def layer(self) -> One | Repeat:
        """Take a layer, or the sequence that a defined word stands for, with its name."""
        head = self.token
        definition, values = self.said()
        layer = self._built(definition.kind, {**definition.values, **values}, head)
        one = One(layer, None, head.at, self._optional(definition))
        if not definition.rest:
            return replace(one, name=self.name()) if self.token.text == "as" else one
        *behind, last = (_placed(item, head.at) for item in definition.rest)
        if self.token.text == "as":
            if not isinstance(last, One | Branches):
                self.fail(f"{head.text} ends in a group, which has no name; leave this out")
            last = replace(last, name=self.name())
        return Repeat((one, *behind, last), 1, definition.size, head.at)

    def said(self) -> tuple[Definition, dict[str, Any]]:
        """Take a word with its numbers and options: what the word stands for, and the fields that are said."""
        head = self.token
        found = _WORD.fullmatch(head.text)
        assert found  # both of its parts may be empty
        word, sizes = (head.text, None) if head.text in self.words else found.groups()  # RELU6 is a word by itself
        if word not in self.words:
            self._unknown(head)
        definition = self.words[word]
        kind, values = definition.kind, dict[str, Any]()
        if sizes:
            self._number(kind, values, Token("sizes" if "x" in sizes else "number", sizes, head.at + len(word)))
        self.advance()
        if self.token.text == "-":
            self._count(kind, values)
        if self.token.text == "(":
            self._options(kind, values)
        return definition, values

    def _optional(self, definition: Definition) -> bool:
        """Take the ? behind a layer that may be left out, if it is there."""
        if self.token.text != "?":
            return False
        if not definition.kind.optional or definition.rest:
            self.fail(f"the ? of the notes is for pooling, like POOL2?; {definition.kind.word} is there or is not")
        self.advance()
        return True

    def _number(self, kind: type[Layer], values: dict[str, Any], token: Token) -> None:
        if kind.number is None:
            example = f"{kind.word}-{token.text}" if kind.count else _example(kind)
            self.fail(f"{kind.word} takes no number behind it; write {example}", token.at)
        values[kind.number] = self.value_of(token)
        if wrong := problem(kind, kind.number, values[kind.number]):
            self.fail(wrong, token.at)

    def _count(self, kind: type[Layer], values: dict[str, Any]) -> None:
        if kind.count is None:
            self.fail(f"{kind.word} takes no -number; write {_example(kind)}")
        self.advance()
        values[kind.count] = self.integer(f"{kind.count} of {kind.word}", _example(kind))

    def _options(self, kind: type[Layer], values: dict[str, Any]) -> None:
        known = types_of(kind)
        while self.token.text in ("(", ","):
            self.advance()
            option = self.token
            if option.text not in known:
                has = f"it has {listed(known)}" if known else "it has none"
                self.fail(f"{kind.word} has no option {option}; {has}{option_instead(option.text, known)}")
            if option.text in values:
                self.fail(f"{option.text} is said twice; it is already {shown(values[option.text])}")
            self.advance()
            if self.token.text != "=":
                self.fail(f"expected = and a value for {option.text}, found {self.token}")
            self.advance()
            at = self.token.at
            values[option.text] = self.value(option.text)
            if wrong := problem(kind, option.text, values[option.text]):
                self.fail(wrong, at)
        if self.token.text != ")":
            self.fail(f"expected a comma or the ) that ends the options, found {self.token}")
        self.advance()

    def value(self, option: str) -> Any:
        """The value of an option: a number, perhaps negative, sizes, or a word, perhaps quoted."""
        negative = self.token.text == "-"
        if negative:
            self.advance()
        token = self.token
        if token.kind == "number" or (token.kind == "sizes" and not negative):
            value = self.value_of(token)
            self.advance()
            return -value if negative and not isinstance(value, tuple) else value
        if negative or token.kind not in ("word", "string"):
            self.fail(f"expected a value for {option}, found {token}")
        self.advance()
        return {"true": True, "false": False}.get(token.text, token.text.strip("'\""))

    def _built(self, kind: type[Layer], values: dict[str, Any], head: Token) -> Layer:
        if without := missing(kind, values):
            self.fail(f"{kind.word} needs {listed(without)}; write {_example(kind)}", head.at)
        try:
            return kind(**converted(kind, values))
        except GpunetError as error:
            self.fail(f"{head.text}: {error}", head.at)

    def name(self) -> str:
        """Take `as` and the name behind it."""
        self.advance()
        token = self.token
        if token.kind != "word":
            self.fail(f"expected a name after as, found {token}; a name is letters, digits and _")
        if token.text == INPUT:
            self.fail(f"{INPUT} is the name of the net's own input; choose another")
        if len(token.text) > MOST_NAME:
            self.fail(f"this name is too long; use at most {MOST_NAME} characters")
        if token.text in self.names:
            self.fail(f"two layers are called {token.text}; give one of them another name")
        self.names[token.text] = token.at
        self.advance()
        return token.text

    def _unknown(self, head: Token) -> NoReturn:
        if head.text.upper() == START != head.text:
            self.fail(f"layers are written in capitals: {START}[32x32x3] -> ...")
        if head.text.upper().startswith(START):
            self.fail(f"{START} comes first, and once, with its volume in brackets: {START}[32x32x3] -> ...")
        if head.text == IDENTITY:
            self.fail(f"{IDENTITY} is a branch by itself, like {{ CONV3-64 + {IDENTITY} }}; leave it out here")
        self.fail(f"{shown(head.text)[1:-1]} is not a layer{instead(head.text, self.words)}")


def _placed(item: Item, at: int) -> Item:
    """An item of a definition as if it stood at this place of the text that uses it."""
    match item:
        case One():
            return replace(item, at=at)
        case Branches(branches):
            placed = tuple(replace(branch, body=_all_placed(branch.body, at), at=at) for branch in branches)
            return replace(item, branches=placed, at=at)
        case Repeat(body) | Head(body):
            return replace(item, body=_all_placed(body, at))


def _all_placed(items: tuple[Item, ...], at: int) -> tuple[Item, ...]:
    return tuple(_placed(item, at) for item in items)


def _example(kind: type[Layer]) -> str:
    """How a layer is written: CONV3-64, FC-64, POOL2, RELU."""
    return kind.word + ("3" if kind.number else "") + ("-64" if kind.count else "")
