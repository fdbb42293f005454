"""Layers and a loss as somebody outside of gpunet would write them, with their ops on both devices."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gpunet import Elementwise, Layer, Loss, Volume, Weights, add_op
from gpunet.devices.outside import remove_op
from gpunet.layers.loss import LossTensors, emit_mean, losses_and_hits
from gpunet.program.builder import Emitter
from gpunet.program.program import RunTime
from gpunet.program.tensor import Tensor

KERNELS = """
// y = log(1 + exp(sharpness * x)) / sharpness
extern "C" __global__ void __launch_bounds__(BLOCK) my_softplus_forward(
    const real* x, real* y, long long count, real sharpness
) {
    for (long long i = first_item(); i < count; i += item_stride()) y[i] = log1p(exp(sharpness * x[i])) / sharpness;
}

// dx = dy * (1 - exp(-sharpness * y))
extern "C" __global__ void __launch_bounds__(BLOCK) my_softplus_backward(
    const real* dy, const real* y, real* dx, long long count, real sharpness
) {
    for (long long i = first_item(); i < count; i += item_stride()) dx[i] = -dy[i] * expm1(-sharpness * y[i]);
}

// y = x * w of its map, of D
extern "C" __global__ void __launch_bounds__(BLOCK) my_scale(
    const real* x, const real* w, real* y, long long count, long long D
) {
    for (long long i = first_item(); i < count; i += item_stride()) y[i] = x[i] * w[i % D];
}

// dw of a map = the sum of x * dy over its rows, added to what is there or not: a block for each of D maps
extern "C" __global__ void __launch_bounds__(BLOCK) my_scale_backward_weights(
    const real* x, const real* dy, real* dw, long long D, long long rows, long long accumulate
) {
    __shared__ real sums[BLOCK];
    for (long long d = blockIdx.x; d < D; d += gridDim.x) {
        real sum = 0;
        for (long long row = threadIdx.x; row < rows; row += BLOCK) sum += x[row * D + d] * dy[row * D + d];
        sum = reduce_sum(sum, sums);
        if (threadIdx.x == 0) dw[d] = accumulate ? dw[d] + sum : sum;
    }
}

// losses = sum of (score - 1 of the label, 0 of the others)^2; hits: a thread for each of the count images
extern "C" __global__ void __launch_bounds__(BLOCK) my_squares_forward(
    const real* scores, const int* labels, real* losses, int* hits, long long count, long long classes
) {
    for (long long n = first_item(); n < count; n += item_stride()) {
        const real* row = scores + n * classes;
        real sum = 0;
        long long best = 0;
        for (long long k = 0; k < classes; ++k) {
            const real off = row[k] - real(k == labels[n]);
            sum += off * off;
            if (row[k] > row[best]) best = k;
        }
        losses[n] = sum;
        hits[n] = best == labels[n];
    }
}

// dx = 2 * weight / images * (score - 1 of the label, 0 of the others)
extern "C" __global__ void __launch_bounds__(BLOCK) my_squares_backward(
    const real* scores, const int* labels, real* dx, long long count, long long classes, long long images, real weight
) {
    for (long long i = first_item(); i < count; i += item_stride())
        dx[i] = (scores[i] - real(i % classes == labels[i / classes])) * 2 * weight / real(images);
}
"""


def my_softplus_forward(x: np.ndarray, y: np.ndarray, *, sharpness: float) -> None:
    np.multiply(x, sharpness, out=y)
    np.logaddexp(y, 0, out=y)
    np.divide(y, sharpness, out=y)


def my_softplus_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray, *, sharpness: float) -> None:
    np.multiply(dy, -np.expm1(-sharpness * y), out=dx)


def my_scale(x: np.ndarray, w: np.ndarray, y: np.ndarray, *, D: int) -> None:
    np.multiply(x, w, out=y)


def my_scale_backward_weights(x: np.ndarray, dy: np.ndarray, dw: np.ndarray, *, accumulate: int) -> None:
    dw[...] = np.einsum("nhwd,nhwd->d", x, dy) + (dw if accumulate else 0)


def my_squares_forward(
    scores: np.ndarray, labels: np.ndarray, losses: np.ndarray, hits: np.ndarray, *, classes: int
) -> None:
    rows = scores.reshape(-1, classes)
    np.sum((rows - (labels[:, None] == np.arange(classes))) ** 2, axis=1, out=losses)
    np.equal(rows.argmax(1), labels, out=hits, casting="unsafe")


def my_squares_backward(
    scores: np.ndarray, labels: np.ndarray, dx: np.ndarray, *, classes: int, images: int, weight: float
) -> None:
    rows = scores.reshape(-1, classes)
    dx.reshape(-1, classes)[...] = (rows - (labels[:, None] == np.arange(classes))) * (2 * weight / images)


OPS = {
    my_softplus_forward: {},
    my_softplus_backward: {},
    my_scale: {},
    my_scale_backward_weights: {"blocks": True, "sizes": lambda x, dy, dw: (dw.size, x.size // dw.size)},
    my_squares_forward: {},
    my_squares_backward: {},
}
"""Every op, and how it is added."""


def add_all(*, cuda: bool = True) -> None:
    for function, how in OPS.items():
        add_op(function, cuda=KERNELS if cuda else None, **how)


def remove_all() -> None:
    for function in OPS:
        remove_op(function.__name__)


@dataclass(frozen=True)
class Softplus(Elementwise):
    """log(1 + exp(sharpness * x)) / sharpness."""

    sharpness: float = 1.0

    type: ClassVar[str] = "mish"
    word: ClassVar[str] = "MISH"
    op: ClassVar[str] = "my_softplus"


@dataclass(frozen=True)
class Scale(Layer):
    """Each map times a number that is learnt."""

    type: ClassVar[str] = "louder"
    word: ClassVar[str] = "LOUDER"

    def output(self, *inputs: Volume) -> Volume:
        (volume,) = inputs
        return volume

    def weights(self, *inputs: Volume) -> tuple[Weights, ...]:
        return (Weights("w", (inputs[0].D,), start=1.0),)

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        y = emit.activation("y", x.shape[1:])
        emit.op("my_scale", (x, emit.parameters["w"]), (y,), attributes={"D": x.shape[-1]})
        emit.kept["x"] = x
        return y

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        x = emit.kept["x"]
        if not emit.frozen:
            emit.op("my_scale_backward_weights", (x, dy), (emit.gradients["w"],), attributes={"accumulate": 0})
        if not needs_dx:
            return ()
        dx = emit.gradient("dx", x)
        emit.op("my_scale", (dy, emit.parameters["w"]), (dx,), attributes={"D": x.shape[-1]})
        return (dx,)


@dataclass(frozen=True)
class Squares(Loss):
    """The sum of the squares of score - 1 for the label, and of the scores of the other classes."""

    type: ClassVar[str] = "squares"

    def forward(self, emit: Emitter, scores: Tensor, labels: Tensor) -> LossTensors:
        losses, hits = losses_and_hits(emit)
        emit.op("my_squares_forward", (scores, labels), (losses, hits), attributes={"classes": scores.shape[-1]})
        emit.kept.update(scores=scores, labels=labels)
        return emit_mean(emit, losses, hits)

    def backward(self, emit: Emitter, weight: float = 1.0) -> Tensor:
        scores, labels = emit.kept["scores"], emit.kept["labels"]
        dx = emit.gradient("dx", scores)
        numbers = {"classes": scores.shape[-1], "images": RunTime("images"), "weight": weight}
        emit.op("my_squares_backward", (scores, labels), (dx,), attributes=numbers)
        return dx
