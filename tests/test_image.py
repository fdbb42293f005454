"""Images of bytes become floats."""

import numpy as np
import pytest

from tests import oracle
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op


@pytest.mark.parametrize("shape", [(3, 5, 7, 2), (2, 97, 181, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_pixel_is_scaled_and_shifted(device, rng, dtype, shape):
    x = rng.integers(0, 256, shape, np.uint8)
    x.reshape(-1)[:2] = 0, 255
    scale, shift = 1 / 58.4, -2.1179
    (y,) = run_op(device, "image_to_float", [x], [(shape, dtype)], scale=scale, shift=shift)
    assert y.dtype == dtype
    oracle.assert_near(y, x.astype(np.float64) * scale + shift, 1e-6 if dtype == np.float32 else 1e-15)


def test_scale_one_and_shift_zero_keep_every_byte(device):
    x = np.arange(256, dtype=np.uint8).reshape(2, 8, 4, 4)
    (y,) = run_op(device, "image_to_float", [x], [(x.shape, np.float32)], scale=1.0, shift=0.0)
    np.testing.assert_array_equal(y, x)


# Random calls of each op, for the tests that go through all ops.


def call_image_to_float(draw: Draw) -> Call:
    x = draw.rng.integers(0, 256, draw.volume()).astype(np.uint8)
    return Call("image_to_float", (x,), ((x.shape, draw.dtype),), attributes={"scale": 1 / 64, "shift": -2.0})


MUTANTS = [
    *mutants_of(
        "image.cu",
        "image_to_float",
        ("the last byte is left out", "elementwise(count,", "elementwise(count - 1,"),
        ("the shift is subtracted", "* scale + shift;", "* scale - shift;"),
        ("no scale", "* scale + shift;", "+ shift;"),
    ),
]
"""Changes of its kernels that the tests above, and those of all ops, must notice."""
