"""Average pooling, and the average of whole maps that stands in for fully connected layers at the end of a net.

Sources: CS231n "Pooling Layer", "General pooling"; global averages: Lin et al. 2014, "Network in network"; averages of
parts: He et al. 2014, "Spatial pyramid pooling in deep convolutional networks".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from gpunet.errors import ConfigError, ShapeError
from gpunet.layers.layer import Layer, of, require_sizes, squared, whole
from gpunet.layers.window import Pool, by_axis, geometry_of, op_for
from gpunet.program.builder import Emitter
from gpunet.program.field import Window
from gpunet.program.tensor import Tensor
from gpunet.program.volume import Pair, Volume, pair, sides, size_text
from gpunet.values.given import told

Counted = Literal["seen", "padding"]
"""Which positions of a window an average divides by."""


@dataclass(frozen=True)
class AvgPool(Pool):
    """Average over each window: its sum, divided by how many positions count.

    `counts`  "seen": those of the input, so that the average of equal values is that value, at the edges too;
             "padding": those of the padding, too, as 0, as Caffe does, and PyTorch unless it is told
             count_include_pad=False. Without padding all three agree: what hangs over the edge never counts.
    """

    counts: Counted = "seen"

    type: ClassVar[str] = "avgpool"
    word: ClassVar[str] = "AVGPOOL"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.counts not in get_args(Counted):
            raise ConfigError(f"counts must be one of {', '.join(get_args(Counted))}; got {told(self.counts)}")

    @property
    def geometry(self) -> Mapping[str, int]:
        if self.counts == "padding" and self.P != 0:
            return _counting(by_axis(self.F, self.stride, self.P), sides(self.P))
        found = geometry_of(self.F, self.stride, self.P)
        return found if "F" in found else _counting(found)

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        return _emit_forward(emit, x, self.output(of(x)), self.geometry)

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        return _emit_backward(emit, dy, self.geometry) if needs_dx else ()


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """Average of each map: H x W x D becomes 1 x 1 x D."""

    type: ClassVar[str] = "gap"
    word: ClassVar[str] = "GAP"

    def output(self, *inputs: Volume) -> Volume:
        (volume,) = inputs
        return Volume(1, 1, volume.D)

    def window(self, *inputs: Volume) -> tuple[Window, Window]:
        return whole(*inputs)

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        return _emit_forward(emit, x, self.output(of(x)), _over_all(x))

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        return _emit_backward(emit, dy, _over_all(emit.kept["x"])) if needs_dx else ()


@dataclass(frozen=True)
class AdaptiveAvgPool(Layer):
    """Averages of K x K parts of each map, whatever its size: H x W x D becomes K x K x D.

    `K`  one number for both axes, or (along the rows, along the columns). Part i of an axis of H positions is
         floor(i*H/K) up to ceil((i + 1)*H/K), as PyTorch's AdaptiveAvgPool2d has it; neighbours may overlap.
    """

    K: Pair

    type: ClassVar[str] = "adaptive"
    word: ClassVar[str] = "ADAPTIVE"
    number: ClassVar[str] = "K"

    def __post_init__(self) -> None:
        object.__setattr__(self, "K", require_sizes("K", self.K, (2,)))

    def output(self, *inputs: Volume) -> Volume:
        (volume,) = inputs
        if any((size + 1) * (K + 1) >= 2**31 for size, K in zip(volume.shape, pair(self.K), strict=False)):
            raise ShapeError(
                f"K={size_text(self.K)} makes more parts of {volume.H}x{volume.W} than can be counted; use K <= "
                f"{min(46340, 2**31 // (max(volume.H, volume.W) + 1) - 2)}"
            )
        return Volume(*pair(self.K), volume.D)

    def window(self, *inputs: Volume) -> tuple[Window, Window]:
        """Exact where the parts are equal; else as large as the largest, at the stride of most."""
        (volume,) = inputs
        down, across = (_part(size, K) for size, K in zip(volume.shape, pair(self.K), strict=False))
        return down, across

    def even(self, volume: Volume) -> Pair | None:
        """The size of the parts where all are equal, as windows of that size and stride; None where they are not."""
        rows, columns = pair(self.K)
        if volume.H % rows or volume.W % columns:
            return None
        return squared(volume.H // rows, volume.W // columns)

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        if size := self.even(of(x)):
            return _emit_forward(emit, x, self.output(of(x)), _tiles(size))
        y = emit.activation("y", self.output(of(x)).shape)
        emit.op("adaptive_pool_forward", (x,), (y,))
        emit.kept["x"] = x  # for its shape alone
        return y

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        if not needs_dx:
            return ()
        x = emit.kept["x"]
        if size := self.even(of(x)):
            return _emit_backward(emit, dy, _tiles(size))
        dx = emit.gradient("dx", x)
        emit.op("adaptive_pool_backward", (dy,), (dx,))
        return (dx,)


def _part(size: int, K: int) -> Window:
    """How parts look at an axis, seen as windows."""
    ends = [-(-(i + 1) * size // K) - i * size // K for i in range(min(K, 1000))]
    return Window(max(ends), max(1, size // K))


def _tiles(size: Pair) -> dict[str, int]:
    """Windows side by side, each as large as a part."""
    found = geometry_of(size, size, 0)
    return found if "F" in found else _counting(found)


def _counting(geometry: dict[str, int], around: tuple[int, int, int, int] = (0, 0, 0, 0)) -> dict[str, int]:
    """Geometry by axis, with how many positions around the input count."""
    return geometry | dict(zip(("top", "bottom", "left", "right"), around, strict=True))


def _over_all(x: Tensor) -> dict[str, int]:
    """One window over the whole map; what of it hangs over the edge does not count."""
    extent = max(x.shape[1:3])
    return {"F": extent, "S": extent, "P": 0}


def _emit_forward(emit: Emitter, x: Tensor, volume: Volume, geometry: Mapping[str, int]) -> Tensor:
    y = emit.activation("y", volume.shape)
    emit.op(op_for("average_pool", "forward", geometry), (x,), (y,), attributes=geometry)
    emit.kept["x"] = x  # for its shape alone
    return y


def _emit_backward(emit: Emitter, dy: Tensor, geometry: Mapping[str, int]) -> tuple[Tensor, ...]:
    dx = emit.gradient("dx", emit.kept["x"])
    emit.op(op_for("average_pool", "backward", geometry), (dy,), (dx,), attributes=geometry)
    return (dx,)
