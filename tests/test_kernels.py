"""The kernels of cuda/*.cu, run on the CPU: orders of threads, sizes of grids, chunks, misaligned and huge tensors."""

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpunet.devices.cuda import conv, image, pool, relu, update
from gpunet.devices.cuda.arrays import Allocation, Argument, DeviceArray
from gpunet.devices.cuda.bias import add_bias
from gpunet.devices.cuda.device import CudaDevice
from gpunet.devices.cuda.launch import BLOCK
from gpunet.devices.cuda.source import kernel_folder
from gpunet.program.chunks import chunk_rows
from gpunet.volume import output_size
from tests.emulator.driver import GUARD, GUARD_BYTES, ORDERS, EmulatorDriver
from tests.op_cases import OPS, Draw
from tests.ops import run_op

# ---- the same bits, whatever the order of the threads and the size of the grid ----


def _device(order: str = "ascending", *, multiprocessors: int = 1) -> CudaDevice:
    driver = EmulatorDriver(order)
    driver.multiprocessors = multiprocessors
    return CudaDevice(driver)


@pytest.mark.parametrize("op", OPS)
def test_every_order_of_threads_and_every_grid_gives_the_same_bits(op: str, rng: np.random.Generator) -> None:
    for _ in range(3):
        case = Draw(rng).case(op)
        devices = [*(_device(order) for order in ORDERS), _device(multiprocessors=10_000)]
        first, *others = [[values.tobytes() for values in case.run(device)] for device in devices]
        assert all(other == first for other in others), case.attributes


@pytest.mark.parametrize("op", [op for op in OPS if Draw(np.random.default_rng(0)).case(op).aliases])
def test_outputs_may_lie_where_the_contract_says(op: str, rng: np.random.Generator) -> None:
    for _ in range(5):
        case = Draw(rng).case(op)
        apart = [values.tobytes() for values in case.run(_device())]
        for in_place in case.aliases:
            for order in ORDERS:
                assert [values.tobytes() for values in case.run(_device(order), in_place)] == apart


def test_a_grid_of_more_than_65535_blocks_does_all_the_work(rng: np.random.Generator) -> None:
    count = 65_536 * BLOCK + 3
    driver = EmulatorDriver()
    driver.multiprocessors = 10**6
    x, y = (_array(driver, (count,), np.float32) for _ in range(2))
    values = rng.normal(size=count).astype(np.float32)
    driver.copy_in(x.pointer, values)
    relu.relu_forward(x, y)
    np.testing.assert_array_equal(_read(y), np.maximum(values, 0))
    driver.close()


@pytest.mark.parametrize("count", [1, 3, 4, 5, BLOCK - 1, BLOCK + 1, 4 * BLOCK + 3, 40 * BLOCK + 1])
@pytest.mark.parametrize("shift", [0, 1])
def test_elementwise_kernels_do_every_value_and_no_other(shift: int, count: int, rng: np.random.Generator) -> None:
    """Counts around the sizes of packs and blocks; arrays at addresses where packs cannot be used."""
    driver = EmulatorDriver()
    whole = [_array(driver, (count + 9,), np.float32) for _ in range(3)]
    before = [rng.normal(size=count + 9).astype(np.float32) for _ in whole]
    for array, values in zip(whole, before, strict=True):
        driver.copy_in(array.pointer, values)
    dw, w, v = (array.rows(shift, shift + count) for array in whole)
    update.momentum_update(dw, w, v, learning_rate=0.5, momentum=0.25, weight_decay=0.125)
    inside = np.s_[shift : shift + count]
    g = before[0][inside] + np.float32(0.125) * before[1][inside]
    expected = [before[0].copy(), before[1].copy(), before[2].copy()]
    expected[2][inside] = np.float32(0.25) * before[2][inside] + g
    expected[1][inside] -= np.float32(0.5) * expected[2][inside]
    for array, values in zip(whole, expected, strict=True):
        np.testing.assert_allclose(_read(array), values, rtol=1e-6, atol=1e-6)
    driver.close()


@pytest.mark.parametrize("K", [1, 3, 4, 8])
@pytest.mark.parametrize("shift", [0, 1])
def test_biases_are_added_to_every_value_and_no_other(shift: int, K: int, rng: np.random.Generator) -> None:
    rows = 67
    driver = EmulatorDriver()
    before, biases = rng.normal(size=rows * K + 9).astype(np.float32), rng.normal(size=K).astype(np.float32)
    whole, b = _array(driver, before.shape, np.float32, before), _array(driver, (K,), np.float32, biases)
    add_bias(b, whole.rows(shift, shift + rows * K).reshape(rows, K))
    expected = before.copy()
    expected[shift : shift + rows * K] += np.tile(biases, rows)
    np.testing.assert_array_equal(_read(whole), expected)
    driver.close()


TWICE = """
// values  (2, BLOCK)  in
// sums    (2, BLOCK)  out; each thread's sums of both rows
extern "C" __global__ void __launch_bounds__(BLOCK)
sum_twice(const real* values, real* sums) {
    __shared__ real shared[BLOCK];
    sums[threadIdx.x] = reduce_sum(values[threadIdx.x], shared);
    sums[BLOCK + threadIdx.x] = reduce_sum(values[BLOCK + threadIdx.x], shared);
}
"""


@pytest.mark.parametrize("order", ORDERS)
def test_a_reduction_may_follow_another_in_the_same_shared_memory(
    order: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    (tmp_path / "common.cuh").write_bytes((kernel_folder() / "common.cuh").read_bytes())
    (tmp_path / "twice.cu").write_text(TWICE)
    driver = EmulatorDriver(order, folder=tmp_path)
    values = rng.integers(-9, 10, (2, BLOCK)).astype(np.float32)
    sums = _array(driver, (2, BLOCK), np.float32)
    driver.launch(
        "twice", "sum_twice", 1, BLOCK, _array(driver, values.shape, np.float32, values), sums, real=sums.dtype
    )
    np.testing.assert_array_equal(_read(sums), np.repeat(values.sum(axis=1, keepdims=True), BLOCK, axis=1))
    driver.close()


# ---- the same values, however the im2col matrix is cut ----


def _conv_case(rng: np.random.Generator) -> dict[str, Any]:
    """A convolution in which every sum is a small whole number: exact, so that equal means equal."""
    draw = Draw(rng, whole=True)
    N, H, W, D = draw.volume()
    geometry, H2, W2 = draw.window(H, W, most_padding=4)
    F, K = geometry["F"], draw.depth()
    x, w, b = draw.values(N, H, W, D), draw.values(K, F, F, D), draw.values(K)
    return {"x": x, "w": w, "b": b, "dy": draw.values(N, H2, W2, K), "geometry": geometry}


def _run_conv(driver: EmulatorDriver, case: dict[str, Any], rows: int) -> list[np.ndarray]:
    """y, dw and dx with an im2col matrix of `rows` rows."""
    x, w, b, dy = (_array(driver, case[name].shape, np.float32, case[name]) for name in ("x", "w", "b", "dy"))
    y, dw, dx = (_array(driver, like.shape, np.float32) for like in (dy, w, x))
    columns = _array(driver, (rows, w.size // w.shape[0]), np.float32)
    conv.conv_forward(x, w, b, y, columns, None, **case["geometry"])
    conv.conv_backward_weights(x, dy, dw, columns, None, **case["geometry"])
    conv.conv_backward_input(dy, w, dx, columns, None, **case["geometry"])
    return [_read(array) for array in (y, dw, dx)]


@pytest.mark.parametrize("seed", range(25))
def test_chunks_of_images_or_of_rows_change_nothing(seed: int) -> None:
    case = _conv_case(np.random.default_rng(seed))
    N, H2, W2, _ = case["dy"].shape
    driver = EmulatorDriver()
    expected = _run_conv(driver, case, N * H2 * W2)
    for most in (2 * H2 * W2, H2 * W2, H2 * W2 - 1, 2 * W2, 1):
        for whole, cut in zip(expected, _run_conv(driver, case, chunk_rows(N, H2, W2, most)), strict=True):
            np.testing.assert_array_equal(cut, whole, err_msg=f"{most} rows, {case['geometry']}")
    driver.close()


def test_strides_and_paddings_may_be_larger_than_an_int(rng: np.random.Generator) -> None:
    draw = Draw(rng, whole=True)
    x, w, b = draw.values(2, 5, 6, 4), draw.values(3, 3, 3, 4), draw.values(3)
    for S, P, y_size in ((2**32, 0, 1), (2**33, 2**32, 1), (2**32, 2**31, 2)):
        dy = draw.values(2, y_size, y_size, 3)
        case = {"x": x, "w": w, "b": b, "dy": dy, "geometry": {"F": 3, "S": S, "P": P}}
        y, dw, dx = _run_conv(EmulatorDriver(), case, 2 * y_size * y_size)
        seen = x[:, :3, :3] if P == 0 else np.zeros((2, 3, 3, 4))  # windows stand at the first corner, or beside x
        np.testing.assert_array_equal(y[:, 0, 0], np.einsum("nijd,kijd->nk", seen, w) + b)
        np.testing.assert_array_equal(dw, np.einsum("nijd,nk->kijd", seen, dy[:, 0, 0]))
        corner = np.einsum("nk,kijd->nijd", dy[:, 0, 0], w) if P == 0 else 0
        np.testing.assert_array_equal(dx[:, :3, :3], corner + np.zeros_like(seen))
        assert not dx[:, 3:].any() and not dx[:, :, 3:].any()


@pytest.mark.parametrize("D", [3, 4])
def test_a_pool_may_stride_farther_than_an_int(D: int, rng: np.random.Generator) -> None:
    x, dy = (Draw(rng).values(*shape) for shape in ((2, 5, 6, D), (2, 1, 1, D)))
    geometry = {"F": 2, "S": 2**32, "P": 0}
    y, switches = run_op(_device(), "max_pool_forward", [x], [(dy.shape, np.float32), (dy.shape, np.uint8)], **geometry)
    corner = x[:, :2, :2].reshape(2, 4, D)
    np.testing.assert_array_equal(y.reshape(2, D), corner.max(axis=1))
    np.testing.assert_array_equal(switches.reshape(2, D), corner.argmax(axis=1))
    (dx,) = run_op(_device(), "max_pool_backward", [dy, switches], [(x.shape, np.float32)], **geometry)
    expected = np.where(np.arange(4)[:, None] == switches.reshape(2, 1, D), dy.reshape(2, 1, D), 0)
    np.testing.assert_array_equal(dx[:, :2, :2].reshape(2, 4, D), expected)
    assert not dx[:, 2:].any()
    assert not dx[:, :, 2:].any()


def test_a_matrix_is_transposed_exactly_by_its_inverse(rng: np.random.Generator) -> None:
    """<im2col(x), c> = <x, col2im(c)> for any c: the gathering inverse is the adjoint."""
    draw = Draw(rng, whole=True)
    for _ in range(20):
        N, H, W, D = draw.volume()
        geometry, H2, W2 = draw.window(H, W, most_padding=4)
        F, S, P = (geometry[letter] for letter in "FSP")
        driver = EmulatorDriver()
        x, c = draw.values(N, H, W, D), draw.values(N * H2 * W2, F * F * D)
        columns = _array(driver, c.shape, np.float32)
        numbers = H, W, D, W2, F, S, P, 0, N, 0, H2
        real = np.dtype(np.float32)
        driver.launch("conv", "im2col", 3, BLOCK, _array(driver, x.shape, real, x), columns, *numbers, real=real)
        dx = _array(driver, x.shape, real)
        driver.launch("conv", "col2im", 3, BLOCK, _array(driver, c.shape, real, c), dx, *numbers, 0, 0, H, real=real)
        assert (_read(columns) * c).sum() == (x * _read(dx)).sum()
        driver.close()


# ---- tensors of more than 2**32 values ----

HUGE = 2**32 + 2**20
"""Values: neither int nor unsigned int counts so far. Memory that is asked for but, save for the pages touched, never
given."""


class SparseDriver(EmulatorDriver):
    """Runs one block of a grid of `grid`, on zeros that take no memory until they are written.

    Kernels read blockIdx and gridDim; in a copy of the kernels these are said to be those of that block.
    """

    def __init__(self, folder: Path, *, grid: int, block: int):
        lines = [
            f"#define gridDim (emulator::Index{{{grid}u, 1, 1}})",
            f"#define blockIdx (emulator::Index{{{block}u, 0, 0}})",
        ]
        for path in kernel_folder().iterdir():
            text = path.read_text(encoding="utf-8")
            head = "\n".join(lines) + "\n" if path.name == "common.cuh" else ""
            (folder / path.name).write_text(head + text, encoding="utf-8")
        super().__init__(folder=folder, total_bytes=2**50)

    def allocate(self, nbytes: int) -> Allocation:
        total = -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE + 2 * GUARD_BYTES
        reserve = 0x4000  # MAP_NORESERVE of Linux
        area = mmap.mmap(-1, total, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | reserve)
        memory = np.frombuffer(area, np.uint8)
        memory[:GUARD_BYTES] = memory[GUARD_BYTES + nbytes :] = GUARD
        allocation = Allocation(memory.ctypes.data + GUARD_BYTES, nbytes, memory)
        self._live[allocation.pointer] = allocation
        return allocation

    def launch(self, file: str, kernel: str, grid: int, block: int, *arguments: Argument, real: np.dtype) -> None:
        super().launch(file, kernel, 1, block, *arguments, real=real)


def _last_block(folder: Path, items: int) -> SparseDriver:
    """A grid with a thread for each item, of which the last block runs."""
    grid = -(-items // BLOCK)
    return SparseDriver(folder, grid=grid, block=grid - 1)


@pytest.mark.parametrize("packs", [True, False])
def test_elementwise_kernels_reach_the_end_of_a_huge_tensor(tmp_path: Path, packs: bool) -> None:
    count = HUGE if packs else HUGE - 1
    shift = 0 if packs else 1
    driver = _last_block(tmp_path, count // 4 if packs else count)
    x, y = (_array(driver, (HUGE,), np.float32).rows(shift, HUGE) for _ in range(2))
    end = np.arange(-64, 64, dtype=np.float32)
    driver.copy_in(x.rows(count - 128, count).pointer, end)
    relu.relu_forward(x, y)
    np.testing.assert_array_equal(_read(y.rows(count - 128, count)), np.maximum(end, 0))
    driver.copy_in(y.rows(count - 128, count).pointer, end)
    update.sgd_update(x, y, learning_rate=0.5, weight_decay=0.0)
    np.testing.assert_array_equal(_read(y.rows(count - 128, count)), end / 2)
    assert not _read(y.rows(0, 2**20)).any()  # an index that wrapped around would have come down here
    driver.close()


def test_bytes_of_a_huge_batch_become_floats(tmp_path: Path) -> None:
    driver = _last_block(tmp_path, HUGE // 4)
    x, y = _array(driver, (HUGE,), np.uint8), _array(driver, (HUGE,), np.float32)
    driver.copy_in(x.rows(HUGE - 128, HUGE).pointer, np.arange(128, dtype=np.uint8))
    image.image_to_float(x, y, scale=0.5, shift=1.0)
    np.testing.assert_array_equal(_read(y.rows(HUGE - 128, HUGE)), np.arange(128) / 2 + 1)
    driver.close()


@pytest.mark.parametrize("K", [7, 8])
def test_biases_reach_the_end_of_a_huge_tensor(tmp_path: Path, K: int) -> None:
    rows = HUGE // K
    driver = _last_block(tmp_path, rows * K // (4 if K % 4 == 0 else 1))
    y, b = _array(driver, (rows, K), np.float32), _array(driver, (K,), np.float32, np.arange(K, dtype=np.float32))
    add_bias(b, y)
    np.testing.assert_array_equal(_read(y.rows(rows - 9, rows)), np.tile(np.arange(K), (9, 1)))
    assert not _read(y.rows(0, 2**17)).any()
    driver.close()


@pytest.mark.parametrize("D", [3, 4])
def test_windows_of_the_last_image_of_a_huge_batch(tmp_path: Path, D: int, rng: np.random.Generator) -> None:
    """im2col reads and col2im writes behind 2**32 values; the matrix itself is small."""
    H, W, F, S, P = 9, 7, 3, 2, 1
    H2, W2 = output_size(H, F, S, P), output_size(W, F, S, P)
    N = HUGE // (H * W * D)
    driver = SparseDriver(tmp_path, grid=1, block=0)
    x, dx = (_array(driver, (N, H, W, D), np.float32) for _ in range(2))
    columns = _array(driver, (H2 * W2, F * F * D), np.float32)
    values = rng.normal(size=(H, W, D)).astype(np.float32)
    driver.copy_in(x.rows(N - 1, N).pointer, values)
    numbers = H, W, D, W2, F, S, P, N - 1, 1, 0, H2
    driver.launch("conv", "im2col", 1, BLOCK, x, columns, *numbers, real=x.dtype)
    padded = np.pad(values, ((P, P), (P, P), (0, 0)))
    windows = [padded[i * S : i * S + F, j * S : j * S + F].reshape(-1) for i in range(H2) for j in range(W2)]
    np.testing.assert_array_equal(_read(columns), windows)
    driver.launch("conv", "col2im", 1, BLOCK, columns, dx, *numbers, 0, 0, H, real=x.dtype)
    seen = np.array([[_windows(h, H2) * _windows(w, W2) for w in range(W)] for h in range(H)])
    np.testing.assert_allclose(_read(dx.rows(N - 1, N))[0], values * seen[:, :, None], rtol=1e-6)
    driver.close()


def _windows(position: int, count: int, F: int = 3, S: int = 2, P: int = 1) -> int:
    """How many of `count` windows of an axis cover a position."""
    return sum(0 <= position + P - window * S < F for window in range(count))


@pytest.mark.parametrize("D", [3, 4])
@pytest.mark.parametrize("switch_type", [np.uint8, np.int32])
def test_pools_reach_the_end_of_a_huge_tensor(tmp_path: Path, D: int, switch_type: Any) -> None:
    H, W, F = 6, 4, 2
    N = HUGE // (H * W * D) * F * F
    values = N * (H // F) * (W // F) * D
    assert values > 2**32
    (tmp_path / "forward").mkdir()
    (tmp_path / "backward").mkdir()
    driver = _last_block(tmp_path / "forward", values // (4 if D == 4 else 1))
    x, dx = (_array(driver, (N, H, W, D), np.float32) for _ in range(2))
    y = _array(driver, (N, H // F, W // F, D), np.float32)
    switches = _array(driver, y.shape, switch_type)
    last = np.zeros((H, W, D), np.float32)
    last[1::2, ::2] = 1 + np.arange((H // F) * (W // F) * D).reshape(H // F, W // F, D)  # below, left: switch 2
    driver.copy_in(x.rows(N - 1, N).pointer, last)
    pool.max_pool_forward(x, y, switches, F=F, S=F, P=0)
    np.testing.assert_array_equal(_read(y.rows(N - 1, N))[0], last[1::2, ::2])
    np.testing.assert_array_equal(_read(switches.rows(N - 1, N)), 2)
    backward = _last_block(tmp_path / "backward", N * H * W * D // (4 if D == 4 else 1))
    backward._live = driver._live
    dx, y, switches = (DeviceArray(a.pointer, a.shape, a.dtype, backward) for a in (dx, y, switches))
    pool.max_pool_backward(y, switches, dx, F=F, S=F, P=0)
    np.testing.assert_array_equal(_read(dx.rows(N - 1, N))[0], last)
    driver.close()


# ---- arrays ----


def _array(driver: EmulatorDriver, shape: tuple[int, ...], dtype: Any, values: np.ndarray | None = None) -> DeviceArray:
    """A new array: NaN bytes (zeros on the sparse driver), or these values."""
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    array = DeviceArray(driver.allocate(nbytes).pointer, shape, np.dtype(dtype), driver)
    if values is not None:
        driver.copy_in(array.pointer, np.ascontiguousarray(values))
    return array


def _read(array: DeviceArray) -> np.ndarray:
    values = np.empty(array.shape, array.dtype)
    array.driver.copy_out(array.pointer, values)
    return values
