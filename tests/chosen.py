"""Targets that have every convolution run by one algorithm, whatever the device prefers."""

from dataclasses import dataclass, fields

from gpunet.devices import target
from gpunet.devices.cuda.target import CudaTarget
from gpunet.program.algorithm import Algorithm, AlgorithmName, Math, Pass
from gpunet.program.filters import ConvShape


@dataclass(frozen=True, slots=True)
class Chosen(CudaTarget):
    """A card on which convolutions run by this algorithm in this flat scratch, the gradients of weights too."""

    algorithm: AlgorithmName = "im2col"
    workspace_bytes: int = 0
    slices: int = 1

    def conv_algorithm(
        self, pass_: Pass, shape: ConvShape, *, dtype: str, math: Math, scratch_limit_bytes: int
    ) -> Algorithm:
        columns = self.algorithm == "im2col" and not shape.is_product
        return Algorithm(self.algorithm, columns, self.workspace_bytes, slices=self.slices)


def chosen(gpu: str, algorithm: AlgorithmName = "im2col", workspace_bytes: int = 0, slices: int = 1) -> Chosen:
    """A card by its name, for which all convolutions run by one algorithm."""
    card = target("cuda", gpu)
    known = {field.name: getattr(card, field.name) for field in fields(card)}
    return Chosen(**known, algorithm=algorithm, workspace_bytes=workspace_bytes, slices=slices)
