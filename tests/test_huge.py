"""The kernels on tensors of more than 2**32 values: one block of a grid that large, on memory that is never touched."""

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpunet.devices import open_device
from gpunet.devices.cuda import (
    augment,
    average_pool,
    dropout,
    image,
    l2_pool,
    leaky_relu,
    local,
    lrn,
    pool,
    relu,
    softmax,
    squash,
    update,
)
from gpunet.devices.cuda.arrays import Allocation, Argument, DeviceArray, Work
from gpunet.devices.cuda.bias import add_bias
from gpunet.devices.cuda.im2col import col2im_numbers, im2col_numbers
from gpunet.devices.cuda.launch import BLOCK
from gpunet.devices.cuda.source import kernel_folder
from gpunet.devices.cuda.table import SHARE
from gpunet.program.volume import output_size
from tests.device_arrays import new_array, read
from tests.emulator.driver import GUARD, GUARD_BYTES, EmulatorDriver
from tests.oracle import of_halves

HUGE = 2**32 + 2**20
"""Values: neither int nor unsigned int counts so far. Memory that is asked for but, save for the pages touched, never
given."""


class SparseDriver(EmulatorDriver):
    """Runs one block of a grid of `grid`, on zeros that take no memory until they are written.

    Kernels read blockIdx and gridDim; in a copy of the kernels these are said to be those of that block.
    """

    def __init__(self, folder: Path, *, grid: int, block: int):
        lines = [
            f"#define gridDim (uint3{{{grid}u, 1, 1}})",
            f"#define blockIdx (uint3{{{block}u, 0, 0}})",
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

    def prepare(
        self, file: str, kernel: str, grid: int, block: int, *arguments: Argument, real: np.dtype, shared: int = 0
    ) -> Work:
        return super().prepare(file, kernel, 1, block, *arguments, real=real, shared=shared)


def _last_block(folder: Path, items: int) -> SparseDriver:
    """A grid with a thread for each item, of which the last block runs."""
    grid = -(-items // BLOCK)
    return SparseDriver(folder, grid=grid, block=grid - 1)


@pytest.mark.parametrize("packs", [True, False])
def test_elementwise_kernels_reach_the_end_of_a_huge_tensor(tmp_path: Path, packs: bool) -> None:
    count = HUGE if packs else HUGE - 1
    shift = 0 if packs else 1
    driver = _last_block(tmp_path, count // 4 if packs else count)
    x, y = (new_array(driver, (HUGE,), np.float32).rows(shift, HUGE) for _ in range(2))
    end = np.arange(-64, 64, dtype=np.float32)
    driver.copy_in(x.rows(count - 128, count).pointer, end)
    relu.relu_forward(x, y)
    np.testing.assert_array_equal(read(y.rows(count - 128, count)), np.maximum(end, 0))
    driver.close()


def test_bytes_of_a_huge_batch_become_floats(tmp_path: Path) -> None:
    driver = _last_block(tmp_path, HUGE // 4)
    x, y = new_array(driver, (HUGE,), np.uint8), new_array(driver, (HUGE,), np.float32)
    driver.copy_in(x.rows(HUGE - 128, HUGE).pointer, np.arange(128, dtype=np.uint8))
    image.image_to_float(x, y, scale=0.5, shift=1.0)
    np.testing.assert_array_equal(read(y.rows(HUGE - 128, HUGE)), np.arange(128) / 2 + 1)
    driver.close()


@pytest.mark.parametrize("side, cut", [(8, 8), (2, 8), (8, 2)])
def test_the_last_image_of_a_huge_batch_is_augmented(tmp_path: Path, side: int, cut: int) -> None:
    images, pad, margin = HUGE // 128, max(0, (cut - side) // 2), max(0, (side - cut) // 2)
    driver = _last_block(tmp_path, images * cut * cut)
    x, y = (new_array(driver, (images, n, n, 2), kind) for n, kind in ((side, np.uint8), (cut, np.float32)))
    choices = new_array(driver, (images, 7), np.float32)
    values = np.arange(1, side * side * 2 + 1, dtype=np.uint8).reshape(1, side, side, 2)
    driver.copy_in(x.rows(images - 1, images).pointer, values)
    driver.copy_in(choices.rows(images - 1, images).pointer, np.full((1, 7), np.nan, np.float32))
    numbers = dict.fromkeys(("contrast", "brightness", "saturation", "shift_0", "shift_1", "shift_2"), 0.5)
    numbers |= dict.fromkeys(("scale_0", "scale_1", "scale_2"), 2.0)
    where = dict.fromkeys(("mirror", "seed", "seen", "layer", "first_image", "training"), 0)
    augment.augment(x, new_array(driver, (1,), np.float64, np.zeros(1)), y, choices, P=pad, **numbers, **where)
    padded = np.pad(values, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    middle = padded[:, margin : margin + cut, margin : margin + cut]
    np.testing.assert_array_equal(read(y.rows(images - 1, images)), middle * 2.0 + 0.5)
    driver.close()


@pytest.mark.parametrize("values", [24, 29])
def test_masks_reach_the_end_of_a_huge_tensor(tmp_path: Path, values: int) -> None:
    """An image of 24 values is packs, of 29 it is not; a thread then makes a byte of the mask, or one value."""
    images = HUGE // values
    driver = _last_block(tmp_path, images * (6 if values == 24 else 4))
    y, dx = (new_array(driver, (images, values), np.float32) for _ in range(2))
    mask = new_array(driver, (images, -(-values // 8)), np.uint8)
    end = np.resize(np.array([1, 0, np.nan, 2, 0], np.float32), (5, values))
    driver.copy_in(y.rows(images - 5, images).pointer, end)
    relu.relu_mask(y, mask)
    bits = read(mask.rows(images - 5, images))
    np.testing.assert_array_equal(bits, np.packbits(~(end <= 0), axis=1, bitorder="little"))
    driver.close()
    driver = _last_block(tmp_path, images * (6 if values == 24 else 29))
    y, dx = (new_array(driver, (images, values), np.float32) for _ in range(2))
    mask = new_array(driver, (images, -(-values // 8)), np.uint8)
    driver.copy_in(y.rows(images - 5, images).pointer, end)
    driver.copy_in(mask.rows(images - 5, images).pointer, bits)
    relu.relu_backward_masked(y, mask, dx)
    np.testing.assert_array_equal(read(dx.rows(images - 5, images)), end)
    driver.close()


@pytest.mark.parametrize("K", [7, 8])
def test_biases_reach_the_end_of_a_huge_tensor(tmp_path: Path, K: int) -> None:
    rows = HUGE // K
    driver = _last_block(tmp_path, rows * K // (4 if K % 4 == 0 else 1))
    y, b = new_array(driver, (rows, K), np.float32), new_array(driver, (K,), np.float32, np.arange(K, dtype=np.float32))
    add_bias(b, y)
    np.testing.assert_array_equal(read(y.rows(rows - 9, rows)), np.tile(np.arange(K), (9, 1)))
    assert not read(y.rows(0, 2**17)).any()
    driver.close()


@pytest.mark.parametrize("D", [3, 4])
def test_windows_of_the_last_image_of_a_huge_batch(tmp_path: Path, D: int, rng: np.random.Generator) -> None:
    """im2col reads and col2im writes behind 2**32 values; the matrix itself is small."""
    H, W, F, S, P = 9, 7, 3, 2, 1
    H2, W2 = output_size(H, F, S, P), output_size(W, F, S, P)
    N = HUGE // (H * W * D)
    driver = SparseDriver(tmp_path, grid=1, block=0)
    x, dx = (new_array(driver, (N, H, W, D), np.float32) for _ in range(2))
    columns = new_array(driver, (H2 * W2, F * F * D), np.float32)
    values = rng.normal(size=(H, W, D)).astype(np.float32)
    driver.copy_in(x.rows(N - 1, N).pointer, values)
    numbers = H, W, D, W2, F, F, S, S, P, P, 1, 1, 0, D, N - 1, 1, 0, H2
    driver.launch("conv", "im2col", 1, BLOCK, x, columns, *im2col_numbers(*numbers), real=x.dtype)
    padded = np.pad(values, ((P, P), (P, P), (0, 0)))
    windows = [padded[i * S : i * S + F, j * S : j * S + F].reshape(-1) for i in range(H2) for j in range(W2)]
    np.testing.assert_array_equal(read(columns), windows)
    driver.launch("conv", "col2im", 1, BLOCK, columns, dx, *col2im_numbers(*numbers, 0, 0, H), real=x.dtype)
    seen = np.array([[_windows(h, H2) * _windows(w, W2) for w in range(W)] for h in range(H)])
    np.testing.assert_allclose(read(dx.rows(N - 1, N))[0], values * seen[:, :, None], rtol=1e-6)
    driver.close()


def _windows(position: int, count: int, F: int = 3, S: int = 2, P: int = 1) -> int:
    """How many of `count` windows of an axis cover a position."""
    return sum(0 <= position + P - window * S < F for window in range(count))


@pytest.mark.parametrize("D", [3, 4])
@pytest.mark.parametrize("switch_type", ["halves", np.uint8, np.int32])
def test_pools_reach_the_end_of_a_huge_tensor(tmp_path: Path, D: int, switch_type: Any) -> None:
    H, W, F = 6, 4, 2
    N = HUGE // (H * W * D) * F * F
    values = N * (H // F) * (W // F) * D
    assert values > 2**32
    (tmp_path / "forward").mkdir()
    (tmp_path / "backward").mkdir()
    halves = switch_type == "halves"
    driver = _last_block(tmp_path / "forward", values // D * 2 if halves and D == 3 else values // (4 if D == 4 else 1))
    x, dx = (new_array(driver, (N, H, W, D), np.float32) for _ in range(2))
    y = new_array(driver, (N, H // F, W // F, D), np.float32)
    switches = new_array(driver, (*y.shape[:3], 2) if halves else y.shape, np.uint8 if halves else switch_type)
    last = np.zeros((H, W, D), np.float32)
    last[1::2, ::2] = 1 + np.arange((H // F) * (W // F) * D).reshape(H // F, W // F, D)  # below, left: switch 2
    driver.copy_in(x.rows(N - 1, N).pointer, last)
    pool.max_pool_forward(x, y, switches, F=F, S=F, P=0)
    np.testing.assert_array_equal(read(y.rows(N - 1, N))[0], last[1::2, ::2])
    kept = read(switches.rows(N - 1, N))
    np.testing.assert_array_equal(of_halves(kept, D) if halves else kept, 2)
    backward = _last_block(tmp_path / "backward", N * H * W * D // (4 if D == 4 else 1))
    backward._live = driver._live
    dx, y, switches = (DeviceArray(a.pointer, a.shape, a.dtype, backward) for a in (dx, y, switches))
    pool.max_pool_backward(y, switches, dx, F=F, S=F, P=0)
    np.testing.assert_array_equal(read(dx.rows(N - 1, N))[0], last)
    driver.close()


@pytest.mark.parametrize("D", [3, 4])
@pytest.mark.parametrize("kind", [average_pool, l2_pool, lrn])
def test_other_windows_reach_the_end_of_a_huge_tensor(tmp_path: Path, kind: Any, D: int) -> None:
    """Windows of one value: the average is the value, the length is its size, and gradients go back as they came."""
    H, W = 3, 2
    N = HUGE // (H * W * D)
    driver = _last_block(tmp_path, N * H * W * D // (4 if D == 4 and kind is not lrn else 1))
    x, y, dx = (new_array(driver, (N, H, W, D), np.float32) for _ in range(3))
    last = 1 + np.arange(H * W * D, dtype=np.float32).reshape(1, H, W, D)
    driver.copy_in(x.rows(N - 1, N).pointer, last)
    geometry = {"F": 1, "S": 1, "P": 0}
    if kind is average_pool:
        kind.average_pool_forward(x, y, **geometry)
        kind.average_pool_backward(y, dx, **geometry)
    elif kind is lrn:
        numbers = {"F": 1, "maps": 1, "alpha": 0.0, "beta": 1.0, "k": 1.0}
        kind.lrn_forward(x, y, **numbers)
        kind.lrn_backward(y, x, dx, **numbers)
    else:
        kind.l2_pool_forward(x, y, **geometry)
        kind.l2_pool_backward(y, x, y, dx, **geometry)
    for array in (y, dx):
        np.testing.assert_array_equal(read(array.rows(N - 1, N)), last)
        assert not read(array.rows(0, 2**12)).any()  # an index that wrapped around would have come down here
    driver.close()


UPDATES = {"sgd": 1, "momentum": 2, "nesterov": 2, "adagrad": 2, "rmsprop": 2, "adam": 3, "adamw": 3}
"""Arrays of a parameter that an update changes."""

SETTINGS = {"weight_decay": 0.25, "momentum": 0.75, "eps": 0.125, "alpha": 0.75, "beta1": 0.75, "beta2": 0.875}
SETTINGS |= {"rate": 0, "root": 1, "keep": 2}
D, FEW = 4, 16


def _agree(
    op: Any,
    arrays: list[DeviceArray],
    rng: np.random.Generator,
    small: Sequence[np.ndarray] = (),
    at: int = 0,
    **numbers: Any,
) -> None:
    """The last images of huge arrays are what the CPU gives for these values alone.

    `small`  arrays that stand from the position `at` on; of an update the first large one, its gradient, does not count
    """
    driver, images = arrays[0].driver, arrays[0].shape[0]
    ends = [array.rows(images - FEW, images) for array in arrays]
    values = [np.abs(rng.normal(size=end.shape)).astype(np.float32) for end in ends]
    for end, these in zip(ends, values, strict=True):
        driver.copy_in(end.pointer, these)
    beside = [new_array(driver, one.shape, one.dtype, one) for one in small]
    op(*arrays[:at], *beside, *arrays[at:], **numbers)
    here = {**numbers, "first_image": images - FEW} if op is dropout.dropout else numbers
    open_device("cpu").ops[op.__name__](*values[:at], *small, *values[at:], **here)
    for end, these in list(zip(ends, values, strict=True))[op.__name__.endswith("_update") :]:
        np.testing.assert_allclose(read(end), these, rtol=1e-5, atol=1e-6, err_msg=op.__name__)
    for array in arrays:
        assert not read(array.rows(0, 2**12)).any()  # an index that wrapped around would have come down here


def _huge(driver: SparseDriver, count: int, shift: int) -> list[DeviceArray]:
    whole = [new_array(driver, (HUGE + shift,), np.float32) for _ in range(count)]
    return [array.rows(shift, shift + HUGE).reshape(HUGE // D, 1, 1, D) for array in whole]


@pytest.mark.parametrize("packs", [True, False])
def test_all_that_treats_values_alike_reaches_the_end_of_a_huge_tensor(
    tmp_path: Path, packs: bool, rng: np.random.Generator
) -> None:
    driver = _last_block(tmp_path, HUGE // (4 if packs else 1))
    x, y, z = _huge(driver, 3, 0 if packs else 1)
    _agree(relu.relu_backward, [x, y, z], rng)
    _agree(leaky_relu.leaky_relu_forward, [x, y], rng, alpha=0.25)
    _agree(leaky_relu.leaky_relu_backward, [x, y, z], rng, alpha=0.25)
    for name in ("sigmoid", "tanh"):
        _agree(getattr(squash, f"{name}_forward"), [x, y], rng)
        _agree(getattr(squash, f"{name}_backward"), [x, y, z], rng)
    step = [np.array([3.0])]
    _agree(dropout.dropout, [x, y], rng, step, 1, p=0.5, seed=7, step=0, layer=2, first_image=0, training=1)
    driver.close()


@pytest.mark.parametrize("packs", [True, False])
def test_updates_reach_the_end_of_a_huge_parameter(tmp_path: Path, packs: bool, rng: np.random.Generator) -> None:
    blocks = -(-HUGE // SHARE)
    driver = SparseDriver(tmp_path, grid=blocks, block=blocks - 1)
    arrays = _huge(driver, 4, 0 if packs else 1)
    for name, count in UPDATES.items():
        op, small = getattr(update, f"{name}_update"), [np.ones(1, np.float32), np.array([0.5, 0.75, 0.875])]
        numbers = {setting: SETTINGS[setting] for setting in op.__annotations__ if setting in SETTINGS}
        _agree(op, arrays[: 1 + count], rng, small, **numbers)
    driver.close()


def test_softmax_of_the_last_image_of_a_huge_batch(tmp_path: Path, rng: np.random.Generator) -> None:
    """A warp takes an image; backward a thread takes a class of one."""
    K = 5
    N = HUGE // K
    last = rng.normal(size=(1, 1, 1, K)).astype(np.float32)
    best = int(last.argmax())
    driver = _last_block(tmp_path, N * 32)
    scores, p = (new_array(driver, (N, 1, 1, K), np.float32) for _ in range(2))
    losses, labels, hits = (new_array(driver, (N,), dtype) for dtype in (np.float32, np.int32, np.int32))
    driver.copy_in(scores.rows(N - 1, N).pointer, last)
    driver.copy_in(labels.rows(N - 1, N).pointer, np.array([best], np.int32))
    softmax.softmax_forward(scores, labels, p, losses, hits)
    expected = np.exp(last) / np.exp(last).sum()
    np.testing.assert_allclose(read(p.rows(N - 1, N)), expected, rtol=1e-6)
    np.testing.assert_allclose(read(losses.rows(N - 1, N)), -np.log(expected.max()), rtol=1e-6)
    assert read(hits.rows(N - 1, N)) == 1
    driver.close()
    driver = _last_block(tmp_path, N * K)
    p, dx = (new_array(driver, (N, 1, 1, K), np.float32) for _ in range(2))
    labels = new_array(driver, (N,), np.int32)
    driver.copy_in(p.rows(N - 1, N).pointer, expected)
    driver.copy_in(labels.rows(N - 1, N).pointer, np.array([best], np.int32))
    softmax.softmax_backward(p, labels, dx, images=2)
    expected[..., best] -= 1
    np.testing.assert_allclose(read(dx.rows(N - 1, N)), expected / 2, rtol=1e-6)
    driver.close()


def test_the_last_sum_of_a_huge_bias_gradient(tmp_path: Path) -> None:
    K, block_rows = 7, 512
    rows = HUGE // K
    parts = -(-rows // block_rows)
    driver = SparseDriver(tmp_path, grid=parts, block=parts - 1)
    dy, sums = new_array(driver, (rows, K), np.float32), new_array(driver, (parts, K), np.float32)
    driver.copy_in(dy.rows(rows - 2, rows).pointer, np.arange(2 * K, dtype=np.float32))
    driver.launch("bias", "sum_rows", parts, BLOCK, dy, sums, rows, K, block_rows, 0, real=dy.dtype)
    np.testing.assert_array_equal(read(sums.rows(parts - 1, parts))[0], np.arange(K) * 2 + K)
    driver.close()


@pytest.mark.parametrize("N", [3, HUGE])
def test_filters_of_the_last_position_of_huge_volumes(tmp_path: Path, N: int) -> None:
    """Filters of one value: a position is multiplied by a number of its own. Volumes are huge, or the batch is."""
    H, W = (2**16, 2**15 + 16) if N == 3 else (1, 1)
    driver = SparseDriver(tmp_path, grid=H * W * -(-N // 32), block=H * W * -(-N // 32) - 1)
    x, y, dx = (new_array(driver, (N, H, W, 1), np.float32) for _ in range(3))
    w, dw = (new_array(driver, (H, W, 1, 1, 1, 1), np.float32) for _ in range(2))
    b = new_array(driver, (H, W, 1), np.float32)
    last, geometry = H * W - 1, {"F": 1, "S": 1, "P": 0}

    def corner(array: DeviceArray, n: int = 0) -> DeviceArray:
        return array.reshape(-1).rows(n * H * W + last, n * H * W + last + 1)

    for array, value in ((w, 3), (b, 1)):
        driver.copy_in(corner(array).pointer, np.array([value], np.float32))
    for n in range(N - 3, N):
        driver.copy_in(corner(x, n).pointer, np.array([n - N + 5], np.float32))  # 2, 3, 4
    local.local_forward(x, w, b, y, None, **geometry)
    np.testing.assert_array_equal([read(corner(y, n)) for n in range(N - 3, N)], [[7], [10], [13]])
    local.local_backward_input(y, w, dx, None, **geometry)
    np.testing.assert_array_equal([read(corner(dx, n)) for n in range(N - 3, N)], [[21], [30], [39]])
    if N == 3:
        local.local_backward_weights(x, y, dw, None, **geometry)
        assert read(corner(dw)) == 2 * 7 + 3 * 10 + 4 * 13
    driver.close()


def test_the_last_of_a_huge_number_of_filters(tmp_path: Path) -> None:
    """Volumes are small, the filters of the one position are more than 2**31 values."""
    K, D = 2**16 + 5, 2**15 + 3
    driver = SparseDriver(tmp_path, grid=-(-K // 32), block=-(-K // 32) - 1)
    w = new_array(driver, (1, 1, K, 1, 1, D), np.float32)
    x, b, y = (new_array(driver, shape, np.float32) for shape in ((1, 1, 1, D), (1, 1, K), (1, 1, 1, K)))
    driver.copy_in(w.reshape(K, D).rows(K - 1, K).pointer, np.resize(np.arange(7, dtype=np.float32), D))
    driver.copy_in(x.pointer, np.resize(np.arange(-1, 2, dtype=np.float32), D))
    local.local_forward(x, w, b, y, None, F=1, S=1, P=0)
    expected = np.resize(np.arange(7), D) @ np.resize(np.arange(-1, 2), D)
    np.testing.assert_array_equal(read(y.reshape(-1).rows(K - 5, K)), [0, 0, 0, 0, expected])
    driver.close()
