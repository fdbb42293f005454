"""Fully connected layer: every output sees every input. Source: CS231n "Fully-connected layer"."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from gpunet.layers.bias import emit_bias_backward
from gpunet.layers.layer import Layer, Weights, of, require_bool, require_int, whole
from gpunet.program.algorithm import ON_TENSOR_CORES, Pass
from gpunet.program.builder import Emitter
from gpunet.program.field import Window
from gpunet.program.filters import ConvShape, Filters
from gpunet.program.program import Attribute
from gpunet.program.tensor import ITEMSIZE, Tensor
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
        w, b = emit.weights("w"), emit.parameters.get("b")
        how, workspace = self._chosen(emit, "forward", x)
        emit.op("fc_forward", (x, w, b), (y,), (workspace,), flops=self._flops(x), attributes=how)
        emit.kept["x"] = x
        return y

    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        x = emit.kept["x"]
        if not emit.frozen:
            how, workspace = self._chosen(emit, "backward_weights", x)
            dw, flops = emit.gradients["w"], self._flops(x)
            numbers: dict[str, Attribute] = {**how, "accumulate": 0}
            emit.op("fc_backward_weights", (x, dy), (dw,), (workspace,), flops=flops, attributes=numbers)
            if self.bias:
                emit_bias_backward(emit, dy, emit.gradients["b"])
        if not needs_dx:
            return ()
        dx = emit.gradient("dx", x)
        how, workspace = self._chosen(emit, "backward_input", x)
        dy_and_w = dy, emit.weights("w")
        emit.op("fc_backward_input", dy_and_w, (dx,), (workspace,), flops=self._flops(x), attributes=how)
        return (dx,)

    def _chosen(self, emit: Emitter, pass_: Pass, x: Tensor) -> tuple[Mapping[str, Attribute], Tensor | None]:
        """How the device makes this product, and its scratch: on tensor cores as a convolution of one position."""
        values = of(x).values
        name = {"forward": "gemm", "backward_input": "dx_gemm", "backward_weights": "dw_gemm"}[pass_]
        shape = ConvShape(emit.batch, 1, 1, values, 1, 1, self.K, 1, Filters(1, 1, 1, 1, 0, 0, 1, 1))
        found = emit.conv_algorithm(pass_, shape)
        if found.name in ON_TENSOR_CORES:
            size = -(-found.workspace_bytes // ITEMSIZE[emit.wide])
            return found.attributes, emit.workspace(name, (size,))
        rows = self.K if pass_ == "backward_weights" else emit.batch
        columns = self.K if pass_ == "forward" else values
        accumulates = pass_ == "backward_weights" and emit.accumulates
        return {}, self._workspace(emit, name, x, rows, columns, accumulate=accumulates)

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
