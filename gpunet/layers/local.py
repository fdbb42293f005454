"""Convolution without sharing: each output position has filters of its own.

Source: CS231n "Convolutional Layer", on relaxing the sharing of parameters: "Locally-Connected Layer".
"""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from gpunet.errors import ConfigError
from gpunet.layers.bias import emit_bias_backward
from gpunet.layers.layer import Layer, Weights, of, require_fit, require_int
from gpunet.program.builder import Emitter
from gpunet.program.field import Window
from gpunet.program.tensor import ITEMSIZE, Tensor
from gpunet.program.volume import FitPolicy, Volume, window_output


@dataclass(frozen=True)
class LocallyConnected(Layer):
    """K filters of F x F at every output position, at stride S with P zeros around the input; P=None means (F - 1)/2.

    Parameters: w (H2, W2, K, F, F, D) and b (H2, W2, K), for outputs of H2 x W2. `fit` None follows the net's policy.
    """

    K: int
    F: int = 3
    S: int = 1
    P: int | None = None
    fit: FitPolicy | None = None

    type: ClassVar[str] = "local"
    word: ClassVar[str] = "LOCAL"
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
        F, S, P = self.geometry.values()
        return window_output(volume, self.K, F, S, P, self.fit or "error")

    def window(self, *inputs: Volume) -> tuple[Window, Window]:
        assert self.P is not None  # set in __post_init__
        window = Window(self.F, self.S, self.P, self.P)
        return window, window

    def weights(self, *inputs: Volume) -> tuple[Weights, ...]:
        (volume,) = inputs
        filters = self.output(volume).shape
        fan_in = self.F * self.F * volume.D
        return Weights("w", (*filters, self.F, self.F, volume.D), fan_in), Weights("b", filters)

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        w, b = emit.parameters["w"], emit.parameters["b"]
        y = emit.activation("y", self.output(of(x)).shape)
        columns, flops = self._columns(emit, x, y, "columns"), self._flops(x, y)
        emit.op("local_forward", (x, w, b), (y,), (columns,), flops=flops, attributes=self.geometry)
        emit.kept["x"] = x
        return y

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        x, w, flops = emit.kept["x"], emit.parameters["w"], self._flops(emit.kept["x"], dy)
        if not emit.frozen:
            columns, numbers = self._columns(emit, x, dy, "dw_columns"), {**self.geometry, "accumulate": 0}
            dw = emit.gradients["w"]
            emit.op("local_backward_weights", (x, dy), (dw,), (columns,), flops=flops, attributes=numbers)
            emit_bias_backward(emit, dy, emit.gradients["b"])
        if not needs_dx:
            return ()
        dx = emit.gradient("dx", x)
        columns = self._columns(emit, x, dy, "dx_columns")
        emit.op("local_backward_input", (dy, w), (dx,), (columns,), flops=flops, attributes=self.geometry)
        return (dx,)

    def _flops(self, x: Tensor, y: Tensor) -> int:
        """Each output is a product of two vectors as long as a window: two operations a value."""
        return 2 * prod(y.shape) * self.F * self.F * x.shape[3]

    def _columns(self, emit: Emitter, x: Tensor, y: Tensor, name: str) -> Tensor | None:
        """Room for the windows of one position on each thread, as far as the scratch limit allows; at least two."""
        if not emit.target.gathers_windows:
            return None
        N, H2, W2, K = y.shape
        length = self.F * self.F * x.shape[3]
        rows = min((N + K) * H2 * W2, max(2, emit.scratch_limit_bytes // (length * ITEMSIZE[emit.wide])))
        return emit.workspace(name, (rows, length))
