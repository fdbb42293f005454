"""The net that grows while nodes are gone through: layers that may be needed, and what could not be said, by number.

Nodes may be said in more than one way, and parts of them turn out not to be layers of their own: what the scores do not
need in the end is left out, and what could not be said is told only where they need it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from gpunet.data.raw import clean_name
from gpunet.formats.graph import Names
from gpunet.formats.layout import Layout
from gpunet.layers.layer import Layer
from gpunet.net.graph import INPUT
from gpunet.net.net import Node

MOST_NAME = 80
"""Letters of a name: there is room for a number behind it."""


Only = Literal["", "softmax", "gate", "cut"]


@dataclass(frozen=True)
class Array:
    """The array of a parameter: its name in the file, its values, and how they lie where that matters."""

    name: str
    values: np.ndarray
    layout: Layout | None = None


@dataclass(frozen=True)
class Entry:
    """One layer that may be needed, with the numbers of those it takes; or what could not be said, and why.

    `why`   "" where it only takes what could not be said itself
    `only`  where it can be said all the same: a "softmax" at the end, a "gate" that is repeated for a product, a "cut"
            of the middle of images
    """

    inputs: tuple[int, ...]
    layer: Layer | None = None
    name: str = ""
    arrays: Mapping[str, Array] = field(default_factory=dict)
    why: str = ""
    only: Only = ""


class Growing:
    """Entries by number; 0 is the input."""

    def __init__(self) -> None:
        self.entries: list[Entry] = [Entry(())]

    def add(self, entry: Entry) -> int:
        self.entries.append(entry)
        return len(self.entries) - 1

    def needed(self, end: int) -> list[int]:
        """The numbers of what the output of one needs, in order; itself is the last."""
        needed, left = {end}, [end]
        while left:
            for number in self.entries[left.pop()].inputs:
                if number not in needed:
                    needed.add(number)
                    left.append(number)
        return sorted(needed)

    def nodes(self, numbers: Sequence[int], start: int = 0) -> tuple[list[Node], dict[str, Array]]:
        """The layers of these numbers as nodes, named as in the file as far as can be, and their arrays by parameter.

        `start`  the entry whose output is the net's input
        """
        names, nodes, arrays = {start: INPUT}, [], dict[str, Array]()
        free = Names(INPUT).free
        counts: dict[str, int] = {}
        for number in numbers:
            entry = self.entries[number]
            if number <= start or entry.layer is None:
                continue
            kind = entry.layer.type
            counts[kind] = counts.get(kind, 0) + 1
            names[number] = free(sound(entry.name) or f"{kind}{counts[kind]}")
            nodes.append(Node(names[number], entry.layer, tuple(names[one] for one in entry.inputs)))
            arrays |= {f"{names[number]}.{parameter}": array for parameter, array in entry.arrays.items()}
        return nodes, arrays


def sound(name: str) -> str:
    """A name of the file as one that layers may have: letters, digits and _; "" where nothing is left of it."""
    name = clean_name(name)
    if re.fullmatch(r"[A-Za-z_]\w*", name, flags=re.ASCII):
        return name[:MOST_NAME]
    plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
    return (f"n{plain}" if plain[:1].isdigit() else plain)[:MOST_NAME]
