"""What the emulator catches and a GPU would let pass, misread or run over."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.errors import DeviceError
from tests.emulator.bench import Bench
from tests.emulator.driver import EmulatorDriver, EmulatorError


def test_a_shuffle_that_a_lane_of_its_mask_misses_is_an_error(bench: Callable[..., Bench]) -> None:
    b = bench(
        "KERNEL miss(real* y) { const int i = threadIdx.x;\n"
        "if (i < 16) y[i] = __shfl_down_sync(0xFFFFFFFFu, y[i], 8);\n"
        "else __syncthreads(); }"
    )
    with pytest.raises(
        EmulatorError, match=r"try\.miss, block 0.*__shfl_down_sync at try\.cu:2.*__syncthreads at try\.cu:3"
    ):
        b.run("miss", b.array(np.zeros(32, np.float32)), block=32)


def test_a_barrier_that_some_threads_never_reach_is_an_error(bench: Callable[..., Bench]) -> None:
    b = bench(
        "KERNEL early(real* y, long long count) {\n"
        "if (blockIdx.x == 1 && threadIdx.x < count) return;\n"
        "__syncthreads();\n}"
    )
    with pytest.raises(EmulatorError, match=r"try\.early, block 1: .*threads 0 1 ended; .*2 3.* at try\.cu:3"):
        b.run("early", None, 2, grid=2, block=4)


def test_waiting_at_different_barriers_is_an_error(bench: Callable[..., Bench]) -> None:
    b = bench("KERNEL two(long long count) {\nif (threadIdx.x < count)\n__syncthreads();\nelse\n__syncthreads();\n}")
    with pytest.raises(EmulatorError, match=r"threads 0 1 2 wait for .*:3; threads 3 4 wait for .*:5"):
        b.run("two", 3, block=5)
    b.run("two", 5, block=5)


def test_shared_memory_nobody_wrote_is_nan_in_every_block(bench: Callable[..., Bench]) -> None:
    """So a missing barrier shows: the neighbour's value is not there yet."""
    b = bench(
        """KERNEL neighbour(real* y) {
            __shared__ real held[BLOCK];
            held[threadIdx.x] = 1;
            y[blockIdx.x * blockDim.x + threadIdx.x] = held[(threadIdx.x + 1) % blockDim.x];
        }"""
    )
    y = b.array(np.zeros((3, 64), np.float32))
    b.run("neighbour", y, grid=3, block=64)
    assert np.isnan(b.read(y)[:, :-1]).all()


def test_a_pack_between_packs_is_an_error(bench: Callable[..., Bench]) -> None:
    b = bench(
        """struct alignas(16) Four { float value[4]; };
        KERNEL copy(const float* x, float* y) {
            const int i = threadIdx.x;
            *PACK_AT(reinterpret_cast<Four*>(y) + i) = *PACK_AT(reinterpret_cast<const Four*>(x) + i);
        }"""
    )
    values = np.arange(12, dtype=np.float32)
    x, y = b.array(values), b.array(np.zeros(12, np.float32))
    b.run("copy", x, y, block=3)
    np.testing.assert_array_equal(b.read(y), values)
    for places in ((x.rows(1, 12), y), (x, y.rows(1, 12))):
        with pytest.raises(EmulatorError, match=r"try\.copy, block 0: thread 0 moves 16 bytes at once 4 bytes behind"):
            b.run("copy", *places, block=2)


WRONG_ARGUMENTS: dict[str, tuple[Callable[[DeviceArray], tuple[Any, ...]], str]] = {
    "a float for a long long": (lambda y: (y, 1.0, 1.0), "argument 1: the kernel takes i8, not f4"),
    "an int for a real": (lambda y: (y, 1, 1), "argument 2: the kernel takes f4, not i8"),
    "a number for a pointer": (lambda y: (1, 1, 1.0), "argument 0: the kernel takes pf4, not i8"),
    "too few": (lambda y: (y, 1), "takes 3 arguments"),
    "too many": (lambda y: (y, 1, 1.0, 1), "takes 3 arguments"),
    "another dtype": (
        lambda y: (DeviceArray(y.pointer, (1,), np.dtype(np.float64), y.driver), 1, 1.0),
        "argument 0: the kernel takes pf4, not pf8",
    ),
}


@pytest.mark.parametrize("case", WRONG_ARGUMENTS)
def test_arguments_that_a_gpu_would_misread_are_errors(bench: Callable[..., Bench], case: str) -> None:
    b = bench("KERNEL take(real* y, long long count, real a) { if (threadIdx.x < count) y[threadIdx.x] = a; }")
    y = b.array(np.zeros(2, np.float32))
    arguments, message = WRONG_ARGUMENTS[case]
    with pytest.raises(EmulatorError, match=message):
        b.run("take", *arguments(y), block=2)
    b.run("take", y, 2, 3.0, block=2)
    np.testing.assert_array_equal(b.read(y), [3, 3])


def test_a_launch_that_cuda_refuses_is_an_error(bench: Callable[..., Bench]) -> None:
    b = bench("KERNEL nothing(real* y) {}")
    for grid, block in ((1, 129), (0, 1), (1, 0), (2**31, 1)):
        with pytest.raises(DeviceError, match="__launch_bounds__ are 128"):
            b.run("nothing", None, grid=grid, block=block)
    with pytest.raises(DeviceError, match=r"no kernel try\.something; there are nothing"):
        b.run("something", None)


@pytest.mark.parametrize("index", [-1, 5])
def test_a_write_outside_of_an_allocation_is_an_error(bench: Callable[..., Bench], index: int) -> None:
    b = bench("KERNEL stray(real* y, long long index) { y[index] = 0; }")
    y = b.array(np.zeros(5, np.float32))
    b.run("stray", y, 4, block=1)
    with pytest.raises(EmulatorError, match=r"try\.stray wrote outside of an allocation of 20 bytes"):
        b.run("stray", y, index, block=1)


def test_arrays_outside_of_allocated_memory_are_errors(bench: Callable[..., Bench]) -> None:
    b = bench("KERNEL nothing(real* y) {}")
    memory = b.driver.allocate(64)
    inside = DeviceArray(memory.pointer, (16,), np.dtype(np.float32), b.driver)
    b.run("nothing", inside)
    with pytest.raises(EmulatorError, match="not all in memory that is allocated"):
        b.run("nothing", DeviceArray(memory.pointer, (17,), np.dtype(np.float32), b.driver))
    b.driver.free(memory)
    for use in (lambda: b.run("nothing", inside), lambda: b.read(inside), lambda: b.driver.fill(inside.pointer, 0, 1)):
        with pytest.raises(EmulatorError, match="not all in memory that is allocated"):
            use()


def test_memory_runs_out_as_on_a_gpu(bench: Callable[..., Bench]) -> None:
    driver = EmulatorDriver(total_bytes=1000)
    first = driver.allocate(600)
    with pytest.raises(DeviceError, match="400 of 1000 bytes free; 401"):
        driver.allocate(401)
    driver.free(first)
    assert driver.memory() == (1000, 1000)
    assert driver.allocate(1000).pointer % 256 == 0
