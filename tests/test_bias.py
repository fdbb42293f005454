"""The gradient of biases: a sum over many rows that loses nothing."""

from math import prod

import numpy as np
import pytest

from tests import oracle
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op


def counters(values: int) -> np.ndarray:
    """As a plan has them for so many sums."""
    return np.zeros(-(-values // 8), np.int32)


def backward(device, dy, block_rows, spare=0, onto=None):
    """db, or its sum with `onto`."""
    rows, K = dy.size // dy.shape[-1], dy.shape[-1]
    partials = (-(-rows // block_rows) + spare, K), dy.dtype
    db, more = (((K,), dy.dtype), {}) if onto is None else (onto, {"accumulate": 1})
    (db,) = run_op(device, "bias_backward", [dy, counters(K)], [db], [partials], block_rows=block_rows, **more)
    return db


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 5, 7, 4), (1, 1, 1, 6), (5, 1, 1, 1), (2, 9, 8, 131)])
@pytest.mark.parametrize("block_rows", [1, 4, 105, 512])
def test_it_is_the_sum_over_images_and_positions(device, rng, shape, block_rows, dtype):
    dy = rng.standard_normal(shape).astype(dtype)
    oracle.assert_near(backward(device, dy, block_rows), oracle.bias_backward(dy))


def test_a_smaller_batch_in_the_scratch_of_a_larger_one(device, rng):
    dy = rng.standard_normal((2, 5, 3, 4))
    oracle.assert_near(backward(device, dy, 8, spare=9), oracle.bias_backward(dy))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("block_rows", [3, 512])
def test_rounds_are_added_up_one_after_the_other(device, rng, dtype, block_rows):
    dy = rng.standard_normal((6, 5, 7, 37)).astype(dtype)
    parts = [backward(device, part, block_rows) for part in (dy[:3], dy[3:5], dy[5:])]
    db = parts[0]
    for part in (dy[3:5], dy[5:]):
        db = backward(device, part, block_rows, onto=db)
    np.testing.assert_array_equal(db, parts[0] + parts[1] + parts[2])
    oracle.assert_near(db, oracle.bias_backward(dy))


def test_small_values_are_not_lost_beside_a_large_sum(device):
    """131,072 times 0.1 in float32: added one by one to a running sum this is off by more than 1e-4."""
    dy = np.full((2, 256, 256, 2), 0.1, np.float32)
    expected = dy.size / 2 * float(np.float32(0.1))
    assert abs(np.cumsum(dy[..., 0], dtype=np.float32)[-1] - expected) > 1e-4 * expected
    np.testing.assert_allclose(backward(device, dy, 512), expected, rtol=1e-5)


def test_nan_and_infinity_are_seen(device, rng):
    dy = rng.standard_normal((3, 4, 5, 3)).astype(np.float32)
    dy[2, 1, 0, 1], dy[0, 3, 4, 2] = np.nan, np.inf
    db = backward(device, dy, 7)
    np.testing.assert_array_equal(db[1:], [np.nan, np.inf])
    assert np.isfinite(db[0])


def test_twice_the_same_bits(device, rng):
    dy = rng.standard_normal((7, 13, 11, 5)).astype(np.float32)
    np.testing.assert_array_equal(backward(device, dy, 64), backward(device, dy, 64))


# Random calls of each op, for the tests that go through all ops.


def call_bias_backward(draw: Draw) -> Call:
    N, H, W, _ = draw.volume()
    K, block_rows = draw.size(1, 70), draw.size(1, 40)
    shape = (K,) if draw.rng.random() < 0.7 else (H, W, K)  # of each map, or of each value
    rows, values = (N + 2) * H * W * K // prod(shape), prod(shape)
    partials = -(-rows // block_rows), values
    db, accumulate = draw.sum(shape)
    attributes = {"block_rows": block_rows, **accumulate}
    return Call(
        "bias_backward", (draw.values(N, H, W, K), counters(values)), (db,), ((partials, draw.dtype),), attributes
    )


MUTANTS = [
    *mutants_of(
        "bias.cu",
        "add_bias",
        ("the bias of the first maps", "biases = load<COUNT>(b + k);", "biases = load<COUNT>(b);"),
        ("one row too many", "; row < rows; row += lines", "; row <= rows; row += lines"),
        ("packs across rows", "K % WIDTH == 0 && aligned(b, y)", "aligned(b, y)"),
        ("packs at any address in", "aligned(b, y)", "aligned(y)"),
        ("packs at any address out", "aligned(b, y)", "aligned(b)"),
        ("biases replace", "values.value[lane] += biases", "values.value[lane] = biases"),
    ),
    *mutants_of(
        "bias.cu",
        "sum_rows",
        ("the first row alone", "load<COUNT>(values + row * K + k)", "load<COUNT>(values + k)"),
        ("maps behind the last", "if (!writes() || k >= K) return;", "if (!writes()) return;"),
        ("partial sums overlap", "store(sums + part * K + k, sum.of[0]);", "store(sums + part + k, sum.of[0]);"),
        ("earlier sums are forgotten", "if (accumulate) add_to", "if (false) add_to"),
        ("packs across rows", "K % WIDTH == 0 && aligned(values, sums)", "aligned(values, sums)"),
        ("packs at any address", "K % WIDTH == 0 && aligned(values, sums)", "K % WIDTH == 0"),
    ),
    *mutants_of(
        "bias.cu",
        "bias_backward",
        ("the first row alone", "load<COUNT>(dy + row * K + k)", "load<COUNT>(dy + k)"),
        (
            "partial sums overlap",
            "store(partials + part * K + k, sum.of[0]);",
            "store(partials + part + k, sum.of[0]);",
        ),
        ("the last part alone", "so_far.of[0].value[0] += fresh(", "so_far.of[0].value[0] = fresh("),
        ("earlier sums are forgotten", "accumulate ? sum.of[0].value[0] + db[k] :", ""),
        ("packs across rows", "K % WIDTH == 0 && aligned(dy, partials)", "aligned(dy, partials)"),
        ("packs at any address", "K % WIDTH == 0 && aligned(dy, partials)", "K % WIDTH == 0"),
    ),
]
"""Changes of its kernels that the tests above, and those of all ops, must notice."""
