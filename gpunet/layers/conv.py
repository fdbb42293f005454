"""Convolution: K filters of F x F x D slide over the volume; as a matrix product over im2col columns.

Source: CS231n "Convolutional Layer" and "Implementation as Matrix Multiplication".
"""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from gpunet.errors import ConfigError
from gpunet.field import Window
from gpunet.layers.bias import emit_bias_backward
from gpunet.layers.layer import Layer, Weights, of, require_fit, require_int
from gpunet.program.builder import Emitter
from gpunet.program.chunks import chunk_rows
from gpunet.program.tensor import ITEMSIZE, Kind, Tensor
from gpunet.volume import FitPolicy, Volume, window_output


@dataclass(frozen=True)
class Conv(Layer):
    """K filters of F x F at stride S with P zeros around the input; P=None means (F - 1)/2, which keeps H and W at S=1.

    Parameters: w (K, F, F, D) and b (K,). `fit` None follows the net's policy.
    """

    K: int
    F: int = 3
    S: int = 1
    P: int | None = None
    fit: FitPolicy | None = None

    type: ClassVar[str] = "conv"
    word: ClassVar[str] = "CONV"
    number: ClassVar[str] = "F"
    count: ClassVar[str] = "K"

    def __post_init__(self) -> None:
        for letter in ("K", "F", "S"):
            require_int(letter, getattr(self, letter))
        if self.P is None:
            if self.F % 2 == 0:
                raise ConfigError(f"P = (F - 1)/2 is not whole for F={self.F}; say which P, like P={self.F // 2}")
            object.__setattr__(self, "P", (self.F - 1) // 2)
        require_int("P", self.P, 0)
        require_fit(self.fit)

    @property
    def geometry(self) -> dict[str, int]:
        """F, S and P as the ops take them."""
        assert self.P is not None  # set in __post_init__
        return {"F": self.F, "S": self.S, "P": self.P}

    def output(self, *inputs: Volume) -> Volume:
        (volume,) = inputs
        return window_output(volume, self.K, **self.geometry, fit=self.fit or "error")

    def window(self, *inputs: Volume) -> tuple[Window, Window]:
        assert self.P is not None  # set in __post_init__
        window = Window(self.F, self.S, self.P, self.P)
        return window, window

    def weights(self, *inputs: Volume) -> tuple[Weights, ...]:
        (volume,) = inputs
        fan_in = self.F * self.F * volume.D
        return Weights("w", (self.K, self.F, self.F, volume.D), fan_in), Weights("b", (self.K,))

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        w, b = emit.parameters["w"], emit.parameters["b"]
        y = emit.activation("y", self.output(of(x)).shape)
        columns = self._columns(emit, x, y, "columns")
        workspace = emit.gemm_workspace("gemm", columns.shape[0], self.K)
        emit.op(
            "conv_forward",
            (x, w, b),
            (y,),
            (columns, workspace),
            flops=self._flops(y, columns),
            attributes=self.geometry,
        )
        emit.kept["x"] = x
        return y

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        x, w = emit.kept["x"], emit.parameters["w"]
        dw, db = emit.gradients["w"], emit.gradients["b"]
        columns = self._columns(emit, x, dy, "dw_columns")
        several = columns.shape[0] < dy.shape[0] * dy.shape[1] * dy.shape[2]
        workspace = emit.gemm_workspace("dw_gemm", self.K, columns.shape[1], accumulate=several or emit.accumulates)
        emit.op(
            "conv_backward_weights",
            (x, dy),
            (dw,),
            (columns, workspace),
            flops=self._flops(dy, columns),
            attributes={**self.geometry, "accumulate": 0},
        )
        emit_bias_backward(emit, dy, db)
        if not needs_dx:
            return ()
        dx = emit.gradient("dx", x)
        columns = self._columns(emit, x, dy, "dx_columns")
        workspace = emit.gemm_workspace("dx_gemm", *columns.shape)
        emit.op(
            "conv_backward_input",
            (dy, w),
            (dx,),
            (columns, workspace),
            flops=self._flops(dy, columns),
            attributes=self.geometry,
        )
        return (dx,)

    def _flops(self, y: Tensor, columns: Tensor) -> int:
        """Each output is a product of two vectors as long as a row of columns: two operations a value."""
        return 2 * prod(y.shape) * columns.shape[1]

    def _columns(self, emit: Emitter, x: Tensor, y: Tensor, name: str) -> Tensor:
        """The im2col matrix for as many output positions at a time as the scratch limit allows."""
        length = self.F * self.F * x.shape[3]
        N, H2, W2, _ = y.shape
        rows = chunk_rows(N, H2, W2, emit.scratch_limit_bytes // (length * ITEMSIZE[emit.dtype]))
        return emit.tensor(name, Kind.WORKSPACE, (rows, length))
