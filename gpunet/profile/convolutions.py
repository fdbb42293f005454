"""The distinct convolutions of a net's step, each on its own, by every algorithm that a device has for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from gpunet.compile.lower import lower
from gpunet.devices.algorithms import candidates
from gpunet.devices.device import Array, Device
from gpunet.devices.target import DeviceTarget
from gpunet.net.net import Net
from gpunet.optimize.optimizers import SGD
from gpunet.planning.compiler import require_ops
from gpunet.planning.conv_work import conv_shape, pass_of
from gpunet.planning.tuned import conv_key
from gpunet.program.algorithm import Algorithm, Fusions, Math, Pass
from gpunet.program.filters import ConvShape
from gpunet.program.program import Dtype, Op, RunTime
from gpunet.program.tensor import Tensor


@dataclass(frozen=True)
class ConvCase:
    """A pass of a convolution, and the op that it is by each of the algorithms, the preferred one first.

    `layers`  those that are such a convolution, in order
    """

    key: str
    pass_: Pass
    shape: ConvShape
    algorithms: Sequence[Algorithm]
    ops: list[Op]
    layers: list[str]


def conv_cases(net: Net, batch: int, where: DeviceTarget, dtype: Dtype) -> list[ConvCase]:
    """The distinct convolutions of a step: the net is lowered once for each algorithm that any of them has."""
    found: dict[str, ConvCase] = {}
    ops = _convolutions(net, batch, where, dtype, 0)
    for op, pass_ in ops:
        shape = conv_shape(op, pass_, batch)
        known = candidates_on(where, pass_, shape, dtype, where.scratch_limit_bytes)
        key = conv_key(pass_, shape, dtype)
        case = found.setdefault(key, ConvCase(key, pass_, shape, known, [op], []))
        case.layers.append(op.layer)
    for number in range(1, max((len(case.algorithms) for case in found.values()), default=0)):
        by_place = {(op.layer, pass_): op for op, pass_ in _convolutions(net, batch, where, dtype, number)}
        for case in found.values():
            if number < len(case.algorithms):
                case.ops.append(by_place[case.ops[0].layer, case.pass_])
    order = {op.layer: number for number, (op, _) in reversed([*enumerate(ops)])}
    for case in found.values():
        case.layers.sort(key=order.__getitem__)
    return sorted(found.values(), key=lambda case: order[case.layers[0]])


def _convolutions(net: Net, batch: int, where: DeviceTarget, dtype: Dtype, number: int) -> list[tuple[Op, Pass]]:
    """The ops of convolutions of a step in which each runs by its candidate of that number, and their passes."""
    program = lower(
        net,
        batch=batch,
        mode="train",
        dtype=dtype,
        optimizer=SGD(),
        target=_Forced(where, number),
        scratch_limit_bytes=where.scratch_limit_bytes,
    )
    require_ops(net, program, where.name)
    return [(op, pass_) for op in program.ops if (pass_ := pass_of(op)) is not None]


def candidates_on(
    where: DeviceTarget, pass_: Pass, shape: ConvShape, dtype: str, scratch_limit_bytes: int
) -> Sequence[Algorithm]:
    """The algorithms that a device has for a convolution, the preferred one first."""
    return candidates(
        pass_,
        shape,
        dtype=dtype,
        math="exact",
        device=where.name,
        capability=where.compute_capability,
        scratch_limit_bytes=scratch_limit_bytes,
    )


@dataclass(frozen=True)
class _Forced:
    """A target that has each convolution run by one of its candidates, the last where there are fewer."""

    of: DeviceTarget
    number: int

    @property
    def name(self) -> str:
        return self.of.name

    @property
    def gathers_windows(self) -> bool:
        return self.of.gathers_windows

    @property
    def calls_cost(self) -> bool:
        return self.of.calls_cost

    @property
    def fusions(self) -> Fusions:
        return self.of.fusions

    def product_dtype(self, dtype: str) -> str:
        return self.of.product_dtype(dtype)

    def gemm_workspace_bytes(self, rows: int, columns: int, itemsize: int, *, accumulate: bool) -> int:
        return self.of.gemm_workspace_bytes(rows, columns, itemsize, accumulate=accumulate)

    def conv_algorithm(
        self, pass_: Pass, shape: ConvShape, *, dtype: str, math: Math, scratch_limit_bytes: int
    ) -> Algorithm:
        found = candidates_on(self.of, pass_, shape, dtype, scratch_limit_bytes)
        return found[min(self.number, len(found) - 1)]


# -- running one -----------------------------------------------------------------------------------


class Room:
    """An arena in which each of some ops has its arguments, one op at a time.

    Raises DeviceError where the device has not that much memory.
    """

    def __init__(self, ops: Sequence[Op], device: Device) -> None:
        self._device = device
        self._arena = device.allocate(room_bytes(ops))

    def arrays(self, op: Op, values: Callable[[Tensor], np.ndarray]) -> list[Array | None]:
        """The arguments of an op, one behind the other; its inputs hold `values`."""
        found: list[Any] = []
        offset = 0
        for tensor in op.arguments:
            found.append(None if tensor is None else self._arena.view(offset, tensor.shape, tensor.dtype))
            offset += 0 if tensor is None else _rounded(tensor)
            if tensor is not None and tensor in op.inputs:
                self._device.write(found[-1], values(tensor))
        return found

    def spoil(self) -> None:
        """Fill all of it with NaN."""
        self._arena.fill(0, self._arena.nbytes, 0xFF)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._arena.free()


def room_bytes(ops: Sequence[Op]) -> int:
    """The most bytes that the arguments of one of these ops take."""
    return max(sum(_rounded(tensor) for tensor in op.arguments if tensor is not None) for op in ops)


def random_values(tensor: Tensor) -> np.ndarray:
    """Normal values, the same for the same shape; a block of a million is repeated."""
    block = np.random.default_rng(tensor.shape).standard_normal(2**20, np.float32)
    return np.resize(block, tensor.shape).astype(tensor.dtype, copy=False)


def numbers(op: Op) -> dict[str, float | str]:
    """The attributes of an op that is run on its own, once."""
    return {name: 0 if isinstance(one, RunTime) else one for name, one in op.attributes.items()}


def _rounded(tensor: Tensor) -> int:
    """Bytes of a tensor, rounded up to the alignment."""
    return -(-tensor.nbytes // DeviceTarget.alignment) * DeviceTarget.alignment
