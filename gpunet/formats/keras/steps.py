"""A net as the operations of a functional Keras model, one a line, in the order in which they are written.

Which arrays of a .weights.h5 belong to which layer follows from them: Keras counts the layers of a class in an order of
its own, `counted`.
"""

from dataclasses import dataclass
from functools import cached_property

from gpunet.errors import ConfigError
from gpunet.formats.keras.said import SAYINGS
from gpunet.layers.dropout import Dropout
from gpunet.layers.elementwise import Elementwise
from gpunet.layers.fc import FC
from gpunet.net.graph import INPUT
from gpunet.net.net import Net, Node
from gpunet.program.volume import Volume


@dataclass(frozen=True)
class Step:
    """An operation: `text` of what makes it, {0} and so on what it takes, the numbers of earlier steps `takes`.

    `layer`  the layer of gpunet whose arrays it has, "" for none
    `kind`   the class that Keras counts it by, where it has arrays
    """

    text: str
    takes: tuple[int, ...] = ()
    layer: str = ""
    kind: str = ""


class Steps:
    """The steps of a net; step 0 is the input, the last one makes scores, a vector of an image."""

    def __init__(self, net: Net) -> None:
        """Raises ConfigError, naming all layers that cannot be said in Keras."""
        self.net = net
        self.steps = [Step(f"keras.Input({net.input.shape})")]
        self._made: dict[str, int] = {INPUT: 0}
        self._flat: set[int] = set()
        missing = [f"{node.name} ({node.layer.word})" for node in net.trunk if type(node.layer) not in SAYINGS]
        if missing:
            raise ConfigError(f"{net.name} has layers that are not said in Keras here: {', '.join(missing)}")
        for node in net.trunk:
            self._node(node)
        last = self._made[net.trunk[-1].name]
        if last not in self._flat:
            self.add("layers.Flatten()({0})", last)

    def add(self, text: str, *takes: int, layer: str = "", kind: str = "") -> int:
        """One more step."""
        self.steps.append(Step(text, takes, layer, kind))
        return len(self.steps) - 1

    def _node(self, node: Node) -> None:
        either = isinstance(node.layer, Elementwise) or (isinstance(node.layer, Dropout) and node.layer.of == "values")
        takes = [self._made[name] for name in node.inputs]
        if not either and not isinstance(node.layer, FC):
            takes = [
                self.as_maps(made, self.net.volumes.get(name)) for name, made in zip(node.inputs, takes, strict=True)
            ]
        made = SAYINGS[type(node.layer)](self, node, *takes)
        self._made[node.name] = made
        if isinstance(node.layer, FC) or (either and takes[0] in self._flat):
            self._flat.add(made)

    def as_maps(self, made: int, volume: Volume | None) -> int:
        """The same as a volume, where it is a vector."""
        return self.add(f"layers.Reshape({volume.shape})({{0}})", made) if made in self._flat and volume else made

    def as_vector(self, made: int) -> int:
        """The same as a vector, where it is a volume."""
        return made if made in self._flat else self.add("layers.Flatten()({0})", made)

    @cached_property
    def counted(self) -> list[Step]:
        """The steps that have arrays, in the order in which Keras counts them: those farthest from the output first,
        and of equals the one that is met first on the way back from there."""
        met: dict[int, int] = {}
        left = [len(self.steps) - 1]
        while left:
            made = left.pop()
            if made not in met:
                met[made] = len(met)
                left += reversed(self.steps[made].takes)
        depth = dict.fromkeys(met, 0)
        for made in range(len(self.steps) - 1, -1, -1):
            for taken in self.steps[made].takes if made in met else ():
                depth[taken] = max(depth[taken], depth[made] + 1)
        ordered = sorted(met, key=lambda made: (-depth[made], met[made]))
        return [self.steps[made] for made in ordered if self.steps[made].kind]
