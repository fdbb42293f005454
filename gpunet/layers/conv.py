"""Convolution: K filters slide over the volume, by an algorithm that the target chooses.

Source: CS231n "Convolutional Layer" and "Implementation as Matrix Multiplication"; groups: Krizhevsky et al. 2012;
dilation: Yu & Koltun 2016.
"""

from dataclasses import dataclass
from math import gcd, prod
from typing import ClassVar

from gpunet.errors import ConfigError, ShapeError
from gpunet.layers.bias import emit_bias_backward
from gpunet.layers.layer import Layer, Weights, of, require_bool, require_fit, require_int, require_sizes
from gpunet.program.algorithm import Pass
from gpunet.program.builder import Emitter
from gpunet.program.chunks import chunk_rows, images_at_once
from gpunet.program.field import Window
from gpunet.program.filters import ConvShape
from gpunet.program.program import Attribute
from gpunet.program.tensor import ITEMSIZE, Kind, Tensor
from gpunet.program.volume import FitPolicy, Padding, Pair, Volume, pair, sides, size_text, window_output, windows


@dataclass(frozen=True)
class Conv(Layer):
    """K filters of F x F at stride S with P zeros around the input.

    F, S and dilation are one number for both axes, or (along the rows, along the columns).

    `P`         on all sides; or (above and below, left and right); or (top, bottom, left, right). None keeps H and W at
                S=1: (F - 1)*dilation/2
    `dilation`  how far the positions of a filter stand apart; 1: side by side
    `groups`    the maps and the filters in so many groups, each group of filters seeing the maps of its own
    `bias`      whether a number is added to each output map
    `fit`       None follows the net's policy

    Sizes that are equal are kept as one number. Parameters: w (K, F, F, D/groups) and, with a bias, b (K,).
    """

    K: int
    F: Pair = 3
    S: Pair = 1
    P: Padding | None = None
    dilation: Pair = 1
    groups: int = 1
    bias: bool = True
    fit: FitPolicy | None = None

    type: ClassVar[str] = "conv"
    word: ClassVar[str] = "CONV"
    number: ClassVar[str] = "F"
    count: ClassVar[str] = "K"

    def __post_init__(self) -> None:
        if self.dilation == 0:
            raise ConfigError("dilation=0, as the notes count, is dilation=1 here: no gaps; their 1 is 2")
        for letter in ("K", "groups"):
            require_int(letter, getattr(self, letter))
        for letter in ("F", "S", "dilation"):
            object.__setattr__(self, letter, require_sizes(letter, getattr(self, letter), (2,)))
        P = self._same_padding() if self.P is None else self.P
        object.__setattr__(self, "P", require_sizes("P", P, (2, 4), least=0))
        require_bool("bias", self.bias)
        require_fit(self.fit)
        if self.K % self.groups:
            K, down = self.groups, self.K // self.groups * self.groups
            around = [f"K={value}" for value in (down, down + K) if value]
            raise ConfigError(
                f"groups={self.groups} does not divide K={self.K}; "
                f"use {' or '.join([*_divisors_near(self.K, self.groups), *around])}"
            )

    def _same_padding(self) -> Padding:
        """Zeros on all sides that keep H and W at S=1."""
        rows, columns = (window.extent - 1 for window in windows(self.F, 1, 0, self.dilation))
        if rows % 2 or columns % 2:
            even = size_text((rows // 2, -(-rows // 2), columns // 2, -(-columns // 2)))
            near = size_text(require_sizes("P", (-(-rows // 2), -(-columns // 2)), (2,), least=0))
            rule = (
                "P = (F - 1)/2"
                if self.dilation == 1
                else f"with dilation={size_text(self.dilation)} P = (F - 1)*dilation/2"
            )
            ways = f"P={near}, or P={even} to keep H and W"
            raise ConfigError(f"{rule} is not whole for F={size_text(self.F)}; say which P, like {ways}")
        return rows // 2, columns // 2

    @property
    def padding(self) -> Padding:
        """P, which is known from the start."""
        assert self.P is not None  # set in __post_init__
        return self.P

    @property
    def geometry(self) -> dict[str, int]:
        """Strides, padding and dilation as the ops take them; extents and groups are in the shapes."""
        (S_rows, S_columns), (top, _, left, _) = pair(self.S), sides(self.padding)
        down, across = pair(self.dilation)
        geometry = {"S_rows": S_rows, "S_columns": S_columns, "P_top": top, "P_left": left}
        return geometry | {"dilation_rows": down, "dilation_columns": across}

    def output(self, *inputs: Volume) -> Volume:
        (volume,) = inputs
        if volume.D % self.groups:
            ways = _divisors_near(gcd(volume.D, self.K), self.groups)
            raise ShapeError(f"groups={self.groups} does not divide the D={volume.D} maps; use {' or '.join(ways)}")
        fit = self.fit or "error"
        return window_output(volume, self.K, self.F, self.S, self.padding, fit, self.dilation, four_sides=True)

    def window(self, *inputs: Volume) -> tuple[Window, Window]:
        return windows(self.F, self.S, self.padding, self.dilation)

    def weights(self, *inputs: Volume) -> tuple[Weights, ...]:
        (volume,) = inputs
        shape = (self.K, *pair(self.F), volume.D // self.groups)
        w = Weights("w", shape, prod(shape[1:]))
        return (w, Weights("b", (self.K,))) if self.bias else (w,)

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        w, b = emit.weights("w"), emit.parameters.get("b")
        y = emit.activation("y", self.output(of(x)).shape)
        numbers, scratch = self._chosen(emit, "forward", self._shape(x, w, y))
        emit.op("conv_forward", (x, w, b), (y,), scratch, flops=_flops(y, w), attributes=numbers)
        emit.kept["x"] = x
        return y

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        x = emit.kept["x"]
        if not emit.frozen:
            self._backward_weights(emit, x, dy)
        if not needs_dx:
            return ()
        w = emit.weights("w")
        dx = emit.gradient("dx", x)
        numbers, scratch = self._chosen(emit, "backward_input", self._shape(dx, w, dy))
        emit.op("conv_backward_input", (dy, w), (dx,), scratch, flops=_flops(dy, w), attributes=numbers)
        return (dx,)

    def _backward_weights(self, emit: Emitter, x: Tensor, dy: Tensor) -> None:
        """The gradients of w and b."""
        w, dw = emit.parameters["w"], emit.gradients["w"]
        numbers, scratch = self._chosen(emit, "backward_weights", self._shape(x, w, dy))
        numbers = {**numbers, "accumulate": 0}
        emit.op("conv_backward_weights", (x, dy), (dw,), scratch, flops=_flops(dy, w), attributes=numbers)
        if self.bias:
            emit_bias_backward(emit, dy, emit.gradients["b"])

    def _shape(self, x: Tensor, w: Tensor, y: Tensor) -> ConvShape:
        return ConvShape.of(x.shape, w.shape, y.shape, self.geometry)

    def _chosen(
        self, emit: Emitter, pass_: Pass, shape: ConvShape
    ) -> tuple[dict[str, Attribute], tuple[Tensor | None, Tensor | None]]:
        """How an op is to run: its numbers, and its scratch, an im2col matrix and flat workspace."""
        found = emit.conv_algorithm(pass_, shape)
        prefix = {"forward": "", "backward_input": "dx_", "backward_weights": "dw_"}[pass_]
        columns = _columns(emit, shape, f"{prefix}columns") if found.needs_columns else None
        if found.name == "im2col" and emit.multiplies_wide:
            workspace = emit.workspace(f"{prefix}workspace", (_wide_values(emit, shape),))
        elif found.name == "im2col":
            workspace = _product_workspace(emit, pass_, shape, columns, f"{prefix}gemm")
        else:
            workspace = emit.workspace(f"{prefix}workspace", (-(-found.workspace_bytes // ITEMSIZE[emit.wide]),))
        return {**self.geometry, **found.attributes}, (columns, workspace)


def _columns(emit: Emitter, shape: ConvShape, name: str) -> Tensor:
    """The im2col matrix of a group, for as many output positions at a time as the scratch limit allows."""
    dtype = emit.target.product_dtype(emit.dtype)
    most = emit.scratch_limit_bytes // (shape.length * ITEMSIZE[dtype])
    rows = chunk_rows(shape.N, shape.H2, shape.W2, most)
    return emit.tensor(name, Kind.WORKSPACE, (rows, shape.length), dtype)


def _product_workspace(
    emit: Emitter, pass_: Pass, shape: ConvShape, columns: Tensor | None, name: str
) -> Tensor | None:
    """What the products of an im2col matrix want beside it."""
    rows = columns.shape[0] if columns else shape.positions
    if pass_ == "backward_weights":
        accumulate = rows < shape.positions or emit.accumulates
        return emit.gemm_workspace(name, shape.K, shape.length, accumulate=accumulate)
    return emit.gemm_workspace(name, rows, shape.K if pass_ == "forward" else shape.length)


def _wide_values(emit: Emitter, shape: ConvShape) -> int:
    """Of wide copies of the weights, or of their gradient, and of as many images on both sides as the limit allows."""
    each = shape.H * shape.W * shape.D + shape.H2 * shape.W2 * shape.K
    most = emit.scratch_limit_bytes // ITEMSIZE[emit.wide]
    return shape.K * shape.length + images_at_once(shape.N, each, most) * each


def _flops(y: Tensor, w: Tensor) -> int:
    """Each output is a product of two vectors as long as a filter: two operations a value."""
    return 2 * prod(y.shape) * prod(w.shape[1:])


def _divisors_near(number: int, wanted: int) -> list[str]:
    """How to say the divisors of `number` on both sides of `wanted`."""
    small = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    divisors = {*small, *(number // d for d in small)}
    below = max((d for d in divisors if d < wanted), default=None)
    above = min((d for d in divisors if d > wanted), default=None)
    return [f"groups={d}" for d in (below, above) if d is not None]
