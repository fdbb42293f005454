"""The multiclass SVM loss against float64 loops, slopes and PyTorch; the kink, large scores, ties and NaN."""

import numpy as np
import pytest
import torch

import gpunet
from gpunet import FC, ConfigError, Conv, Hinge, MaxPool, Net, ReLU
from tests import oracle
from tests.layer_checks import check_net
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op

DTYPES = [np.float32, np.float64]
SHAPES = [(3, 7), (1, 1), (70, 10), (5, 1000)]
"""N, classes."""
LOSSES = [(1.0, False), (0.5, True), (3.0, False)]
"""Margin, squared."""


def draw(rng, N, classes, dtype=np.float64):
    scores = (2 * rng.standard_normal((N, 1, 1, classes))).astype(dtype)
    return scores, rng.integers(0, classes, N).astype(np.int32)


def forward(device, scores, labels, margin=1.0, squared=False):
    """Losses and hits."""
    outputs = [((len(labels),), scores.dtype), ((len(labels),), np.int32)]
    return run_op(device, "hinge_forward", [scores, labels], outputs, margin=margin, squared=int(squared))


def backward(device, scores, labels, margin=1.0, squared=False, in_place=None, **numbers):
    numbers = {"margin": margin, "squared": int(squared), **numbers}
    outputs = [(scores.shape, scores.dtype)]
    (dx,) = run_op(device, "hinge_backward", [scores, labels], outputs, in_place=in_place, **numbers)
    return dx


@pytest.mark.parametrize("in_place", [None, {0: 0}])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("margin, squared", LOSSES)
@pytest.mark.parametrize("shape", SHAPES)
def test_losses_hits_and_gradients_are_those_of_the_loops(device, rng, shape, margin, squared, dtype, in_place):
    scores, labels = draw(rng, *shape, dtype)
    losses, hits, dx = oracle.hinge(scores, labels, margin, squared)
    found, right = forward(device, scores, labels, margin, squared)
    oracle.assert_near(found, losses)
    np.testing.assert_array_equal(right, hits)
    oracle.assert_near(backward(device, scores, labels, margin, squared, in_place), dx)


def test_the_example_of_the_notes(device):
    """CS231n: scores 13, -7, 11, the first class is right, margin 10: the loss is 8."""
    scores, labels = np.array([13, -7, 11], np.float32).reshape(1, 1, 1, 3), np.array([0], np.int32)
    assert forward(device, scores, labels, 10.0)[0].tolist() == [8]
    assert forward(device, scores, labels, 10.0, True)[0].tolist() == [64]
    assert backward(device, scores, labels, 10.0).ravel().tolist() == [-1, 0, 1]


@pytest.mark.parametrize("squared", [False, True])
def test_just_at_the_margin_there_is_neither_loss_nor_gradient(device, squared):
    scores, labels = np.array([3, 2, 2, 1], np.float32).reshape(1, 1, 1, 4), np.array([0], np.int32)
    assert forward(device, scores, labels, 1.0, squared)[0].tolist() == [0]
    assert backward(device, scores, labels, 1.0, squared).ravel().tolist() == [0] * 4


def test_of_equal_highest_scores_only_the_first_is_a_hit(device):
    scores = np.array([2, 5, 1, 5, 5], np.float32).reshape(1, 1, 1, 5).repeat(5, axis=0)
    assert forward(device, scores, np.arange(5, dtype=np.int32))[1].tolist() == [0, 1, 0, 0, 0]


@pytest.mark.parametrize("squared", [False, True])
def test_a_nan_score_shows_in_the_loss_and_the_gradients_of_its_class_and_the_label(device, rng, squared):
    scores, labels = draw(rng, 4, 6, np.float32)
    labels[2], scores[2, 0, 0, 3] = 1, np.nan  # of another class
    labels[3], scores[3, 0, 0, 5] = 5, np.nan  # of the label
    losses, _ = forward(device, scores, labels, squared=squared)
    assert np.isnan(losses).tolist() == [False, False, True, True]
    wrong = np.isnan(backward(device, scores, labels, squared=squared).reshape(4, 6))
    expected = [[False] * 6, [False] * 6, [k in (1, 3) for k in range(6)], [True] * 6]
    assert wrong.tolist() == expected


def test_infinite_scores(device):
    inf = np.inf
    scores = np.array([[inf, 0, 1], [0, inf, 1], [-inf, 0, 1], [inf, inf, 0]], np.float32).reshape(4, 1, 1, 3)
    losses, _ = forward(device, scores, np.zeros(4, np.int32))
    np.testing.assert_array_equal(losses, [0, inf, inf, np.nan])
    dx = backward(device, scores, np.zeros(4, np.int32)).reshape(4, 3) * 4
    np.testing.assert_array_equal(dx[:3], [[0, 0, 0], [-2, 1, 1], [-2, 1, 1]])
    np.testing.assert_array_equal(dx[3], [np.nan, np.nan, 0])


@pytest.mark.parametrize("margin, squared", LOSSES)
def test_gradients_are_the_slopes_of_the_mean_loss(device, rng, margin, squared):
    scores, labels = draw(rng, 5, 4)

    def loss(scores):
        return float(forward(device, scores, labels, margin, squared)[0].mean())

    dx = backward(device, scores, labels, margin, squared)
    oracle.assert_near(dx, oracle.numeric_gradient(loss, scores), 1e-7)


def test_rounds_of_a_batch_have_the_gradients_of_the_whole(device, rng):
    scores, labels = draw(rng, 70, 10, np.float32)
    whole = backward(device, scores, labels)
    for first, last in ((0, 33), (33, 66), (66, 70)):
        part = backward(device, scores[first:last], labels[first:last], images=70)
        np.testing.assert_array_equal(part, whole[first:last])


def test_the_gradient_takes_its_weight(device, rng):
    scores, labels = draw(rng, 9, 33, np.float32)
    plain = backward(device, scores, labels)
    np.testing.assert_array_equal(backward(device, scores, labels, weight=1.0), plain)
    np.testing.assert_array_equal(backward(device, scores, labels, weight=0.25), plain / 4)


@pytest.mark.parametrize("margin, squared", LOSSES)
def test_pytorch_agrees_but_for_the_number_of_classes(device, rng, margin, squared):
    scores, labels = draw(rng, 37, 10)
    x = torch.tensor(scores.reshape(37, 10), requires_grad=True)
    wanted = torch.tensor(labels, dtype=torch.int64)
    loss = 10 * torch.nn.functional.multi_margin_loss(x, wanted, p=2 if squared else 1, margin=margin)
    loss.backward()
    losses, hits = forward(device, scores, labels, margin, squared)
    np.testing.assert_allclose(losses.mean(), loss.item(), rtol=1e-12)
    assert hits.sum() == (x.argmax(dim=1) == wanted).sum().item()
    oracle.assert_near(backward(device, scores, labels, margin, squared).reshape(37, 10), x.grad.numpy(), 1e-12)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("last", [[FC(4)], [FC(4), ReLU()], [Conv(4), ReLU(), MaxPool(4)]])
def test_nets_learn_with_it(device, last, squared):
    """Also where the layer in front reads its output, the scores, in its own backward."""
    check_net(Net("4x4x2", [Conv(3), ReLU(), *last], loss=Hinge(0.7, squared)), device)


def test_its_gradient_takes_over_the_scores():
    made = gpunet.plan(Net("4x4x1", [FC(3)], loss=Hinge()), 4, device="cpu")
    assert made.program.takes_over["loss.dx"] == "fc1.y"
    assert "loss.probabilities" not in made.program.tensors


@pytest.mark.parametrize(
    "fields, told",
    [
        ({"margin": 0}, "margin must be a number above 0; got 0"),
        ({"margin": float("inf")}, "margin must be a number above 0; got inf"),
        ({"squared": 1}, "squared must be True or False; got 1"),
    ],
)
def test_settings_that_do_not_work_are_refused(fields, told):
    with pytest.raises(ConfigError, match=told):
        Hinge(**fields)


# Random calls of each op, for the tests that go through all ops.


def _margin(draw: Draw) -> dict[str, float]:
    return {"margin": float(draw.rng.choice([0.5, 1.0, 3.0])), "squared": draw.size(0, 1)}


def call_hinge_forward(draw: Draw) -> Call:
    scores, labels = draw.scores()
    N = len(labels)
    return Call("hinge_forward", (scores, labels), (((N,), draw.dtype), ((N,), np.int32)), (), _margin(draw))


def call_hinge_backward(draw: Draw) -> Call:
    scores, labels = draw.scores()
    numbers = _margin(draw) | draw.part_of_a_loss()
    outputs = ((scores.shape, draw.dtype),)
    return Call("hinge_backward", (scores, labels), outputs, (), numbers, aliases=({0: 0},))


MUTANTS = [
    *mutants_of(
        "hinge.cu",
        "hinge_forward",
        ("the label counts", "if (k != label && !(", "if (!("),
        ("NaN does not count", "!(excess <= 0)) sum", "excess > 0) sum"),
        ("no margin", "row[k] - row[label] + margin;", "row[k] - row[label];"),
        ("never squared", "squared ? excess * excess : excess;", "excess;"),
        ("always squared", "squared ? excess * excess : excess;", "excess * excess;"),
        (
            "the last class is left out",
            "k < K; k += BLOCK) {\n            const real excess",
            "k < K - 1; k += BLOCK) {\n            const real excess",
        ),
        ("any of equals is a hit", "best.k == label;", "best.value == row[label];"),
        (
            "each thread knows its own classes",
            "        sum = reduce_sum(sum, sums);\n        const Best",
            "        const Best",
        ),
    ),
    *mutants_of(
        "hinge.cu",
        "hinge_backward",
        (
            "a slope at the kink",
            "if (excess <= 0) return 0;",
            "if (excess < 0) return 0;\n    if (excess == 0) return 1;",
        ),
        ("a slope below the margin", "    if (excess <= 0) return 0;\n", ""),
        ("a slope of 1 for NaN", "excess > 0 ? real(1) : excess;", "real(1);"),
        ("half of the slope", "squared ? 2 * excess", "squared ? excess"),
        ("the label is a class like others", "if (k != label) sum", "sum"),
        ("the label rises", "? -sum :", "? sum :"),
        (
            "the label is read late",
            "slope(row[k] - label_score + margin, squared);\n            dx",
            "slope(row[k] - row[label] + margin, squared);\n            dx",
        ),
        ("not a mean", "rise / real(images) * weight", "rise * weight"),
        ("mean of a part of the batch", "rise / real(images)", "rise / real(N)"),
        ("no weight", "/ real(images) * weight", "/ real(images)"),
        (
            "a class behind the last",
            "k < K; k += BLOCK) {\n            const real rise",
            "k <= K; k += BLOCK) {\n            const real rise",
        ),
    ),
]
"""Changes of its kernels that the tests above, and those of all ops, must notice."""
