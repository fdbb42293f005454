"""Memory and arguments of the CUDA device."""

import ctypes
from typing import Any

import numpy as np
import pytest
from ml_dtypes import bfloat16

from gpunet.devices.cuda.arrays import DeviceArray, cast
from gpunet.devices.cuda.device import STAGING_BYTES, CudaDevice
from gpunet.devices.cuda.launch import BLOCK, BLOCKS_PER_MULTIPROCESSOR, launch
from gpunet.devices.cuda.packing import SLOT_BYTES, pack
from gpunet.devices.cuda.source import kernel_folder
from gpunet.errors import DeviceError, ShapeError
from tests.emulator.driver import EmulatorDriver
from tests.ops import put

Real = type[np.floating[Any]]
REALS: tuple[Real, ...] = (np.float32, np.float64)


# ---- arguments and launches ----


def test_arguments_become_what_kernels_read() -> None:
    array = DeviceArray(0x7000_0000_1000, (2,), np.dtype(np.float32), EmulatorDriver())
    for real in REALS:
        expected = [
            (None, np.uintp(0)),
            (array, np.uintp(array.pointer)),
            (-(2**40), np.int64(-(2**40))),
            (0.1, real(0.1)),
        ]
        for argument, value in expected:
            found = cast(argument, np.dtype(real))
            assert found == value and found.dtype == value.dtype


@pytest.mark.parametrize("argument", [True, np.float32(1), np.int64(1), "1", np.zeros(3), 1j])
def test_nothing_else_is_taken_for_an_argument(argument: Any) -> None:
    with pytest.raises(TypeError, match=f"not {type(argument).__name__}"):
        cast(argument, np.dtype(np.float32))


@pytest.mark.parametrize("real", REALS)
def test_packed_arguments_stand_where_their_addresses_say(real: type) -> None:
    driver = EmulatorDriver()
    array = DeviceArray(2**40 + 4096, (3,), np.dtype(real), driver)
    given: list[Any] = [array, None, -3, 0.1, 2**62, -1.5]
    packed = pack(given, np.dtype(real))
    addresses = np.ctypeslib.as_array((ctypes.c_uint64 * len(given)).from_address(packed.pointer))
    for argument, address in zip(given, addresses.tolist(), strict=True):
        expected = cast(argument, np.dtype(real)).tobytes()
        assert ctypes.string_at(address, len(expected)) == expected
    assert len(set(np.diff(addresses))) == 1 and addresses[1] - addresses[0] == SLOT_BYTES


def test_a_table_is_one_argument_of_many_slots() -> None:
    array = DeviceArray(2**40 + 4096, (3,), np.dtype(np.float32), EmulatorDriver())
    packed = pack([3, (array, 7, 9), 0.5], np.dtype(np.float32))
    first, table, last = (ctypes.c_uint64 * 3).from_address(packed.pointer)
    assert list((ctypes.c_int64 * 3).from_address(table)) == [array.pointer, 7, 9]
    assert ctypes.c_int64.from_address(first).value == 3 and ctypes.c_float.from_address(last).value == 0.5


class Recorder(EmulatorDriver):
    """Notes launches instead of running them."""

    multiprocessors = 3

    def prepare(
        self, file: str, kernel: str, grid: int, block: int, *arguments: Any, real: np.dtype, shared: int = 0
    ) -> Any:
        self.noted = (file, kernel, grid, block, arguments, real.name)
        return lambda: None


@pytest.mark.parametrize("count, grid", [(1, 1), (BLOCK, 1), (BLOCK + 1, 2), (10**12, 3 * BLOCKS_PER_MULTIPROCESSOR)])
def test_a_launch_covers_all_items_with_a_grid_that_suits_the_gpu(count: int, grid: int) -> None:
    driver = Recorder()
    x = DeviceArray(0, (1,), np.dtype(np.float64), driver)
    switches = DeviceArray(0, (1,), np.dtype(np.uint8), driver)
    launch("pool", "forward", count, switches, x, None, 3)
    assert driver.noted == ("pool", "forward", grid, BLOCK, (switches, x, None, 3), "float64")


def test_a_launch_needs_one_float_dtype_and_something_to_do() -> None:
    driver = Recorder()
    single, double = (DeviceArray(0, (1,), np.dtype(real), driver) for real in REALS)
    half, other = (DeviceArray(0, (1,), np.dtype(real), driver) for real in (np.float16, bfloat16))
    with pytest.raises(TypeError, match=r"bfloat16.*float16"):
        launch("pool", "forward", 1, half, other)
    launch("pool", "forward", 1, single, half)  # of volumes in halves the sums are not
    assert driver.noted[-1] == "float16"
    launch("pool", "forward", 1, single, double)  # numbers that change from step to step
    assert driver.noted[-1] == "float32"
    del driver.noted
    with pytest.raises(TypeError, match="none"):
        launch("pool", "forward", 1, DeviceArray(0, (1,), np.dtype(np.uint8), driver))
    launch("pool", "forward", 0, single)
    assert not hasattr(driver, "noted")


def test_blocks_have_as_many_threads_as_kernels_expect() -> None:
    assert f"constexpr int BLOCK = {BLOCK};" in (kernel_folder() / "common.cuh").read_text()


# ---- memory ----


def test_values_arrive_converted_from_any_layout(cuda_device: CudaDevice, rng: np.random.Generator) -> None:
    doubles = rng.normal(size=(5, 6, 4))
    for values in (doubles, doubles.astype(np.float32), doubles[::2, ::-1], doubles.T, np.array(3.5), doubles[:0]):
        array = put(cuda_device, np.zeros(np.shape(values), np.float32))
        cuda_device.write(array, values)
        np.testing.assert_array_equal(cuda_device.read(array), np.asarray(values, np.float32))


def test_large_values_are_converted_in_parts(cuda_device: CudaDevice, rng: np.random.Generator) -> None:
    values = rng.integers(0, 255, size=(7, STAGING_BYTES // 16 + 1), dtype=np.uint8)
    array = put(cuda_device, np.zeros(values.shape, np.float32))
    cuda_device.write(array, values)
    np.testing.assert_array_equal(cuda_device.read(array), values)
    wide = rng.integers(0, 255, size=(2, STAGING_BYTES // 4 + 3), dtype=np.uint8)
    array = put(cuda_device, np.zeros(wide.shape, np.float32))
    cuda_device.write(array, wide)
    np.testing.assert_array_equal(cuda_device.read(array), wide)


def test_values_may_change_as_soon_as_they_are_written(cuda_device: CudaDevice) -> None:
    values = np.full(2**20, 7, np.float32)
    array = put(cuda_device, values)
    values[:] = 0
    assert (cuda_device.read(array) == 7).all()


def test_an_arena_gives_views_of_its_own_bytes_only(cuda_device: CudaDevice) -> None:
    arena = cuda_device.allocate(1000)
    whole = arena.view(0, (1000,), "uint8")
    assert whole.pointer % 256 == 0
    arena.fill(0, 1000, 0xFF)
    arena.fill(256, 8, 1)
    assert np.isnan(cuda_device.read(arena.view(512, (122,), "float32"))).all()
    np.testing.assert_array_equal(cuda_device.read(arena.view(256, (2,), "int32")), [0x01010101] * 2)
    for wrong in (
        lambda: arena.view(0, (1001,), "uint8"),
        lambda: arena.view(-1, (1,), "uint8"),
        lambda: arena.fill(999, 2, 0),
    ):
        with pytest.raises(ShapeError, match="arena of 1000"):
            wrong()
    arena.free()
    with pytest.raises(DeviceError, match="after its memory was given back"):
        arena.view(0, (1,), "uint8")


def test_memory_given_back_can_be_had_again(cuda_device: CudaDevice) -> None:
    before, _ = cuda_device.driver.memory()
    arena = cuda_device.allocate(2**26)
    during, total = cuda_device.driver.memory()
    assert before - during >= 2**26 and total >= before
    arena.free()
    assert cuda_device.driver.memory()[0] - during >= 2**26


def test_too_large_an_arena_names_the_bytes(cuda_device: CudaDevice) -> None:
    _, total = cuda_device.driver.memory()
    with pytest.raises(DeviceError, match=str(2 * total)):
        cuda_device.allocate(2 * total)


def test_rows_and_shapes_of_an_array_are_checked() -> None:
    array = DeviceArray(1024, (4, 3, 2), np.dtype(np.float64), EmulatorDriver())
    assert (array.size, array.nbytes, array.ndim) == (24, 192, 3)
    assert (array.rows(1, 3).pointer, array.rows(1, 3).shape) == (1024 + 48, (2, 3, 2))
    assert array.reshape(-1, 2).shape == (12, 2)
    for first, last in ((-1, 2), (2, 5), (3, 2)):
        with pytest.raises(ShapeError, match=f"rows {first} to {last}"):
            array.rows(first, last)
    for shape in ((5, 5), (-1, 5), (-1, -1), (-4, -6)):
        with pytest.raises(ShapeError, match="cannot become"):
            array.reshape(*shape)
