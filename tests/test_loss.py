"""What losses share: the mean over the images, sums of losses, and how a net takes its loss."""

import numpy as np
import pytest

import gpunet
from gpunet import FC, ConfigError, Conv, Hinge, Net, ReLU, SoftmaxCrossEntropy
from gpunet.layers import loss_types
from tests import oracle
from tests.layer_checks import check_slopes
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op

DTYPES = [np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("N", [1, 2, 63, 1000])
def test_the_mean_of_the_losses_and_the_number_of_hits(device, rng, N, dtype):
    losses, hits = rng.random(N).astype(dtype), rng.integers(0, 2, N).astype(np.int32)
    loss, correct = run_op(device, "mean_loss", [losses, hits], [((1,), dtype), ((1,), np.int32)])
    oracle.assert_near(loss, np.array([sum(losses.tolist()) / N]))
    assert correct.tolist() == [hits.sum()]


def test_one_loss_that_is_no_number_shows_in_the_mean(device):
    for wrong in (np.nan, np.inf):
        losses, hits = np.array([1, wrong, 2], np.float32), np.zeros(3, np.int32)
        loss, _ = run_op(device, "mean_loss", [losses, hits], [((1,), np.float32), ((1,), np.int32)])
        np.testing.assert_array_equal(loss, [wrong])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_loss_is_added_with_its_weight_in_training_alone(device, dtype):
    part, total = np.array([3], dtype), np.array([10], dtype)
    for training, weight, expected in ((1, 0.25, 10.75), (1, 1.0, 13), (1, 0.0, 10), (0, 0.25, 10)):
        (found,) = run_op(device, "add_loss", [part], [total], weight=weight, training=training)
        assert found.tolist() == [expected]


def test_a_net_is_another_with_another_loss():
    nets = [Net("2x2x1", [FC(3)], loss=loss) for loss in (SoftmaxCrossEntropy(0.1), Hinge(), Hinge(2), Hinge(2, True))]
    nets.append(Net("2x2x1", [FC(3)]))
    for net in nets:
        assert net == Net("2x2x1", [FC(3)], loss=net.loss) == net.scaled(width=0.5)
        assert sum(net == other for other in nets) == 1
    assert nets[-1].loss == SoftmaxCrossEntropy()


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(0.1), Hinge(squared=True)])
def test_every_value_of_the_last_volume_is_a_score(device, loss):
    check_slopes(Net("3x2x2", [Conv(2, F=1), ReLU(), Conv(3)], loss=loss), device)


@pytest.mark.parametrize("loss", ["softmax", Hinge, None, FC(3)])
def test_what_is_no_loss_is_refused(loss):
    with pytest.raises(ConfigError, match=r"loss must be a loss like SoftmaxCrossEntropy\(\); got "):
        Net("2x2x1", [FC(3)], loss=loss)


def test_losses_are_found_by_their_type():
    assert {kind.type: kind for kind in loss_types()} == {"softmax": SoftmaxCrossEntropy, "svm": Hinge}


def test_a_plan_is_of_the_loss_that_the_net_has():
    for loss, op in ((SoftmaxCrossEntropy(0.1), "softmax_forward"), (Hinge(), "hinge_forward")):
        made = gpunet.plan(Net("4x4x1", [FC(3)], loss=loss), 4, device="cpu")
        (found,) = [one for one in made.program.ops if one.phase == "loss" and not one.across_images]
        assert found.name == op


# Random calls of each op, for the tests that go through all ops.


def call_mean_loss(draw: Draw) -> Call:
    N = draw.size(1, 900)
    hits = draw.rng.integers(0, 2, N).astype(np.int32)
    return Call("mean_loss", (np.abs(draw.values(N)), hits), (((1,), draw.dtype), ((1,), np.int32)))


def call_add_loss(draw: Draw) -> Call:
    numbers = {"weight": 0.25, "training": draw.size(0, 1)}
    return Call("add_loss", (draw.values(1),), (draw.values(1),), (), numbers)


MUTANTS = [
    *mutants_of(
        "loss.cu",
        "mean_loss",
        ("the last loss is left out", "n < N; n += BLOCK", "n < N - 1; n += BLOCK"),
        ("mean of a block", "sum / real(N)", "sum / real(BLOCK)"),
        ("losses for hits", "count += hits[n]", "count += losses[n] > 0"),
    ),
    *mutants_of(
        "loss.cu",
        "add_loss",
        ("what was there is forgotten", "*total += weight * *part", "*total = weight * *part"),
        ("no weight", "weight * *part", "*part"),
    ),
]
"""Changes of its kernels that the tests above, and those of all ops, must notice."""
