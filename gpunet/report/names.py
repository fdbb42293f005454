"""Names of classes, runs and layers where there is little room."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import takewhile

from gpunet.values.visible import visible

DOTS = "\N{HORIZONTAL ELLIPSIS}"
"""For what is left out."""


def shortened(text: str, most: int) -> str:
    """At most so many characters, with dots in the middle for what is left out: names often differ at their ends."""
    head, tail = most // 2, most - most // 2 - 1
    text = visible(text)
    return text if len(text) <= most else f"{text[:head]}{DOTS}{text[len(text) - tail :]}"


def told_apart(names: Sequence[str], most: int) -> list[str]:
    """At most so many characters of each name. Names that differ differ here, too.

    Where their beginnings and ends do not, what all share is left out; where that is not enough they get their numbers.
    """
    short = [shortened(name, most) for name in names]
    if not (alike := _alike(names, short)):
        return short
    rest = [shortened(name, most) for name in _without_shared(names)]
    if not _alike(names, rest):
        return rest
    numbered = [f"{at}: {shortened(name, most - len(f'{at}: '))}" for at, name in enumerate(names)]
    return [number if stands in alike else stands for number, stands in zip(numbered, short, strict=True)]


def _alike(names: Sequence[str], short: Sequence[str]) -> set[str]:
    """What stands for names that differ."""
    found = defaultdict(set)
    for name, stands in zip(names, short, strict=True):
        found[stands].add(name)
    return {stands for stands, whose in found.items() if len(whose) > 1}


def _without_shared(names: Sequence[str]) -> list[str]:
    """Dots for how all names begin, and for how all end."""
    begin = _shared(names)
    rest = [name[begin:] for name in names]
    end = _shared([name[::-1] for name in rest])
    return [f"{DOTS * (begin > 0)}{name[: len(name) - end]}{DOTS * (end > 0)}" for name in rest]


def _shared(names: Sequence[str]) -> int:
    """With how many characters alike all begin."""
    pairs = zip(min(names), max(names), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
