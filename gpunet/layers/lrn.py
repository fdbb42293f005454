"""Local response normalization. Source: Krizhevsky et al. 2012, section 3.3; within a map: cuda-convnet."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from gpunet.errors import ConfigError
from gpunet.layers.layer import Layer, require_int, require_number
from gpunet.program.builder import Emitter
from gpunet.program.field import Window
from gpunet.program.program import Attribute
from gpunet.program.tensor import Tensor
from gpunet.program.volume import Volume
from gpunet.values.given import told


@dataclass(frozen=True)
class LRN(Layer):
    """y = x / (k + alpha * sum of x*x over its n neighbours)**beta, itself in their middle; n is odd.

    `over`  "maps": neighbours stand at the same position in n maps side by side, as in AlexNet; "map": at n x n
            positions of the same map. Beyond the edges there is nothing to add.

    Alpha is the paper's: it is not divided by how many neighbours there are. PyTorch and Caffe divide: their alpha is n
    times ours (n * n times over a map). The defaults are AlexNet's.
    """

    n: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0
    over: Literal["maps", "map"] = "maps"

    type: ClassVar[str] = "lrn"
    word: ClassVar[str] = "LRN"
    number: ClassVar[str] = "n"

    def __post_init__(self) -> None:
        require_int("n", self.n)
        if self.n % 2 == 0:
            raise ConfigError(f"n={self.n} has no middle; use n={self.n + 1}")
        require_number("alpha", self.alpha, least=0)
        require_number("beta", self.beta, above=0)
        require_number("k", self.k, above=0)
        if self.over not in ("maps", "map"):
            raise ConfigError(f"over must be one of maps, map; got {told(self.over)}")

    def output(self, *inputs: Volume) -> Volume:
        (volume,) = inputs
        return volume

    def window(self, *inputs: Volume) -> tuple[Window, Window]:
        window = Window() if self.over == "maps" else Window(self.n, 1, self.n // 2, self.n // 2)
        return window, window

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        y = emit.activation("y", x.shape[1:])
        emit.op("lrn_forward", (x,), (y,), attributes=self._numbers)
        emit.kept["x"] = x
        return y

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        if not needs_dx:
            return ()
        x = emit.kept["x"]
        dx = emit.gradient("dx", x)
        emit.op("lrn_backward", (dy, x), (dx,), attributes=self._numbers)
        return (dx,)

    @property
    def _numbers(self) -> dict[str, Attribute]:
        F, maps = (1, self.n) if self.over == "maps" else (self.n, 1)
        return {"F": F, "maps": maps, "alpha": self.alpha, "beta": self.beta, "k": self.k}
