"""Results before times: every op of a net against float64 on the CPU, from the very values that it got.

A time without correctness says little: a pass that leaves a gradient out is fast. Each op of the float64 net is given
what the tested op was given, so errors do not add up and no rounding turns a maximum or a sign.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from math import inf, isfinite

import numpy as np

from gpunet.bench.cases import Case
from gpunet.bench.passes import Passes
from gpunet.devices import open_device, target
from gpunet.devices.device import Device
from gpunet.devices.target import DeviceTarget
from gpunet.errors import GpunetError
from gpunet.program.program import Op

BATCH = 2
"""Images that are enough to be wrong."""

TOLERANCE = 1e-4
"""Largest difference to float64, as a part of the largest value."""


@dataclass(frozen=True, slots=True)
class Check:
    """The largest difference to float64, as a part of the largest value of its tensor.

    Infinite for NaN, and for what was not written.

    `where`  the op and the tensor
    """

    error: float
    where: str

    @property
    def holds(self) -> bool:
        return self.error <= TOLERANCE


class WrongResult(GpunetError):
    """An op does not compute what it should."""

    exit_code = 1


def require_right(case: Case, device: Device, where: DeviceTarget) -> Check:
    """What `check` finds. Raises WrongResult where that is beyond the tolerance."""
    found = check(case, device, where)
    if not found.holds:
        raise WrongResult(
            f"{case.name}: {found.where} is off from float64 by {found.error:.2g} of the largest value, where "
            f"{TOLERANCE:g} is allowed; it was not timed"
        )
    return found


def check(case: Case, device: Device, where: DeviceTarget) -> Check:
    """Run every op of the case once, for a few images, on the device and in float64.

    Raises DeviceError where the device has too little memory.
    """
    small = replace(case, batch=min(case.batch, BATCH))
    cpu = device if device.name == "cpu" else open_device("cpu")
    with Passes(small, device, where) as tested, Passes(small, cpu, target("cpu"), "float64") as exact:
        _spoil(tested)
        tested.run_all()
        tensors = {tensor.name for op, _ in tested.calls for tensor in (*op.inputs, *op.outputs)}
        copied: set[str] = set()
        found = [_compare(op, call, tested, exact, tensors, copied) for op, call in exact.calls]
    if cpu is not device:
        cpu.close()
    return max(found, key=lambda one: one.error)


def _spoil(passes: Passes) -> None:
    """Fill what ops write with NaN, or with the largest of integers: what is left out shows."""
    for op, _ in passes.calls:
        for tensor in op.outputs:
            whole = tensor.dtype in ("uint8", "int32")
            passes.device.write(passes.view(tensor), np.full(tensor.shape, 255 if whole else np.nan, tensor.dtype))


def _compare(
    op: Op, call: Callable[[], None], tested: Passes, exact: Passes, known: Collection[str], copied: set[str]
) -> Check:
    """Run an op in float64 on what the tested one got, as far as that has such tensors; the worst of its outputs.

    `copied`  tensors that have the tested values already
    """
    for tensor in op.inputs:
        if tensor.name in known and tensor.name not in copied:
            values = tested.device.read(tested.view(tensor))
            exact.device.write(exact.view(tensor), values.astype(tensor.dtype, copy=False))
            copied.add(tensor.name)
    call()
    least = _of_one(op, exact)
    errors = {}
    for tensor in op.outputs:
        if tensor.name in known:
            found, expected = (passes.device.read(passes.view(tensor)) for passes in (tested, exact))
            errors[tensor.name] = _error(found, expected, least)
    worst = max(errors, key=errors.__getitem__, default="")
    return Check(errors.get(worst, 0.0), f"{op.layer}, {op.name}{f' into {worst}' if worst else ''}")


def _of_one(op: Op, exact: Passes) -> float:
    """The largest value of what an op gets, where that is one array: a sum may cancel to nothing but rounding."""
    given = [tensor for tensor in op.inputs if tensor.dtype == "float64"]
    return float(np.abs(exact.device.read(exact.view(given[0]))).max()) if len(given) == 1 else 0.0


def _error(found: np.ndarray, expected: np.ndarray, least: float) -> float:
    """The largest difference over the largest value, or `least` if that is more; of integers the part that differs."""
    if expected.dtype.kind != "f":
        return float(np.mean(found != expected))
    largest = max(float(np.abs(expected).max()), least) or 1.0
    error = float(np.abs(found - expected).max()) / largest
    return error if isfinite(error) else inf
