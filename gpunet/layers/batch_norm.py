"""Batch normalization. Source: Ioffe & Szegedy 2015, algorithms 1 and 2; CS231n "Batch Normalization"."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from gpunet.errors import ConfigError
from gpunet.layers.bias import BLOCK_ROWS
from gpunet.layers.layer import Layer, Weights, require_number
from gpunet.program.builder import Emitter
from gpunet.program.program import RunTime
from gpunet.program.tensor import Kind, Tensor
from gpunet.program.volume import Volume
from gpunet.values.given import told


@dataclass(frozen=True)
class BatchNorm(Layer):
    """y = (x - mean) / sqrt(variance + eps) * scale + shift, each map on its own.

    In a training step mean and variance are those of the map over all images and positions of the batch, which must
    be two or more in all; elsewhere the running ones, which each step moves: running = (1 - momentum) * running +
    momentum * that of the batch. That is PyTorch's momentum (Caffe's and the paper's is 1 minus it), and as there the
    running variance is an unbiased one. A frozen layer takes the running ones in training, too, and leaves them as they
    are; its backward pass then has them for constants.

    Parameters: scale (D,) and shift (D,), learnt where `affine`, else 1 and 0 forever; mean (D,) and variance (D,), the
    running ones, which are kept with the weights and count for nothing as learnt numbers.
    """

    eps: float = 1e-5
    momentum: float = 0.1
    affine: bool = True

    type: ClassVar[str] = "bn"
    word: ClassVar[str] = "BN"
    across_images: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_number("eps", self.eps, least=1e-12)
        require_number("momentum", self.momentum, least=0)
        if self.momentum > 1:
            raise ConfigError(f"momentum must be a number from 0 to 1; got {told(self.momentum)}")
        if not isinstance(self.affine, bool):
            raise ConfigError(f"affine must be true or false; got {told(self.affine)}")

    def output(self, *inputs: Volume) -> Volume:
        (volume,) = inputs
        return volume

    def weights(self, *inputs: Volume) -> tuple[Weights, ...]:
        (volume,) = inputs
        D = (volume.D,)
        return (
            Weights("scale", D, start=1.0, learnt=self.affine, fixed=not self.affine),
            Weights("shift", D, learnt=self.affine, fixed=not self.affine),
            Weights("mean", D, learnt=False),
            Weights("variance", D, start=1.0, learnt=False),
        )

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        known = emit.parameters
        moves = emit.trains and not emit.frozen
        mean, variance = self._statistics(emit, x) if moves else (known["mean"], known["variance"])
        y = emit.activation("y", x.shape[1:])
        given = (x, mean, variance, known["scale"], known["shift"])
        emit.op("batch_norm_forward", given, (y,), attributes={"eps": self.eps}, in_place=((0, 0),))
        emit.kept |= {"x": x, "mean": mean, "variance": variance}
        return y

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        x, mean, variance = (emit.kept[name] for name in ("x", "mean", "variance"))
        if emit.frozen:
            return self._backward_through(emit, dy) if needs_dx else ()
        sums = dscale, dshift = self._sum(emit, "scale"), self._sum(emit, "shift")
        emit.op(
            "batch_norm_backward_sums",
            (dy, x, mean, variance, _counters(emit, x)),
            sums,
            (_partials(emit, x, "dscale_partials"),),
            attributes={"block_rows": BLOCK_ROWS, "eps": self.eps},
            across_images=True,
        )
        if not needs_dx:
            return ()
        dx = emit.gradient("dx", x)
        given = (dy, x, mean, variance, emit.parameters["scale"], dscale, dshift)
        places = ((0, 0), (0, 1))
        emit.op("batch_norm_backward", given, (dx,), attributes={"eps": self.eps}, in_place=places)
        return (dx,)

    def _backward_through(self, emit: Emitter, dy: Tensor) -> tuple[Tensor, ...]:
        """The gradient of x where the statistics do not follow from it."""
        dx, given = emit.gradient("dx", dy), (dy, emit.parameters["variance"], emit.parameters["scale"])
        emit.op("batch_norm_backward_frozen", given, (dx,), attributes={"eps": self.eps}, in_place=((0, 0),))
        return (dx,)

    def update(self, emit: Emitter) -> None:
        """Move the running statistics."""
        _, H, W, _ = emit.kept["x"].shape
        emit.op(
            "batch_norm_update",
            (emit.loss, emit.kept["mean"], emit.kept["variance"]),
            (emit.parameters["mean"], emit.parameters["variance"]),
            attributes={"momentum": self.momentum, "images": RunTime("images"), "positions": H * W},
            shared=1,
        )

    def _statistics(self, emit: Emitter, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the batch; the running ones where only a forward pass is run."""
        found = tuple(emit.tensor(f"batch_{name}", Kind.ACTIVATION, x.shape[-1:]) for name in ("mean", "variance"))
        emit.op(
            "batch_norm_statistics",
            (x, emit.parameters["mean"], emit.parameters["variance"], _counters(emit, x)),
            found,
            (_partials(emit, x, "partials"),),
            attributes={"block_rows": BLOCK_ROWS, "training": RunTime("training")},
            across_images=True,
        )
        return found[0], found[1]

    def _sum(self, emit: Emitter, name: str) -> Tensor:
        """The gradient of scale or shift; where they are not learnt, the same sum for the gradient of x."""
        w = emit.parameters[name]
        return emit.gradients.get(name) or emit.tensor(f"d{name}", Kind.GRADIENT, w.shape)


def _counters(emit: Emitter, x: Tensor) -> Tensor | None:
    """A counter for each eight maps, or more of them."""
    return emit.counters(-(-x.shape[-1] // 8))


def _partials(emit: Emitter, x: Tensor, name: str) -> Tensor | None:
    """Scratch for two numbers of each map and part."""
    *positions, D = x.shape
    return emit.workspace(name, (2 * -(-prod(positions) // BLOCK_ROWS), D))
