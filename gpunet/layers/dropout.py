"""Dropout, of values, of whole maps, or of all that a branch has for an image.

Sources: CS231n "Dropout", inverted; Srivastava et al. 2014; maps: Tompson et al. 2015, "Efficient object localization
using convolutional networks"; branches: Huang et al. 2016, "Deep networks with stochastic depth".
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args
from zlib import crc32

from gpunet.errors import ConfigError
from gpunet.layers.layer import Layer, require_number
from gpunet.program.builder import Emitter
from gpunet.program.program import Attribute, RunTime, Step
from gpunet.program.tensor import Tensor
from gpunet.program.volume import Volume
from gpunet.values.given import told

Dropped = Literal["values", "maps", "images"]
"""What is dropped, or stays, as a whole."""


@dataclass(frozen=True)
class Dropout(Layer):
    """In training, each value is 0 with probability p and x / (1 - p) otherwise; elsewhere it stays as it is.

    `of`  what goes as a whole: "values" one by one, "maps" of an image, or all values of "images": at the end of a
          branch that is added to others, this is stochastic depth

    Which ones are dropped is never stored: it follows from the model's seed, the step, the layer's name and where the
    value stands in the batch, so that backward, recomputation and rounds come to the same.
    """

    p: float = 0.5
    of: Dropped = "values"

    type: ClassVar[str] = "dropout"
    word: ClassVar[str] = "DROPOUT"

    def __post_init__(self) -> None:
        require_number("p", self.p, least=0, below=1)
        if self.of not in get_args(Dropped):
            raise ConfigError(f"of must be one of {', '.join(get_args(Dropped))}; got {told(self.of)}")

    def output(self, *inputs: Volume) -> Volume:
        (volume,) = inputs
        return volume

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        if not emit.trains:
            return x
        y = emit.activation("y", x.shape[1:])
        self._emit(emit, x, y)
        return y

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        if not needs_dx:
            return ()
        dx = emit.gradient("dx", dy)
        self._emit(emit, dy, dx)
        return (dx,)

    def _emit(self, emit: Emitter, x: Tensor, y: Tensor) -> None:
        known = {name: RunTime(name) for name in ("seed", "first_image", "training")}
        layer = crc32(emit.layer.encode())
        numbers: dict[str, Attribute] = {"p": self.p, "layer": layer, "step": emit.number(Step()), **known}
        if self.of != "values":
            numbers["maps"] = x.shape[-1] if self.of == "maps" else 1
        op = "dropout" if self.of == "values" else "dropout_whole"
        emit.op(op, (x, emit.numbers), (y,), attributes=numbers, in_place=((0, 0),))
