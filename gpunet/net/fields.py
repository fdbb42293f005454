"""What may stand in a field of a layer or in a setting of a run, read from the types of its dataclass.

The notation and the config both check values here, so that a new layer or a new setting is a dataclass and nothing else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from gpunet.net.words import listed, shown

MOST_DIGITS = 9
"""Digits of an integer where its type gives no range."""


@dataclass(frozen=True, slots=True)
class Range:
    """Which numbers are allowed, ends included unless `open`: `Annotated[int, Range(1, 100)]`."""

    least: float
    most: float
    open: Literal["", "least", "most"] = ""

    def holds(self, number: int | float) -> bool:
        """Whether `number` lies inside; NaN does not."""
        above = number > self.least if self.open == "least" else number >= self.least
        return above and (number < self.most if self.open == "most" else number <= self.most)

    def __str__(self) -> str:
        least = f"above {self.least:,}" if self.open == "least" else f"from {self.least:,}"
        return f"{least} {'to below' if self.open == 'most' else 'to'} {self.most:,}"


ANY = Range(-(10**MOST_DIGITS) + 1, 10**MOST_DIGITS - 1)


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
    kind = types_of(owner)[name]
    return None if _admits(kind, value) else f"{name} must be {_described(kind)}; got {shown(value)}"


def converted(owner: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with integers made floats where the field is one, lists made tuples; they have passed `problem`."""
    types = types_of(owner)

    def convert(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return tuple(value)
        whole = isinstance(value, int) and not any(isinstance(kind, type) and kind is int for kind in _plain(types[name]))
        return float(value) if whole and not isinstance(value, bool) else value

    return {name: convert(name, value) for name, value in values.items()}
