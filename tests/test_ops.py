"""The two devices offer the same ops: same names, in files of the same names, with the same parameters."""

import inspect
from collections.abc import Callable

import numpy as np
import pytest

from gpunet.devices import open_device
from gpunet.devices.cuda.device import CudaDevice
from gpunet.devices.device import Device
from tests.emulator.driver import EmulatorDriver
from tests.op_calls import OPS, Draw

CPU = open_device("cpu").ops
CUDA = CudaDevice(EmulatorDriver()).ops


def test_both_devices_have_the_same_ops() -> None:
    assert set(CPU) == set(CUDA) == set(OPS)


@pytest.mark.parametrize("op", OPS)
def test_an_op_has_the_same_parameters_and_file_on_both_devices(op: str) -> None:
    assert _parameters(CPU[op]) == _parameters(CUDA[op])
    assert _file(CPU[op]) == _file(CUDA[op])


@pytest.mark.parametrize("op", OPS)
def test_arrays_come_by_position_and_numbers_by_keyword(op: str) -> None:
    numbers = {name for name, kind in _parameters(CPU[op]) if kind is inspect.Parameter.KEYWORD_ONLY}
    hints = inspect.get_annotations(CPU[op], eval_str=True)
    assert numbers == {name for name, hint in hints.items() if hint in (int, float, str)}
    assert hints["return"] is None


@pytest.mark.parametrize("op", OPS)
def test_cuda_agrees_with_the_cpu_on_random_cases(op: str, rng: np.random.Generator) -> None:
    cpu, cuda = open_device("cpu"), CudaDevice(EmulatorDriver())
    for dtype, tolerance in [(np.float32, 1e-5), (np.float64, 1e-13)] * 8:
        case = Draw(rng, dtype).call(op)
        for expected, found in zip(case.run(cpu), case.run(cuda), strict=True):
            finite = np.abs(expected[np.isfinite(expected)])
            scale = finite.max(initial=1) if expected.dtype == dtype else 0
            np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale, err_msg=str(case.attributes))


@pytest.mark.parametrize("op", OPS)
def test_arrays_may_begin_behind_any_value(device: Device, op: str, rng: np.random.Generator) -> None:
    """As some images of a larger batch do: a GPU moves several values at once only from some addresses."""
    for dtype in (np.float32, np.float64) * 3:
        case = Draw(rng, dtype, whole=True).call(op)
        aligned = [values.tobytes() for values in case.run(device)]
        count = len(case.inputs) + len(case.outputs)
        for places in [{i: 1} for i in range(count)] + [dict.fromkeys(range(count), values) for values in (1, 2, 3)]:
            for in_place in (None, *case.aliases):
                assert [values.tobytes() for values in case.run(device, in_place, places)] == aligned, places


def _parameters(op: Callable[..., None]) -> list[tuple[str, object]]:
    return [(parameter.name, parameter.kind) for parameter in inspect.signature(op).parameters.values()]


def _file(op: Callable[..., None]) -> str:
    return op.__module__.rpartition(".")[2]
