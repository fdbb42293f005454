"""What may stand in a field of a layer or in a setting of a run, read from the types of its dataclass.

The notation and the config both check values here: a new layer or a new setting is a dataclass and nothing else. A type
is int, float, bool, str, a Literal of words, a tuple of sizes, one of these with a rule, like
`Annotated[int, Range(1, 100)]`, alternatives of them, a list of them, `tuple[int, ...]`, or a table of them,
`dict[str, float]`; `None` among alternatives means that the field may be left out, since no text can say it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from gpunet.errors import ConfigError, DataError
from gpunet.memory.size import forgotten_unit, parse_bytes
from gpunet.net.words import nearest, shown
from gpunet.optimize.span import parse_span, wording
from gpunet.values.given import meant

MOST_DIGITS = 9
"""Digits of a number where its type gives no range."""

_WORDS = {
    tuple: "a list",
    dict: "a table",
    int: "an integer",
    float: "a number",
    str: "a string",
    bool: "true or false",
}


@dataclass(frozen=True, slots=True)
class Range:
    """Which numbers are allowed: both ends included, but for those named in `open`."""

    least: float
    most: float
    open: tuple[Literal["least", "most"], ...] = ()

    def holds(self, number: Any) -> bool:
        """Whether `number` lies inside; NaN does not."""
        above = number > self.least if "least" in self.open else number >= self.least
        return bool(above and (number < self.most if "most" in self.open else number <= self.most))

    def described(self, base: type) -> str:
        if "least" in self.open:
            return f"{_WORDS[base]} above {self.least:,}, at most {self.most:,}"
        return f"{_WORDS[base]} from {self.least:,} to {'below ' * ('most' in self.open)}{self.most:,}"


@dataclass(frozen=True, slots=True)
class OneOf:
    """Which words are allowed, in whatever letters: Adam is adam."""

    words: tuple[str, ...]

    def holds(self, word: Any) -> bool:
        return meant(word, self.words) is not None

    def described(self, base: type) -> str:
        return f"one of {', '.join(self.words)}"


@dataclass(frozen=True, slots=True)
class Line:
    """A text of one line, at most `most` characters of it."""

    most: int

    def holds(self, text: Any) -> bool:
        return 0 < len(text) <= self.most and text.isprintable()

    def described(self, base: type) -> str:
        return f"one line of 1 to {self.most} characters"


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount of memory: a text like 6GiB, or a number of bytes."""

    def holds(self, amount: Any) -> bool:
        try:
            parse_bytes(amount)
        except ConfigError:
            return False
        return True

    def described(self, base: type) -> str:
        return "an amount of memory like 6GiB"


@dataclass(frozen=True, slots=True)
class Sizes:
    """So many integers, each of at most nine digits: a list, or a text like 1x7."""

    count: int

    def holds(self, value: Any) -> bool:
        sizes = sizes_in(value)
        return sizes is not None and len(sizes) == self.count and all(abs(size) < 10**MOST_DIGITS for size in sizes)

    def described(self, base: type) -> str:
        return f"{self.count} of them like {'x'.join('0123'[: self.count])}"


@dataclass(frozen=True, slots=True)
class Length:
    """A length of a run in one of these units, like "2 epochs"; a number alone counts steps."""

    units: tuple[str, ...]

    def holds(self, text: Any) -> bool:
        try:
            parse_span(text, self.units)
        except ConfigError:
            return False
        return True

    def described(self, base: type) -> str:
        return f"a length like {wording(self.units)}"


@dataclass(frozen=True, slots=True)
class Portion:
    """A part of the images, like 10%; a number alone counts images."""

    def holds(self, text: Any) -> bool:
        from gpunet.data.share import parse_share  # only where it is said: NumPy comes with it

        try:
            parse_share(text)
        except DataError:
            return False
        return True

    def described(self, base: type) -> str:
        from gpunet.data.share import WORDING

        return f"a part of the images like {WORDING}"


@dataclass(frozen=True, slots=True)
class Several:
    """A list of values, each of which one of the alternatives allows."""

    most: ClassVar[int] = 1000
    each: "tuple[tuple[type, Rule], ...]"

    def holds(self, values: Any) -> bool:
        return (
            isinstance(values, list | tuple)
            and len(values) <= self.most
            and all(any(_is(base, value) and rule.holds(value) for base, rule in self.each) for value in values)
        )

    def described(self, base: type) -> str:
        return f"a list, each of it {' or '.join(dict.fromkeys(rule.described(kind) for kind, rule in self.each))}"


@dataclass(frozen=True, slots=True)
class Named:
    """A table of keys and values, each of which one of the alternatives allows."""

    most: ClassVar[int] = 1000
    key: "tuple[tuple[type, Rule], ...]"
    each: "tuple[tuple[type, Rule], ...]"

    def holds(self, table: Any) -> bool:
        return len(table) <= self.most and self.wrong(table) is None

    def wrong(self, table: dict[Any, Any]) -> tuple[object, object] | None:
        """The first key that is not allowed, or has a value that is not, and its value."""
        for pair in table.items():
            for rules, one in zip((self.key, self.each), pair, strict=True):
                if not any(_is(base, one) and rule.holds(one) for base, rule in rules):
                    return pair
        return None

    def described(self, base: type) -> str:
        return f"a table, each value {' or '.join(dict.fromkeys(rule.described(kind) for kind, rule in self.each))}"


@dataclass(frozen=True, slots=True)
class Anything:
    """Any value of the type, numbers of at most nine digits: what a size can be, and nothing that explodes."""

    def holds(self, value: Any) -> bool:
        return isinstance(value, str | bool) or abs(value) < 10**MOST_DIGITS

    def described(self, base: type) -> str:
        return f"{_WORDS[base]} of at most {MOST_DIGITS} digits" if base is int else _WORDS[base]


Rule = Range | OneOf | Line | Amount | Sizes | Length | Portion | Several | Named | Anything


def sizes_in(value: object) -> tuple[int, ...] | None:
    """The integers that a list, a tuple or a text like 0x1 holds; None where it holds anything else."""
    if isinstance(value, str):
        short = len(value) < 4 * (MOST_DIGITS + 1) and re.fullmatch(r"[0-9]+(x[0-9]+)+", value)
        return tuple(int(size) for size in value.split("x")) if short else None
    if not isinstance(value, list | tuple) or any(type(size) is not int for size in value):
        return None
    return tuple(value)


@cache
def types_of(owner: type) -> dict[str, Any]:
    """The type of each field of a dataclass, in the order of its fields."""
    hints = get_type_hints(owner, include_extras=True)
    return {field.name: hints[field.name] for field in fields(owner)}


def missing(owner: type, given: Iterable[str]) -> list[str]:
    """The fields of a dataclass that have no default and are not given."""
    return [
        field.name
        for field in fields(owner)
        if field.default is MISSING and field.default_factory is MISSING and field.name not in given
    ]


def problem(owner: type, name: str, value: object) -> str | None:
    """Why `value` cannot stand in the field `name` of a dataclass, or None if it can."""
    rules = _rules(types_of(owner)[name])
    if any(_is(base, value) and rule.holds(value) for base, rule in rules):
        return None
    words = [word for _, rule in rules if isinstance(rule, OneOf) for word in rule.words]
    wanted = " or ".join(dict.fromkeys(rule.described(base) for base, rule in rules))
    if isinstance(value, list) and len(value) < 10 and any(isinstance(rule, Sizes) for _, rule in rules):
        value = sizes_in(value) or value
    tables = [rule for _, rule in rules if isinstance(rule, Named)]
    if tables and isinstance(value, dict) and (pair := tables[0].wrong(value)):
        return f"{name} must be {wanted}; got {' = '.join(shown(one) for one in pair)}"
    hint = nearest(value, words) if isinstance(value, str) else ""
    if any(isinstance(rule, Amount) for _, rule in rules):
        hint = forgotten_unit(value)
    return f"{name} must be {wanted}; got {shown(value)}{hint}"


def unsayable(owner: type) -> str | None:
    """The first field of a dataclass whose type is none that a text could say, or None. See the head of this file."""
    try:
        kinds = types_of(owner)
    except NameError as error:  # a type that is known to type checkers alone
        return f"{error.name}, whose type is not known here"
    return next((name for name, kind in kinds.items() if any(base not in _WORDS for base, _ in _rules(kind))), None)


def converted(owner: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values`, which have passed `problem`, with integers made floats where the field holds floats alone, lists and
    texts of sizes made tuples, and words as this package writes them."""
    bases = {name: {base for base, _ in _rules(kind)} for name, kind in types_of(owner).items()}
    floats = {name: float(value) for name, value in values.items() if bases[name] == {float}}
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    sizes = {name: sizes_in(value) for name, value in values.items() if tuple in bases[name] and sizes_in(value)}
    return {**values, **floats, **lists, **sizes, **respelt(owner, values)}


def respelt(owner: type, values: Mapping[str, Any]) -> dict[str, str]:
    """The words among `values` as this package writes them: adam for Adam. Of other values, nothing."""
    found = {
        name: meant(value, rule.words)
        for name, kind in types_of(owner).items()
        for base, rule in _rules(kind)
        if isinstance(rule, OneOf) and isinstance(value := values.get(name), base)
    }
    return {name: word for name, word in found.items() if word is not None}


@cache
def _rules(kind: Any) -> tuple[tuple[type, Rule], ...]:
    """The alternatives of a type: what the value must be, and which of those values."""
    alternatives = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return tuple(_rule(one) for one in alternatives if one is not NoneType)


def _rule(kind: Any) -> tuple[type, Rule]:
    if get_origin(kind) is Literal:
        return str, OneOf(get_args(kind))
    if get_origin(kind) is tuple and Ellipsis in get_args(kind):
        return tuple, Several(_rules(get_args(kind)[0]))
    if get_origin(kind) is dict:
        key, each = get_args(kind)
        return dict, Named(_rules(key), _rules(each))
    if get_origin(kind) is tuple:
        return tuple, Sizes(len(get_args(kind)))
    if get_origin(kind) is Annotated:
        base, rule = get_args(kind)
        return base, rule
    return kind, Anything()


def _is(base: type, value: object) -> bool:
    """Whether `value` is of type `base`; an integer is a number too, a bool is neither; lists and texts hold sizes."""
    if isinstance(value, bool):
        return base is bool
    if base is tuple:
        return isinstance(value, tuple | list | str)
    return isinstance(value, int | float if base is float else base)
