"""Gradient clipping against its definition and PyTorch: the ops, and steps of models in every kind of plan."""

from math import fsum, sqrt

import numpy as np
import pytest
import torch

import gpunet
from gpunet import ConfigError, Learning, Model
from gpunet.compile.ways import Ways
from gpunet.program.tensor import Kind
from tests import oracle
from tests.conftest import make_device
from tests.layer_checks import check_savings
from tests.mutations import mutants_of
from tests.nets import small
from tests.op_calls import Call, Draw
from tests.ops import run_op
from tests.test_batch_norm import small as normed
from tests.test_learning import judged
from tests.test_ways import LIMIT, planned

DTYPES = [np.float32, np.float64]


def square_sum_of(device, dw: np.ndarray, *, block_values: int, before: float | None = None) -> float:
    """What add_square_sum gives: of dw alone, or added to what was there before."""
    total = ((1,), dw.dtype) if before is None else np.array([before], dw.dtype)
    scratch = [((-(-dw.size // block_values),), dw.dtype)]
    numbers = {"block_values": block_values, "begins": int(before is None)}
    return float(run_op(device, "add_square_sum", [dw], [total], scratch, **numbers)[0][0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape, block_values", [((5, 3, 7), 16), ((1,), 512), ((3, 1001), 300), ((1201,), 4), ((2049,), 2048)]
)
def test_squares_are_summed(device, rng, shape, block_values, dtype):
    dw = rng.standard_normal(shape).astype(dtype)
    expected = fsum(float(g) ** 2 for g in dw.reshape(-1))
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    assert square_sum_of(device, dw, block_values=block_values) == pytest.approx(expected, rel=tolerance)
    found = square_sum_of(device, dw, block_values=block_values, before=2.5)
    assert found == pytest.approx(2.5 + expected, rel=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_are_clipped_by_value_and_nan_stays(device, rng, dtype):
    dw = rng.standard_normal((7, 13)).astype(dtype)
    dw[0, :3] = np.nan, np.inf, -np.inf
    (found,) = run_op(device, "clip_by_value", [], [dw], most=0.5)
    expected = [g if g != g else max(-0.5, min(0.5, g)) for g in dw.reshape(-1).tolist()]
    np.testing.assert_array_equal(found, np.reshape(expected, dw.shape).astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm", [0.0, 0.1, 2.0, 30.0])
def test_gradients_are_clipped_by_the_norm_of_all(device, rng, norm, dtype):
    dw = rng.standard_normal((7, 13)).astype(dtype)
    (found,) = run_op(device, "clip_by_norm", [np.array([norm**2], dtype)], [dw], most=2.0)
    if norm < 2:
        np.testing.assert_array_equal(found, dw)
    else:
        oracle.assert_near(found, dw.astype(np.float64) * 2 / (norm + 1e-6))


def test_a_norm_that_is_no_number_is_not_swept_under_the_rug(device):
    for norm, expected in ((np.nan, np.nan), (np.inf, 0.0)):
        (found,) = run_op(device, "clip_by_norm", [np.array([norm], np.float32)], [np.ones(9, np.float32)], most=2.0)
        np.testing.assert_array_equal(found, np.full(9, expected, np.float32))
    assert square_sum_of(device, np.full(9, 1e30, np.float32), block_values=4) == np.inf


# -- in a model ------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [0.05, pytest.param(0.5, marks=pytest.mark.slow), 1e6])
def test_steps_clipped_by_norm_are_pytorchs(device, most):
    steps = 40 if device.name == "cpu" else 2
    judged(
        normed(), device, Learning(clip_norm=most), steps, lambda name: {},
        lambda learnt: torch.nn.utils.clip_grad_norm_(learnt, most),
    )  # fmt: skip


@pytest.mark.parametrize("most", [1e-3, pytest.param(0.05, marks=pytest.mark.slow)])
def test_steps_clipped_by_value_are_pytorchs(device, most):
    steps = 40 if device.name == "cpu" else 2
    judged(
        normed(), device, Learning(clip_value=most), steps, lambda name: {},
        lambda learnt: torch.nn.utils.clip_grad_value_(learnt, most),
    )  # fmt: skip


def test_values_are_clipped_before_the_norm():
    def clip(learnt):
        learnt = list(learnt)
        torch.nn.utils.clip_grad_value_(learnt, 0.01)
        torch.nn.utils.clip_grad_norm_(learnt, 0.05)

    judged(normed(), make_device("cpu"), Learning(clip_value=0.01, clip_norm=0.05), 10, lambda name: {}, clip)


CLIPS = pytest.mark.parametrize("clip", [{"clip_norm": 0.1}, {"clip_value": 0.01}], ids=["norm", "value"])


@CLIPS
def test_savings_change_nothing(clip):
    check_savings(small(), make_device("cpu"), Learning("adam", **clip))


@CLIPS
def test_rounds_are_summed_first_and_clipped_afterwards(rng, clip):
    images, labels = rng.standard_normal((6, *small().input.shape)), rng.integers(0, 4, 6)
    found = []
    for ways in (Ways(LIMIT), Ways(LIMIT, micro_batch=2), Ways(LIMIT, micro_batch=4)):
        plan = planned(small(), 6, "cpu", ways, dtype="float64", optimizer=Learning("sgd", **clip))
        with Model(small(), 6, make_device("cpu"), plan=plan, dtype="float64", learning_rate=0.1, debug=True) as model:
            start = dict(model.parameters)
            model.step(images, labels)
            found.append({name: value - start[name] for name, value in model.parameters.items()})
    whole, *others = found
    assert all(np.abs(values).max() > 0 for values in whole.values())
    if "clip_norm" in clip:
        norm = sqrt(sum(float(np.square(values).sum()) for values in whole.values()))
        assert norm == pytest.approx(0.1 * clip["clip_norm"], rel=1e-4)
    for other in others:
        for name, values in whole.items():
            np.testing.assert_allclose(other[name], values, rtol=0, atol=1e-12, err_msg=name)


def test_an_update_waits_for_what_its_clipping_waits_for():
    names = {}
    for how in (Learning(), Learning(clip_value=1), Learning(clip_norm=1)):
        ops = gpunet.plan(gpunet.load("vgg_digits"), 6, optimizer=how, without=["late-gradients"]).program.ops
        names[how] = [op.name for op in ops]
        last_backward = max(step for step, op in enumerate(ops) if op.phase == "backward")
        updates = [step for step, op in enumerate(ops) if op.name == "momentum_update"]
        assert (min(updates) > last_backward) == (how.clip_norm is not None)
        written = {}
        for step, op in enumerate(ops):
            for tensor in op.outputs:
                if tensor.kind is Kind.PARAMETER_GRADIENT:
                    written.setdefault(tensor.name, []).append(step)
            if op.name == "momentum_update":  # all that was done to its gradient was done before
                assert max(written[op.inputs[-1].name]) < step
    assert len({*map(len, names.values())}) == 3


def test_a_model_takes_what_its_plan_says_and_gives_gradients_that_are_not_clipped(device, rng):
    images, labels = rng.standard_normal((6, *small().input.shape)).astype(np.float32), rng.integers(0, 4, 6)
    found = []
    for how in (Learning(), Learning(clip_norm=1e-3), Learning(clip_value=1e-3)):
        plan = gpunet.plan(small(), 6, device=device.name, optimizer=how)
        with Model(small(), 6, device, optimizer=how, debug=True) as model:
            assert model.arena_bytes == plan.arena_bytes
            found.append({name: value.tobytes() for name, value in model.gradients(images, labels).items()})
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("name", ["clip_value", "clip_norm"])
@pytest.mark.parametrize("most", [0, -1.0, float("nan"), float("inf"), True, "1"])
def test_what_cannot_be_clipped_to_is_refused(name, most):
    with pytest.raises(ConfigError, match=f"{name} must be a number above 0; got"):
        Learning(**{name: most})


# Random calls of each op, for the tests that go through all ops, and mutants of the kernels.


def call_clip_by_value(draw: Draw) -> Call:
    return Call("clip_by_value", (), (draw.values(*draw.volume()),), attributes={"most": 0.75})


def call_add_square_sum(draw: Draw) -> Call:
    dw, begins, block_values = draw.values(*draw.volume()), draw.size(0, 1), draw.size(1, 700)
    total = ((1,), draw.dtype) if begins else draw.values(1)
    partials = ((-(-dw.size // block_values) + draw.size(0, 3),), draw.dtype)
    numbers = {"block_values": block_values, "begins": begins}
    return Call("add_square_sum", (dw,), (total,), (partials,), attributes=numbers)


def call_clip_by_norm(draw: Draw) -> Call:
    total = np.abs(draw.values(1)) * 9
    return Call("clip_by_norm", (total,), (draw.values(*draw.volume()),), attributes={"most": 2.0})


MUTANTS = [
    *mutants_of(
        "clip.cu",
        "clip_by_value",
        ("above alone", "            if (g < -most) g = -most;\n", ""),
        ("below alone", "            if (g > most) g = most;\n", ""),
        ("NaN becomes a number", "if (g > most) g = most;", "if (!(g <= most)) g = most;"),
    ),
    *mutants_of(
        "clip.cu",
        "square_sums",
        ("sums of values", "sum += dw[item] * dw[item]", "sum += dw[item]"),
        ("the last block reads on", "last = after < count ? after : count", "last = after"),
        ("the first thread's alone", "sum = reduce_sum(sum, shared);\n        if", "if"),
    ),
    *mutants_of(
        "clip.cu",
        "add_partials",
        ("nothing is added to", "begins ? sum : square_sum[0] + sum", "sum"),
        ("always added to", "begins ? sum : square_sum[0] + sum", "square_sum[0] + sum"),
        (
            "the first 256 alone",
            "item < blocks; item += BLOCK",
            "item < blocks && item < BLOCK; item += BLOCK",
        ),
    ),
    *mutants_of(
        "clip.cu",
        "clip_by_norm",
        ("small gradients grow", "    if (factor > real(1)) return;  // a NaN goes on\n", ""),
        ("no root", "sqrt(square_sum[0])", "square_sum[0]"),
        ("a NaN is forgotten", "if (factor > real(1)) return;", "if (!(factor <= real(1))) return;"),
        ("nothing to divide by but 0", "(sqrt(square_sum[0]) + real(1e-6))", "(sqrt(square_sum[0]) + real(1))"),
    ),
]
