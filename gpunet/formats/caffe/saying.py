"""What is at hand while the layers of a net of Caffe are said: their fields, read with suspicion, and their arrays."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gpunet.errors import GpunetError
from gpunet.formats.caffe.message import Message, T
from gpunet.formats.caffe.wiring import CaffeLayer, Parameter, Wired
from gpunet.formats.graph import Graph
from gpunet.layers.layer import Layer
from gpunet.program.volume import Volume

Blobs = Mapping[str, Sequence[np.ndarray]]
"""The arrays of each layer, by its name."""


class Fields:
    """What a layer says in one of its messages, and what of that cannot be said here, a line each in `wrong`."""

    def __init__(self, message: Message, name: str, wrong: list[str]) -> None:
        self._message, self._name, self.wrong = message, name, wrong

    def one(self, field: str, default: T) -> T:
        return self._message.one(field, default)

    def many(self, field: str) -> list[Any]:
        return self._message.many(field)

    def only(self, field: str, default: T, allowed: Iterable[T] | None = None, why: str = "") -> T:
        """A field's value, which may be its default or one of those `allowed`; another is noted."""
        found = self.one(field, default)
        if found not in (default, *(allowed or ())):
            self.refuse(field, f"{found}{f': {why}' if why else ''}")
        return found

    def refuse(self, field: str, what: str) -> None:
        """Note what a field says and cannot be said here."""
        self.wrong.append(f"{self._name}.{field} = {what}")

    def sizes(self, field: str, short: str, default: int | None) -> tuple[int, int]:
        """Rows and columns of a size that is said for both axes, or as short_h and short_w."""
        both = self.many(field)
        rows, columns = self.many(f"{short}_h"), self.many(f"{short}_w")
        if rows or columns:
            fallback = both[0] if both else default or 0
            return (rows or [fallback])[-1], (columns or [fallback])[-1]
        if len(both) > 2:
            self.refuse(field, f"{both}: sizes of {len(both)} axes, and images have two")
        if not both and default is None:
            self.wrong.append(f"{self._name}.{field} is not said")
        return (both[0], both[-1]) if both else (default or 0, default or 0)


class Saying:
    """A net of Caffe on its way into a graph.

    `scales`    the Scale that is said with a norm, by what the norm gives; `joined` are all of these
    `flat`      values that are flattened there, though they have rows and columns here
    `learning`  how parameters learn, by their names here
    `wrong`     what of the layer that is being said cannot be
    """

    def __init__(self, graph: Graph, wired: Wired, blobs: Blobs, learning: dict[str, Parameter]) -> None:
        self.graph, self.wired, self.blobs, self.learning = graph, wired, blobs, learning
        self.counts = wired.counts()
        self.scales = _scales(wired)
        self.joined = frozenset(self.scales.values())
        self.flat: set[str] = set()
        self.wrong: list[str] = []

    def fields(self, layer: CaffeLayer, parameter: str) -> Fields:
        return Fields(layer.of(parameter), f"{parameter}_param", self.wrong)

    def arrays(self, layer: CaffeLayer, *names: str) -> dict[str, np.ndarray]:
        """The arrays of a layer by these names, as many as there are; more than that are noted."""
        found = self.blobs.get(layer.name, ())
        if len(found) > len(names):
            self.wrong.append(f"type {layer.type}: it has {len(found)} arrays, and {len(names)} are known")
        return dict(zip(names, found, strict=False))

    def volume(self, value: str) -> Volume | None:
        return self.graph.volume(value)

    def add(
        self,
        layer: CaffeLayer,
        made: Layer,
        arrays: Mapping[str, np.ndarray] | None = None,
        *,
        name: str = "",
        gives: str = "",
        learns: tuple[CaffeLayer | None, Sequence[str]] = (None, ()),
    ) -> None:
        """A layer here for one there, by its name; what it gives is that of the layer there unless it is said.

        `learns`  the layer that says how these parameters learn, in this order
        """
        gives = gives or layer.gives[0]
        ours = self.graph.add(name or layer.name, made, layer.takes, gives, arrays)
        owner, parameters = learns
        self.learning |= {f"{ours}.{of}": owner.parameter(at) for at, of in enumerate(parameters)} if owner else {}
        if any(value in self.flat for value in layer.takes) and not made.count:
            self.flat.add(gives)

    def same(self, layer: CaffeLayer) -> None:
        """A layer that changes nothing."""
        for value in layer.gives:
            self.graph.same(layer.takes[0], value)
            if layer.takes[0] in self.flat:
                self.flat.add(value)

    def made(self, kind: type[Layer], **fields: Any) -> Layer | None:
        """A layer of a kind; None, and noted, where its fields are out of range."""
        try:
            return kind(**fields)
        except GpunetError as error:
            self.wrong.append(str(error))
            return None


def _scales(wired: Wired) -> dict[str, CaffeLayer]:
    """The Scale that belongs to a BatchNorm, by what that gives and it alone takes."""
    givers = {value: layer for layer in wired.layers for value in layer.gives}
    counts = wired.counts()
    return {
        value: layer
        for layer in wired.layers
        if layer.type == "Scale" and len(layer.takes) == 1
        for value in layer.takes
        if value in givers and givers[value].type == "BatchNorm" and counts[value] == 1 and plain_scale(layer)
    }


def plain_scale(layer: CaffeLayer) -> bool:
    """Whether a Scale has a number for each map."""
    said = layer.of("scale")
    return said.one("axis", 1) == 1 and said.one("num_axes", 1) == 1
