"""The kernels of cuda/*.cu, run on the CPU: orders of threads, sizes of grids, chunks, addresses without packs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpunet.devices.cuda import conv, relu, update
from gpunet.devices.cuda.bias import add_bias
from gpunet.devices.cuda.device import CudaDevice
from gpunet.devices.cuda.im2col import col2im_numbers, im2col_numbers
from gpunet.devices.cuda.launch import BLOCK
from gpunet.devices.cuda.source import kernel_folder
from gpunet.program.chunks import chunk_rows
from tests.device_arrays import new_array, read
from tests.emulator.driver import ORDERS, EmulatorDriver
from tests.geometries import conv_numbers
from tests.op_calls import OPS, Draw
from tests.ops import run_op
from tests.test_conv import draw_filters

# ---- the same bits, whatever the order of the threads and the size of the grid ----


def _device(order: str = "ascending", *, multiprocessors: int = 1) -> CudaDevice:
    driver = EmulatorDriver(order)
    driver.multiprocessors = multiprocessors
    return CudaDevice(driver)


@pytest.mark.parametrize("op", OPS)
def test_every_order_of_threads_and_every_grid_gives_the_same_bits(op: str, rng: np.random.Generator) -> None:
    for _ in range(3):
        case = Draw(rng).call(op)
        devices = [*(_device(order) for order in ORDERS), _device(multiprocessors=10_000)]
        first, *others = [[values.tobytes() for values in case.run(device)] for device in devices]
        assert all(other == first for other in others), case.attributes


@pytest.mark.parametrize("op", [op for op in OPS if Draw(np.random.default_rng(0)).call(op).aliases])
def test_outputs_may_lie_where_the_contract_says(op: str, rng: np.random.Generator) -> None:
    for _ in range(5):
        case = Draw(rng).call(op)
        apart = [values.tobytes() for values in case.run(_device())]
        for in_place in case.aliases:
            for order in ORDERS:
                assert [values.tobytes() for values in case.run(_device(order), in_place)] == apart


def test_a_grid_of_more_than_65535_blocks_does_all_the_work(rng: np.random.Generator) -> None:
    count = 65_536 * BLOCK + 3
    driver = EmulatorDriver()
    driver.multiprocessors = 10**6
    x, y = (new_array(driver, (count,), np.float32) for _ in range(2))
    values = rng.normal(size=count).astype(np.float32)
    driver.copy_in(x.pointer, values)
    relu.relu_forward(x, y)
    np.testing.assert_array_equal(read(y), np.maximum(values, 0))
    driver.close()


@pytest.mark.parametrize("count", [1, 3, 4, 5, BLOCK - 1, BLOCK + 1, 4 * BLOCK + 3, 40 * BLOCK + 1])
@pytest.mark.parametrize("shift", [0, 1])
def test_elementwise_kernels_do_every_value_and_no_other(shift: int, count: int, rng: np.random.Generator) -> None:
    """Counts around the sizes of packs and blocks; arrays at addresses where packs cannot be used."""
    driver = EmulatorDriver()
    whole = [new_array(driver, (count + 9,), np.float32) for _ in range(3)]
    before = [rng.normal(size=count + 9).astype(np.float32) for _ in whole]
    for array, values in zip(whole, before, strict=True):
        driver.copy_in(array.pointer, values)
    dw, w, v = (array.rows(shift, shift + count) for array in whole)
    loss, numbers = (new_array(driver, (1,), real, np.full(1, 0.5, real)) for real in (np.float32, np.float64))
    update.momentum_update(loss, numbers, dw, w, v, rate=0, momentum=0.25, weight_decay=0.125)
    inside = np.s_[shift : shift + count]
    g = before[0][inside] + np.float32(0.125) * before[1][inside]
    expected = [before[0].copy(), before[1].copy(), before[2].copy()]
    expected[2][inside] = np.float32(0.25) * before[2][inside] + g
    expected[1][inside] -= np.float32(0.5) * expected[2][inside]
    for array, values in zip(whole, expected, strict=True):
        np.testing.assert_allclose(read(array), values, rtol=1e-6, atol=1e-6)
    driver.close()


@pytest.mark.parametrize("K", [1, 3, 4, 8])
@pytest.mark.parametrize("shift", [0, 1])
def test_biases_are_added_to_every_value_and_no_other(shift: int, K: int, rng: np.random.Generator) -> None:
    rows = 67
    driver = EmulatorDriver()
    before, biases = rng.normal(size=rows * K + 9).astype(np.float32), rng.normal(size=K).astype(np.float32)
    whole, b = new_array(driver, before.shape, np.float32, before), new_array(driver, (K,), np.float32, biases)
    add_bias(b, whole.rows(shift, shift + rows * K).reshape(rows, K))
    expected = before.copy()
    expected[shift : shift + rows * K] += np.tile(biases, rows)
    np.testing.assert_array_equal(read(whole), expected)
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
    for header in kernel_folder().glob("*.cuh"):
        (tmp_path / header.name).write_bytes(header.read_bytes())
    (tmp_path / "twice.cu").write_text(TWICE)
    driver = EmulatorDriver(order, folder=tmp_path)
    values = rng.integers(-9, 10, (2, BLOCK)).astype(np.float32)
    sums = new_array(driver, (2, BLOCK), np.float32)
    driver.launch(
        "twice", "sum_twice", 1, BLOCK, new_array(driver, values.shape, np.float32, values), sums, real=sums.dtype
    )
    np.testing.assert_array_equal(read(sums), np.repeat(values.sum(axis=1, keepdims=True), BLOCK, axis=1))
    driver.close()


# ---- the same values, however the im2col matrix is cut ----


def _conv_case(rng: np.random.Generator) -> dict[str, Any]:
    """A convolution in which every sum is a small whole number: exact, so that equal means equal."""
    draw = Draw(rng, whole=True)
    N, H, W, D = draw.volume()
    geometry, F, H2, W2 = draw_filters(draw, H, W)
    K = draw.depth()
    x, w, b = draw.values(N, H, W, 2 * D), draw.values(2 * K, *F, D), draw.values(2 * K)
    return {"x": x, "w": w, "b": b, "dy": draw.values(N, H2, W2, 2 * K), "geometry": geometry}


def _run_conv(driver: EmulatorDriver, case: dict[str, Any], rows: int) -> list[np.ndarray]:
    """y, dw and dx with an im2col matrix of `rows` rows."""
    x, w, b, dy = (new_array(driver, case[name].shape, np.float32, case[name]) for name in ("x", "w", "b", "dy"))
    y, dw, dx = (new_array(driver, like.shape, np.float32) for like in (dy, w, x))
    columns = new_array(driver, (rows, w.size // w.shape[0]), np.float32)
    conv.conv_forward(x, w, b, y, columns, None, **case["geometry"])
    conv.conv_backward_weights(x, dy, dw, columns, None, **case["geometry"])
    conv.conv_backward_input(dy, w, dx, columns, None, **case["geometry"])
    return [read(array) for array in (y, dw, dx)]


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
        case = {"x": x, "w": w, "b": b, "dy": dy, "geometry": conv_numbers(S, P)}
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
        geometry, F, H2, W2 = draw_filters(draw, H, W)
        driver = EmulatorDriver()
        x, c = draw.values(N, H, W, D), draw.values(N * H2 * W2, F[0] * F[1] * D)
        columns = new_array(driver, c.shape, np.float32)
        numbers = H, W, D, W2, *F, *geometry.values(), 0, D, 0, N, 0, H2
        real = np.dtype(np.float32)
        driver.launch(
            "conv",
            "im2col",
            3,
            BLOCK,
            new_array(driver, x.shape, real, x),
            columns,
            *im2col_numbers(*numbers),
            real=real,
        )
        dx = new_array(driver, x.shape, real)
        driver.launch(
            "conv",
            "col2im",
            3,
            BLOCK,
            new_array(driver, c.shape, real, c),
            dx,
            *col2im_numbers(*numbers, 0, 0, H),
            real=real,
        )
        assert (read(columns) * c).sum() == (x * read(dx)).sum()
        driver.close()
