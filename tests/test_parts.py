"""Sums over the parts of a batch: the op that adds them up in order."""

import numpy as np
import pytest

from tests.op_calls import Call, Draw
from tests.ops import run_op


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parts_are_added_in_their_order_and_the_first_is_copied_bit_for_bit(device, rng, dtype):
    parts = [(rng.standard_normal((3, 5)) * 10.0**power).astype(dtype) for power in (0, 7, -3)]
    parts[0][0, 0], parts[1][0, 1] = -0.0, np.nan
    (total,) = run_op(device, "add_part", [parts[0]], [((3, 5), dtype)], accumulate=0)
    assert total.tobytes() == parts[0].tobytes()
    expected = total
    for part in parts[1:]:
        (total,) = run_op(device, "add_part", [part], [total], accumulate=1)
        expected = expected + part
    assert total.tobytes() == expected.tobytes()


def call_add_part(draw: Draw) -> Call:
    x = draw.activations()
    return Call("add_part", (x,), ((x.shape, draw.dtype),), attributes={"accumulate": 0})
