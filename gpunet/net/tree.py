"""What a pattern says, as it was written (a tree of items) and as the nodes of a net that it stands for."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from gpunet.errors import GpunetError
from gpunet.layers.layer import Layer
from gpunet.net.graph import INPUT
from gpunet.net.net import Node
from gpunet.net.tokens import PatternError
from gpunet.program.volume import Volume


@dataclass(frozen=True, slots=True)
class One:
    """A layer, its name where it has one, where in the text it stands, and whether it is `optional` as in a Node."""

    layer: Layer
    name: str | None = None
    at: int = field(default=0, compare=False)
    optional: bool = False

    @property
    def size(self) -> int:
        return 1


@dataclass(frozen=True, slots=True)
class Repeat:
    """A sequence, so many times; `size` layers in all."""

    body: "tuple[Item, ...]"
    times: int
    size: int
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Branches:
    """Sequences side by side, and the layer that merges their outputs; an empty branch is the identity."""

    branches: tuple[Repeat, ...]
    merge: Layer
    name: str | None
    size: int
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Head:
    """An auxiliary head: a sequence at whose end there is a loss of this weight."""

    body: "tuple[Item, ...]"
    weight: float
    size: int


Item = One | Repeat | Branches | Head


@dataclass(frozen=True)
class Pattern:
    """What a text says: the input volume, if it does, and the layers: as written (`tree`), one by one (`items`, with
    the name of each that has one), and as a Net takes them (`layers`)."""

    text: str
    input: Volume | None
    tree: tuple[Item, ...]

    @cached_property
    def items(self) -> tuple[tuple[str | None, Layer], ...]:
        return tuple(_unrolled(self.tree))

    @property
    def layers(self) -> list[Layer | tuple[str, Layer] | Node]:
        return list(self._wired.nodes)

    @cached_property
    def _wired(self) -> "_Wiring":
        wiring = _Wiring()
        wiring.chain(self.tree, INPUT)
        return wiring

    def pointed(self, error: GpunetError) -> PatternError | None:
        """What a net made of this pattern raised, with the place in the text; None where that is not known."""
        places = self._wired.places.get(error.layer)
        if places is None:
            return None
        return PatternError(str(error), self.text, places[0 if error.input is None else 1 + error.input])


def _unrolled(tree: tuple[Item, ...]) -> Iterator[tuple[str | None, Layer]]:
    """The layers of a tree in order, repeats written out."""
    for item in tree:
        match item:
            case One(layer, name):
                yield name, layer
            case Repeat(body, times):
                for _ in range(times):
                    yield from _unrolled(body)
            case Branches(branches, merge, name):
                yield from _unrolled(branches)
                yield name, merge
            case Head(body):
                yield from _unrolled(body)


class _Wiring:
    """Nodes as they come: numbered by type as a Net numbers them, each with what it takes, and its places in the text:
    its own, then those of the branches that it merges."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.places: dict[str, tuple[int, ...]] = {}
        self._counts: dict[str, int] = {}

    def chain(self, tree: tuple[Item, ...], source: str) -> str:
        """Add the nodes of a sequence that takes the output of `source`; the name of its last one."""
        for item in tree:
            match item:
                case One(layer, name, at, optional):
                    source = self._node(layer, name, (source,), (at,))
                    self.nodes[-1] = replace(self.nodes[-1], optional=optional)
                case Repeat(body, times):
                    for _ in range(times):
                        source = self.chain(body, source)
                case Branches(branches, merge, name, _, at):
                    ends = tuple(self.chain(branch.body, source) for branch in branches)
                    source = self._node(merge, name, ends, (at, *(branch.at for branch in branches)))
                case Head(body, weight):
                    self.chain(body, source)
                    self.nodes[-1] = replace(self.nodes[-1], head=weight)
        return source

    def _node(self, layer: Layer, name: str | None, inputs: tuple[str, ...], places: tuple[int, ...]) -> str:
        self._counts[layer.type] = self._counts.get(layer.type, 0) + 1
        name = name or f"{layer.type}{self._counts[layer.type]}"
        self.nodes.append(Node(name, layer, inputs))
        self.places[name] = places
        return name
