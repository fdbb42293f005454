"""Optimizer updates against their formulas in float64 and against PyTorch over several steps."""

import numpy as np
import pytest
import torch

from tests import oracle
from tests.ops import run_op

DTYPES = [np.float32, np.float64]
SHAPES = [(5, 3, 3, 7), (9,), (3, 70001)]


@pytest.mark.parametrize("weight_decay", [0.0, 0.03])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_sgd_goes_down_the_gradient(device, rng, shape, dtype, weight_decay):
    dw, w = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    _, found = run_op(device, "sgd_update", [], [dw, w], learning_rate=0.1, weight_decay=weight_decay)
    dw, w = dw.astype(np.float64), w.astype(np.float64)
    oracle.assert_near(found, w - 0.1 * (dw + weight_decay * w))


@pytest.mark.parametrize("weight_decay", [0.0, 0.03])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_momentum_gathers_velocity(device, rng, shape, dtype, weight_decay):
    dw, w, v = (rng.standard_normal(shape).astype(dtype) for _ in range(3))
    rates = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": weight_decay}
    _, found, velocity = run_op(device, "momentum_update", [], [dw, w, v], **rates)
    dw, w, v = (a.astype(np.float64) for a in (dw, w, v))
    v = 0.9 * v + dw + weight_decay * w
    oracle.assert_near(velocity, v)
    oracle.assert_near(found, w - 0.1 * v)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_pytorch_takes_the_same_steps(device, rng, momentum, weight_decay):
    """Six steps, the learning rate changing on the way, as a schedule changes it."""
    w, v = rng.standard_normal((6, 11)).astype(np.float32), np.zeros((6, 11), np.float32)
    theirs = torch.nn.Parameter(torch.tensor(w))
    optimizer = torch.optim.SGD([theirs], lr=1, momentum=momentum, weight_decay=weight_decay)
    for step in range(6):
        dw, rate = rng.standard_normal(w.shape).astype(np.float32), 0.1 / (step + 1)
        theirs.grad = torch.tensor(dw)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        if momentum:
            rates = {"learning_rate": rate, "momentum": momentum, "weight_decay": weight_decay}
            _, w, v = run_op(device, "momentum_update", [], [dw, w, v], **rates)
        else:
            _, w = run_op(device, "sgd_update", [], [dw, w], learning_rate=rate, weight_decay=weight_decay)
        oracle.assert_near(w, theirs.detach().numpy(), 1e-6)


def test_a_nan_gradient_is_not_swept_under_the_rug(device, rng):
    dw, w = (rng.standard_normal((4, 5)).astype(np.float32) for _ in range(2))
    dw[1, 2] = np.nan
    _, found = run_op(device, "sgd_update", [], [dw, w], learning_rate=0.1, weight_decay=0.0)
    assert np.argwhere(np.isnan(found)).tolist() == [[1, 2]]
