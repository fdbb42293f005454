"""A net put together from the layers of another framework, whose values go by names of their own.

A reader goes through their layers in order and says each with `add`; what cannot be said here it notes with `cannot`,
and goes on, so that all of it is told at once. Volumes are known along the way.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from gpunet.data.raw import clean_name
from gpunet.errors import DataError, GpunetError
from gpunet.layers.layer import Layer
from gpunet.layers.merge import Concat
from gpunet.net.graph import INPUT
from gpunet.net.net import Net, Node
from gpunet.program.volume import Volume

MOST_LAYERS = 10_000
MOST_TOLD = 50
"""Things that cannot be said, and are told."""

OUTPUTS = "outputs"
"""The layer that puts several outputs side by side."""


class Names:
    """Names that are each given once: a number comes behind one that is another's. Those `taken` are given already."""

    def __init__(self, *taken: str) -> None:
        self._given = dict.fromkeys(taken, 1)

    def free(self, name: str) -> str:
        """The name, or one near to it that nobody has yet."""
        found = name
        while found in self._given:
            self._given[name] += 1
            found = f"{name}_{self._given[name]}"
        self._given[found] = 1
        return found


class Graph:
    """The layers of a net as they are added, and what of the file cannot be said.

    `path, name`  of the file, and of the net
    `arrays`      by parameter, like "conv1.w"
    `renamed`     what layers are called there, by the name that they have here, where that is another
    `notes`       what was done, a line each
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = clean_name(name) or "net"
        self.nodes: list[Node] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.renamed: dict[str, str] = {}
        self.notes: list[str] = []
        self._made: dict[str, str] = {}
        self._volumes: dict[str, Volume] = {}
        self._input: Volume | None = None
        self._names = Names(INPUT, OUTPUTS)
        self._wrong: list[str] = []

    def enter(self, value: str, volume: Volume | None) -> None:
        """The input, as layers there call it; None: its size is not known, and so are no volumes."""
        self._made[value] = INPUT
        self._input = volume
        if volume is not None:
            self._volumes[value] = volume

    def add(
        self,
        name: str,
        layer: Layer,
        takes: Sequence[str],
        gives: str,
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> str:
        """A layer over some values, which gives one; its arrays by parameter, "w". Its name here.

        Where a value is not known, as what gives it could not be said, the arrays are kept all the same.
        """
        if len(self.nodes) >= MOST_LAYERS:
            raise DataError(f"{self.path} has more than {MOST_LAYERS:,} layers")
        ours = self._name(name)
        self.arrays |= {f"{ours}.{parameter}": values for parameter, values in (arrays or {}).items()}
        if any(value not in self._made for value in takes):
            return ours
        self.nodes.append(Node(ours, layer, tuple(self._made[value] for value in takes)))
        self._made[gives] = ours
        if all(value in self._volumes for value in takes):
            try:
                self._volumes[gives] = layer.output(*(self._volumes[value] for value in takes))
            except GpunetError as error:
                self.cannot(name, str(error))
        return ours

    def same(self, value: str, gives: str) -> None:
        """A layer that changes nothing: it gives what it takes."""
        if value in self._made:
            self._made[gives] = self._made[value]
        if value in self._volumes:
            self._volumes[gives] = self._volumes[value]

    def volume(self, value: str) -> Volume | None:
        """Of a value; None where that is not known."""
        return self._volumes.get(value)

    def knows(self, value: str) -> bool:
        """Whether a value is the input's, or that of a layer that could be said."""
        return value in self._made

    def cannot(self, where: str, what: str) -> None:
        """Note what cannot be said: of which layer, which field or operation of it, and why."""
        self._wrong.append(f"{clean_name(where)}: {what}" if where else what)

    @property
    def wrong(self) -> str:
        """All that cannot be said, a line each; "" where all can."""
        if not self._wrong:
            return ""
        told = [f"  {line}" for line in self._wrong[:MOST_TOLD]]
        told += [f"  ... and {len(self._wrong) - MOST_TOLD} more"] * (len(self._wrong) > MOST_TOLD)
        return "\n".join([f"{self.path} has what cannot be said here:", *told])

    def net(self, outputs: Collection[str], heads: Mapping[str, float] | None = None) -> Net:
        """The net whose scores are these values, those of several side by side.

        `heads`  values that end auxiliary heads, and what their losses weigh

        Layers that none of them needs are left out, and said. Raises DataError with all that cannot be said.
        """
        scores = self._scores([value for value in outputs if value in self._made])
        weights = {self._made[value]: weight for value, weight in (heads or {}).items() if value in self._made}
        if not self._wrong and scores == INPUT:
            self.cannot("", "it has no layer that makes scores")
        if self._input is None:
            self.cannot("", "the size of the input is not said; give it, like --input 224x224x3")
        nodes = self._needed({scores, *weights})
        if any(scores in node.inputs for node in nodes):
            self.cannot(scores, "it makes the scores, and other layers take them, too")
        if self._input is None or self.wrong:
            raise DataError(self.wrong)
        nodes = [Node(node.name, node.layer, node.inputs, weights.get(node.name)) for node in nodes]
        nodes.sort(key=lambda node: node.name == scores)  # who makes the scores comes last
        try:
            return Net(self._input, nodes, name=self.name)
        except GpunetError as error:
            raise DataError(f"{self.path}: {error}") from None

    def _scores(self, outputs: Sequence[str]) -> str:
        """The node of the scores: that of the output, or one that puts several side by side."""
        by_name = {self._made[value]: self._volumes.get(value) for value in outputs if self._made[value] != INPUT}
        if len(by_name) < 2:
            return next(iter(by_name), INPUT)
        told = ", ".join(f"{name} {volume or ''}".strip() for name, volume in by_name.items())
        if len({volume.shape[:2] for volume in by_name.values() if volume}) > 1:
            self.cannot("", f"several outputs of different sizes, {told}: a net has one here")
        self.notes.append(f"{len(by_name)} outputs stand side by side in the scores: {told}")
        self.nodes.append(Node(OUTPUTS, Concat(), tuple(by_name)))
        return OUTPUTS

    def _needed(self, ends: set[str]) -> list[Node]:
        """The nodes that these need, in order; what is left out is noted."""
        needed = set(ends)
        for node in reversed(self.nodes):
            if node.name in needed:
                needed.update(node.inputs)
        if spare := [node.name for node in self.nodes if node.name not in needed]:
            told = ", ".join(spare[:5]) + f" and {len(spare) - 5} more" * (len(spare) > 5)
            self.notes.append(f"left out, as no score needs them: {told}")
        left = {*spare}
        self.arrays = {name: v for name, v in self.arrays.items() if name.rpartition(".")[0] not in left}
        return [node for node in self.nodes if node.name in needed]

    def _name(self, name: str) -> str:
        """A name that layers may have here: letters, digits and _, as it is there or near to it."""
        plain = re.sub(r"[^A-Za-z0-9_]", "_", name[:100]) or "layer"
        plain = f"_{plain}" if plain[0].isdigit() else plain
        ours = self._names.free(plain)
        if ours != name:
            self.renamed[ours] = name
        return ours
