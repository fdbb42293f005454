"""Batch normalization with ReLU behind it, and a sum between: the bits of the separate ops in one pass."""

from collections import Counter

import numpy as np
import pytest

import gpunet
from gpunet import Model, Net
from gpunet.compile.fuse_norm import norm_relu
from tests.op_calls import Call, Draw
from tests.ops import run_op
from tests.test_batch_norm import _batch_norm, _batch_norm_parts, counters

# -- ops -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_forward_gives_the_bits_of_the_ops_one_after_the_other(device, seed, added):
    draw = Draw(np.random.default_rng(seed), (np.float32, np.float64)[seed % 2])
    x, each, eps = _batch_norm(draw)
    x[0, 0, 0, 0] = np.nan
    z, like = draw.values(*x.shape), [(x.shape, draw.dtype)]
    (before,) = run_op(device, "batch_norm_forward", [x, *each], like, **eps)
    if added:
        (before,) = run_op(device, "add", [before, z], like)
    (expected,) = run_op(device, "relu_forward", [before], like)
    given = [x, *each, z if added else None]
    (found,) = run_op(device, "batch_norm_relu_forward", given, like, **eps)
    assert found.tobytes() == expected.tobytes()
    assert np.isnan(found[0, 0, 0, 0]) and (found == 0).any() and (found > 0).any()


@pytest.mark.parametrize("block_rows", [1, 5, 512])
@pytest.mark.parametrize("seed", range(6))
def test_backward_gives_the_bits_of_the_ops_one_after_the_other(device, seed, block_rows):
    """Values of exactly 0 let nothing pass, NaN does."""
    draw = Draw(np.random.default_rng(seed), (np.float32, np.float64)[seed % 2])
    x, (mean, variance, scale, shift), eps = _batch_norm(draw)
    shift[0], scale[-1] = 0, 0
    x[0, 0, :, 0] = mean[0]  # normalized values of exactly 0
    x[-1, -1, 0, -1] = np.nan
    dy, like, D = draw.values(*x.shape), [(x.shape, draw.dtype)], x.shape[-1]
    (y,) = run_op(device, "batch_norm_relu_forward", [x, mean, variance, scale, shift, None], like, **eps)
    (behind,) = run_op(device, "relu_backward", [dy, y], like)
    scratch, sums = [((2 * -(-x.size // D // block_rows), D), draw.dtype)], [((D,), draw.dtype)] * 2
    numbers = {"block_rows": block_rows, **eps}
    each, given = [x, mean, variance], [x, mean, variance, scale, shift]
    expected = run_op(device, "batch_norm_backward_sums", [behind, *each, counters(D)], sums, scratch, **numbers)
    found = run_op(device, "batch_norm_relu_backward_sums", [dy, *given, counters(D)], sums, scratch, **numbers)
    assert [one.tobytes() for one in found] == [one.tobytes() for one in expected]
    (expected_dx,) = run_op(device, "batch_norm_backward", [behind, *each, scale, *expected], like, **eps)
    (dx,) = run_op(device, "batch_norm_relu_backward", [dy, *given, *expected], like, **eps)
    assert dx.tobytes() == expected_dx.tobytes()


# -- programs --------------------------------------------------------------------------------------


def residual() -> Net:
    """ReLU behind normalization, behind a sum of two of them and behind a sum with what was there."""
    return gpunet.load(
        "INPUT[12x12x3] -> CONV3-8 -> BN -> RELU -> { CONV3-8 -> BN -> RELU -> CONV3-8 -> BN + CONV1-8 -> BN } -> RELU "
        "-> { CONV3-8 -> BN + ID } -> RELU -> CONV3-8 -> FC-4"
    )


def ops_of(net: Net, without: tuple[str, ...] = (), mode: str = "train") -> Counter[str]:
    plan = gpunet.plan(net, 4, device="cuda", mode=mode, max_cost=0, without=without)
    return Counter(op.name for op in plan.program.ops)


READ_LATER = ("conv-norm", "late-conv-norm")
"""Rewrites by which the next convolution normalizes what it reads: of norms by themselves they leave few."""


def test_relu_is_part_of_it_forward_and_backward():
    apart, fused = ops_of(residual(), (*READ_LATER, "norm-relu")), ops_of(residual(), READ_LATER)
    assert (apart["batch_norm_forward"], apart["relu_forward"], apart["add"]) == (5, 4, 2)
    assert (fused["batch_norm_forward"], fused["batch_norm_relu_forward"], fused["relu_forward"]) == (1, 4, 0)
    assert (fused["add"], fused["add_relu_backward"]) == (1, 1)  # of gradients, in front of relu1 and of relu3
    assert (fused["batch_norm_relu_backward"], fused["batch_norm_backward"]) == (2, 3)
    assert fused["batch_norm_relu_backward_sums"] == 2
    slopes = ("relu_backward", "relu_backward_masked", "add_relu_backward", "conv_relu_backward_input")
    assert sum(apart[name] - fused[name] for name in slopes) == 2


def test_in_inference_a_residual_block_ends_in_one_op():
    fused = ops_of(residual(), READ_LATER, mode="infer")
    assert (fused["batch_norm_relu_forward"], fused["add"], fused["batch_norm_forward"]) == (4, 0, 1)


@pytest.mark.parametrize(
    "words",
    [
        "INPUT[8x8x2] -> CONV3-4 -> BN -> { RELU + ID } -> FC-3",  # another reader of the normalized values
        "INPUT[8x8x2] -> CONV3-4 -> { BN + ID }(0.5, 1) -> RELU -> FC-3",  # a sum with coefficients
        "INPUT[8x8x2] -> CONV3-4 -> BN -> LRELU -> FC-3",
    ],
)
def test_where_others_read_or_something_else_is_done_it_stays_apart(words):
    assert ops_of(gpunet.load(words))["batch_norm_relu_forward"] == 0


def test_where_gradients_go_elsewhere_too_backward_stays_apart():
    """A sum behind the ReLU's gradient, as of a layer that takes what the normalization gave, too."""
    program = gpunet.plan(residual(), 4, device="cuda", max_cost=0, without=("norm-relu",)).program
    assert norm_relu(program).steps < program.steps
    frozen = gpunet.plan(residual(), 4, device="cuda", max_cost=0, optimizer=gpunet.Learning(freeze="bn1")).program
    names = Counter(op.name for op in frozen.ops)
    assert names["batch_norm_backward_frozen"] == 1 and names["batch_norm_relu_backward"] == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_and_inference_give_the_same_bits(device, dtype):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (4, 12, 12, 3), np.uint8), rng.integers(0, 4, 4)
    ends = []
    for without in ((), ("norm-relu", "sum-slope")):
        with Model(residual(), 4, device, seed=1, dtype=dtype, without=without, debug=True) as model:
            losses = [model.step(images[:n], labels[:n]) for n in (4, 3)]
            gradients = model.gradients(images, labels)
            arrays = (*model.parameters.values(), *gradients.values(), model.forward(images))
            ends.append((losses, *(array.tobytes() for array in arrays)))
    assert ends[0] == ends[1]


def test_there_are_fewer_steps_and_no_higher_peak():
    net = gpunet.load("resnet20")
    fused, apart = (
        gpunet.plan(net, 16, device="cuda", max_cost=0, without=(*names, "conv-slope"))
        for names in ((), ("norm-relu",))
    )
    assert fused.lower_bound_bytes <= apart.lower_bound_bytes
    assert fused.program.steps < apart.program.steps - 35


# Random calls of each op, for the tests that go through all ops.


def call_batch_norm_relu_forward(draw: Draw) -> Call:
    x, each, eps = _batch_norm(draw)
    z = draw.values(*x.shape) if draw.size(0, 1) else None
    aliases = ({0: 0},) if z is None else ({0: 0}, {0: 5})
    outputs = ((x.shape, draw.dtype),)
    return Call("batch_norm_relu_forward", (x, *each, z), outputs, attributes=eps, aliases=aliases)


def call_batch_norm_relu_backward_sums(draw: Draw) -> Call:
    x, each, eps = _batch_norm(draw)
    scratch, numbers = _batch_norm_parts(draw, x)
    inputs = draw.values(*x.shape), x, *each, counters(x.shape[-1])
    return Call("batch_norm_relu_backward_sums", inputs, ((x.shape[-1:], draw.dtype),) * 2, scratch, numbers | eps)


def call_batch_norm_relu_backward(draw: Draw) -> Call:
    x, each, eps = _batch_norm(draw)
    sums = [draw.values(x.shape[-1]) for _ in range(2)]
    inputs = draw.values(*x.shape), x, *each, *sums
    aliases = {0: 0}, {0: 1}
    return Call("batch_norm_relu_backward", inputs, ((x.shape, draw.dtype),), attributes=eps, aliases=aliases)
