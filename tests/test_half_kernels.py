"""Kernels of volumes in halves: every op that makes no products against the CPU's of the same type."""

import numpy as np
import pytest

from gpunet import LRN, AvgPool, BatchNorm, Dropout, LocallyConnected, MaxPool, Model, Net, ReLU, Sigmoid
from gpunet.devices import open_device
from gpunet.devices.cuda.device import CudaDevice
from gpunet.devices.cuda.launch import launch, real_of
from gpunet.devices.cuda.nvrtc import TYPES
from gpunet.devices.cuda.source import kernel_files
from gpunet.devices.device import Device
from gpunet.errors import DeviceError
from gpunet.program.program import Dtype
from gpunet.program.tensor import HALVES
from gpunet.values.types import as_numbers, numpy_type
from tests.emulator.driver import EmulatorDriver
from tests.geometries import Geometry
from tests.half_calls import HALF_FILES, OPS_IN_HALVES, in_halves
from tests.op_calls import FILES, Call, Draw
from tests.ops import Spec, new, put, run_op
from tests.ptx.driver import PtxDriver
from tests.test_implicit import Case

OF_THE_NET = {
    "augment",
    "average_pool",
    "batch_norm",
    "cast",
    "dropout",
    "image",
    "local",
    "lrn",
    "pool",
    "relu",
    "squash",
}
"""Files of what the net below calls: they are compiled for one type alone."""

LONG = {"by_axis"}
"""Files that take long to compile."""

OLDEST = {"float16": "75", "bfloat16": "80"}
"""Architectures, by the type that they have."""

SUM = 2e-6
"""What float32 sums in another order may be off, of the largest value."""


def spacing(values: np.ndarray, dtype: str) -> np.ndarray:
    """From each value to the next of its type."""
    bits, least = (10, -14) if dtype == "float16" else (7, -126)
    sizes = np.abs(np.where(np.isfinite(values), values, 0)).astype(np.float64)
    return 2.0 ** (np.maximum(np.floor(np.log2(np.maximum(sizes, 1e-300))), least) - bits)


def check(call: Call, dtype: str, *devices: Device) -> None:
    """The CPU's values on all devices: a unit of the half type apart at most, of a hundred values one."""
    expected = call.run(open_device("cpu"))
    halves = [np.dtype(_spec(tensor)[1]).itemsize == 2 for tensor in call.outputs[call.spent :]]
    inputs = [as_numbers(given) for given in call.inputs if given is not None and given.dtype != np.uint8]
    scale = max((largest(given) for given in inputs if given.dtype.kind == "f"), default=0.0)
    for device in devices:
        for found, values, half in zip(call.run(device), expected, halves, strict=True):
            if values.dtype.kind != "f":
                np.testing.assert_array_equal(found, values)
                continue
            rough = SUM * max(largest(values), scale / 10)
            same = (found == values) | (np.isnan(found) & np.isnan(values))
            with np.errstate(invalid="ignore"):
                apart = np.where(same, 0, np.abs(found.astype(np.float64) - values))
            assert (apart <= rough + (spacing(values, dtype) if half else 0)).all()
            assert np.count_nonzero(apart > rough) <= max(1, apart.size // 100)


def check_in_place(call: Call, device: Device) -> None:
    """Where an output may lie over an input, it gives the same bits there."""
    apart = call.run(device)
    for in_place in call.aliases:
        for found, values in zip(call.run(device, in_place), apart, strict=True):
            np.testing.assert_array_equal(found, values)


def largest(values: np.ndarray) -> float:
    return float(np.abs(values[np.isfinite(values)]).max(initial=0))


def _spec(tensor: Spec | np.ndarray) -> Spec:
    return (tensor.shape, tensor.dtype) if isinstance(tensor, np.ndarray) else tensor


class Packs(Draw):
    """Draws depths that are whole packs of halves."""

    def depth(self) -> int:
        return int(self.rng.choice([8, 16]))


def draws(op: str, rng: np.random.Generator, dtype: str) -> list[Call]:
    """Random calls: of volumes that kernels take in packs, and of any."""
    return [in_halves(kind(rng).call(op), dtype) for kind in (Packs, Draw)]


@pytest.mark.parametrize(
    "op", [pytest.param(op, marks=pytest.mark.slow if FILES[op] in LONG else ()) for op in OPS_IN_HALVES]
)
def test_the_device_code_gives_the_cpus_halves(op: str, rng: np.random.Generator) -> None:
    """In one type, that of all ops of a file; in both when there is time."""
    dtype = "float16" if FILES[op] in OF_THE_NET else "bfloat16"
    device = CudaDevice(PtxDriver("random", architecture="80", watches=True))
    for call in draws(op, rng, dtype):
        check(call, dtype, device)
        check_in_place(call, device)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("op", OPS_IN_HALVES)
def test_so_does_every_op_in_both_types(op: str, dtype: str, rng: np.random.Generator) -> None:
    devices = [
        CudaDevice(EmulatorDriver("random")),
        *(CudaDevice(PtxDriver("random", architecture=one)) for one in (OLDEST[dtype], "90")),
    ]
    for _ in range(4):
        for call in draws(op, rng, dtype):
            check(call, dtype, *devices)
            check_in_place(call, devices[0])


@pytest.mark.parametrize("dtype", HALVES)
def test_the_conversions_are_numpys(dtype: str, rng: np.random.Generator) -> None:
    """Every value there is; ties between neighbours, what is too large or too small; NaN stays NaN."""
    kind = numpy_type(dtype)
    every = np.arange(2**16, dtype=np.uint16).view(kind).reshape(1, 1, 1, -1)
    left = 16 if dtype == "bfloat16" else 13  # bits of a float that a normal value of the type has no room for
    between = (np.arange(2**16, dtype=np.uint32) << left)[:, None] + np.array([-1, 0, 1]) + 2 ** (left - 1)
    bits = np.concatenate([between.astype(np.uint32).reshape(-1), rng.integers(0, 2**32, 999, np.uint32)])
    x = bits.view(np.float32).reshape(1, 1, 1, -1)
    device = CudaDevice(PtxDriver(architecture=OLDEST[dtype]))
    (wide,) = run_op(device, "cast_forward", [every], [(every.shape, np.float32)])
    np.testing.assert_array_equal(wide, every.astype(np.float32))
    (narrow,) = run_op(device, "cast_forward", [x], [(x.shape, kind)])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(narrow, x.astype(kind).astype(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", HALVES)
def test_the_emulator_and_the_device_code_convert_alike(dtype: str, rng: np.random.Generator) -> None:
    kind = numpy_type(dtype)
    x = rng.integers(0, 2**32, 2**16, np.uint32).view(np.float32).reshape(1, 1, 1, -1)
    drivers = EmulatorDriver(), PtxDriver(architecture=OLDEST[dtype]), PtxDriver(architecture="90")
    found = [run_op(CudaDevice(driver), "cast_forward", [x], [(x.shape, kind)])[0] for driver in drivers]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_arrays_of_halves_are_written_and_read(cuda_device: Device) -> None:
    """From whatever the host has, rounded; as float32, which says the same; too large is infinite."""
    values = np.array([1 / 3, -2.5, 1e9, np.nan, 65504], np.float64)
    for dtype in HALVES:
        kind = numpy_type(dtype)
        array = new(cuda_device, (5,), kind)
        cuda_device.write(array, values)
        with np.errstate(over="ignore"):
            expected = values.astype(kind).astype(np.float32)
        found = cuda_device.read(array)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


def test_kernels_of_a_half_type_take_float32_beside_it() -> None:
    device = CudaDevice(EmulatorDriver())
    single, double, half, other, mask = (
        put(device, np.zeros(3, kind)) for kind in (np.float32, np.float64, *map(numpy_type, HALVES), np.uint8)
    )
    assert real_of("k", [half, single, double, mask]).name == "float16"
    assert real_of("k", [other, single]).name == "bfloat16"
    assert real_of("k", [single, double]).name == "float32"
    for wrong in ([half, other], [mask]):
        with pytest.raises(TypeError, match=r"k needs arrays of one float dtype"):
            real_of("k", wrong)
    assert {name for name, (stored, real) in TYPES.items() if stored != real} == set(HALVES)


def test_a_kernel_that_knows_no_halves_is_refused_in_words() -> None:
    """It would read two halves as a float."""
    device = CudaDevice(EmulatorDriver())
    half, single = (new(device, (3,), kind) for kind in (np.float16, np.float32))
    words = r"the kernel add_loss takes no float16, .* make them stored\*, or use float32"
    with pytest.raises(DeviceError, match=words):
        launch("loss", "add_loss", 1, half, single, 1.0)


def test_volumes_of_every_kernel_may_lie_in_halves_but_those_of_losses_and_of_what_learns() -> None:
    products = "conv", "implicit", "slices", "tensor", "thrice", "winograd"
    without = {file for file in kernel_files() if file not in HALF_FILES and not file.startswith(products)}
    assert without == {"clip", "hinge", "loss", "scaling", "softmax", "update"}


@pytest.mark.parametrize("dtype", ["float16", pytest.param("bfloat16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("groups, K", [(8, 1), (3, 2)])
def test_depthwise_filters_give_what_the_loops_give(dtype: str, groups: int, K: int, rng: np.random.Generator) -> None:
    """x, w and dy in halves, the bias and dw in float32, against float64 sums of the same values, rounded once."""
    kind, device = numpy_type(dtype), CudaDevice(PtxDriver("random", architecture="80", watches=True))
    case = Case(rng, Geometry(7, 5, F=3, S=2, P=1), N=2, D=1, K=K, groups=groups)
    x, w, dy = (values.astype(kind) for values in (case.x, case.w, case.dy))
    case.x, case.w, case.dy = (as_numbers(values) for values in (x, w, dy))
    how = {**case.geometry.conv_numbers, "algorithm": "depthwise", "slices": 2}
    scratch = [None, ((2 * w.size,), np.float32)]
    calls = {
        "forward": ((x, w, case.b), (dy.shape, kind)),
        "backward_input": ((dy, w), (x.shape, kind)),
        "backward_weights": ((x, dy), (w.shape, np.float32)),
    }
    for pass_, expected in case.expected().items():
        inputs, output = calls[pass_]
        (found,) = run_op(device, f"conv_{pass_}", inputs, [output], scratch, **how)
        unit = spacing(expected, dtype) if output[1] == kind else 0
        assert (np.abs(found - expected) <= unit + SUM * largest(expected)).all()


# ---- whole steps ----


@pytest.mark.parametrize("dtype", ["float16", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_training_steps_are_the_cpus(dtype: Dtype, rng: np.random.Generator) -> None:
    """Of a net without products of matrices, whose kernels are others; with loss scaling where that is."""
    first = [LocallyConnected(8, F=3, P=1), BatchNorm(), ReLU(), MaxPool(), LocallyConnected(8, F=1), LRN(), Sigmoid()]
    net = Net("8x8x3", [*first, Dropout(0.3), AvgPool(), LocallyConnected(3, F=2, P=0)])
    images = rng.integers(0, 256, (3, 6, 8, 8, 3)).astype(np.uint8)
    labels = rng.integers(0, 3, (3, 6))
    devices = open_device("cpu"), CudaDevice(PtxDriver("random", architecture="80", watches=True))
    models = [Model(net, 6, device, dtype=dtype, seed=3, debug=True) for device in devices]
    losses = [[model.step(images[i], labels[i]) for i in range(3)] for model in models]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    expected, found = (model.parameters for model in models)
    for name in expected:
        near = 1e-3 * largest(expected[name])  # a value that was rounded the other way is a unit of the half type apart
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=near)
