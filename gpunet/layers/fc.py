"""Fully connected layer: every output sees every input. Source: CS231n "Fully-connected layer"."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from gpunet.layers.bias import emit_bias_backward
from gpunet.layers.layer import Layer, Weights, of, require_bool, require_int, whole
from gpunet.program.builder import Emitter
from gpunet.program.field import Window
from gpunet.program.tensor import Tensor
from gpunet.program.volume import Volume


@dataclass(frozen=True)
class FC(Layer):
    """K outputs as a 1x1xK volume; parameters w (K, inputs), inputs flattened H, W, D, and, with a bias, b (K,)."""

    K: int
    bias: bool = True

    type: ClassVar[str] = "fc"
    word: ClassVar[str] = "FC"
    count: ClassVar[str] = "K"

    def __post_init__(self) -> None:
        require_int("K", self.K)
        require_bool("bias", self.bias)

    def output(self, *inputs: Volume) -> Volume:
        return Volume(1, 1, self.K)

    def weights(self, *inputs: Volume) -> tuple[Weights, ...]:
        (volume,) = inputs
        w = Weights("w", (self.K, volume.values), volume.values)
        return (w, Weights("b", (self.K,))) if self.bias else (w,)

    def window(self, *inputs: Volume) -> tuple[Window, Window]:
        return whole(*inputs)

    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        y = emit.activation("y", (1, 1, self.K))
        workspace = self._workspace(emit, "gemm", x, emit.batch, self.K)
        w, b = emit.weights("w"), emit.parameters.get("b")
        emit.op("fc_forward", (x, w, b), (y,), (workspace,), flops=self._flops(x))
        emit.kept["x"] = x
        return y

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        x = emit.kept["x"]
        values = of(x).values
        if not emit.frozen:
            workspace = self._workspace(emit, "dw_gemm", x, self.K, values, accumulate=emit.accumulates)
            dw, flops = emit.gradients["w"], self._flops(x)
            emit.op("fc_backward_weights", (x, dy), (dw,), (workspace,), flops=flops, attributes={"accumulate": 0})
            if self.bias:
                emit_bias_backward(emit, dy, emit.gradients["b"])
        if not needs_dx:
            return ()
        dx = emit.gradient("dx", x)
        workspace = self._workspace(emit, "dx_gemm", x, emit.batch, values)
        emit.op("fc_backward_input", (dy, emit.weights("w")), (dx,), (workspace,), flops=self._flops(x))
        return (dx,)

    def _workspace(
        self, emit: Emitter, name: str, x: Tensor, rows: int, columns: int, *, accumulate: bool = False
    ) -> Tensor | None:
        """What a product of (rows, columns) wants beside it, or wide copies of what it takes and makes."""
        if not emit.multiplies_wide:
            return emit.gemm_workspace(name, rows, columns, accumulate=accumulate)
        return emit.workspace(name, (prod(x.shape) + emit.batch * self.K + rows * columns * accumulate,))

    def _flops(self, x: Tensor) -> int:
        """One multiplication and one addition for each weight and image."""
        return 2 * self.K * prod(x.shape)
