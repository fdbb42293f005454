"""Convolution with ReLU behind it: bit for bit what the two ops give, on each device."""

import numpy as np
import pytest

from tests.op_calls import Call, Draw
from tests.ops import run_op
from tests.test_conv import call_conv_forward


@pytest.mark.parametrize("seed", range(6))
def test_it_gives_the_bits_of_both_ops(device, seed):
    draw = Draw(np.random.default_rng(seed), (np.float32, np.float64)[seed % 2])
    call = call_conv_forward(draw)
    x = call.inputs[0].copy()
    x[0, 0, 0, 0] = np.nan
    call = Call("conv_forward", (x, *call.inputs[1:]), call.outputs, call.scratch, call.attributes)
    (before,) = call.run(device)
    (expected,) = run_op(device, "relu_forward", [before], [(before.shape, before.dtype)])
    fused = Call("conv_relu_forward", call.inputs, call.outputs, call.scratch, call.attributes)
    assert fused.run(device)[0].tobytes() == expected.tobytes()


@pytest.mark.parametrize("algorithm", ["implicit", "depthwise"])
def test_the_cpu_takes_every_algorithm(algorithm):
    from gpunet.devices import open_device

    cpu = open_device("cpu")
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((2, 5, 6, 3)), rng.standard_normal((3, 3, 3, 1)), rng.standard_normal(3)
    numbers = {
        "S_rows": 1,
        "S_columns": 1,
        "P_top": 1,
        "P_left": 1,
        "dilation_rows": 1,
        "dilation_columns": 1,
        "algorithm": algorithm,
    }
    outputs, none = [((2, 5, 6, 3), np.float64)], (None, None)
    (expected,) = run_op(cpu, "conv_forward", [x, w, b], outputs, none, **numbers)
    (found,) = run_op(cpu, "conv_relu_forward", [x, w, b], outputs, none, **numbers)
    assert found.tobytes() == np.maximum(expected, 0).tobytes()


def call_conv_relu_forward(draw: Draw) -> Call:
    call = call_conv_forward(draw)
    return Call("conv_relu_forward", call.inputs, call.outputs, call.scratch, call.attributes)
