"""Softmax cross-entropy against float64 loops, slopes and PyTorch; smoothed labels, large scores, ties and NaN."""

import numpy as np
import pytest
import torch

from gpunet import FC, ConfigError, Net, ReLU, SoftmaxCrossEntropy
from tests import oracle
from tests.layer_checks import check_net
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op

DTYPES = [np.float32, np.float64]
SHAPES = [(3, 7), (1, 1), (70, 10), (5, 1000)]
"""N, classes."""


def draw(rng, N, classes, dtype=np.float64):
    scores = (4 * rng.standard_normal((N, 1, 1, classes))).astype(dtype)
    return scores, rng.integers(0, classes, N).astype(np.int32)


def forward(device, scores, labels, in_place=None, **numbers):
    """Probabilities, losses and hits."""
    N, dtype = len(labels), scores.dtype
    outputs = [(scores.shape, dtype), ((N,), dtype), ((N,), np.int32)]
    return run_op(device, "softmax_forward", [scores, labels], outputs, in_place=in_place, **numbers)


def backward(device, probabilities, labels, in_place=None, **numbers):
    outputs = [(probabilities.shape, probabilities.dtype)]
    (dx,) = run_op(device, "softmax_backward", [probabilities, labels], outputs, in_place=in_place, **numbers)
    return dx


@pytest.mark.parametrize("in_place", [None, {0: 0}])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_probabilities_losses_hits_and_gradients_are_those_of_the_loops(device, rng, shape, dtype, in_place):
    scores, labels = draw(rng, *shape, dtype)
    found = forward(device, scores, labels, in_place)
    for result, expected in zip(found, oracle.softmax(scores, labels), strict=True):
        oracle.assert_near(result, expected, None if result.dtype == dtype else 0)
    oracle.assert_near(backward(device, found[0], labels, in_place), oracle.softmax_backward(scores, labels))


@pytest.mark.parametrize("in_place", [None, {0: 0}])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape, smoothing", [((3, 7), 0.1), ((70, 10), 0.75), ((5, 1000), 0.3), ((2, 1), 0.5)])
def test_smoothed_labels_have_the_losses_and_gradients_of_the_loops(device, rng, shape, smoothing, dtype, in_place):
    scores, labels = draw(rng, *shape, dtype)
    found = forward(device, scores, labels, in_place, smoothing=smoothing)
    for result, expected in zip(found, oracle.softmax(scores, labels, smoothing), strict=True):
        oracle.assert_near(result, expected, None if result.dtype == dtype else 0)
    dx = backward(device, found[0], labels, in_place, smoothing=smoothing)
    oracle.assert_near(dx, oracle.softmax_backward(scores, labels, smoothing))


def test_the_gradient_takes_its_weight(device, rng):
    scores, labels = draw(rng, 9, 33, np.float32)
    p = forward(device, scores, labels)[0]
    plain = backward(device, p, labels)
    np.testing.assert_array_equal(backward(device, p, labels, weight=1.0, smoothing=0.0), plain)
    np.testing.assert_array_equal(backward(device, p, labels, weight=0.25), plain / 4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_scores_neither_overflow_nor_lose_the_loss(device, dtype):
    """The label's probability is far too small to hold; its loss is the distance of the scores all the same."""
    scores = np.array([[1e4, -1e4, 0], [-3e4, -3e4, -3e4], [800, 900, 1000]], dtype).reshape(3, 1, 1, 3)
    p, losses, hits = forward(device, scores, np.array([1, 2, 2], np.int32))
    np.testing.assert_allclose(losses, [2e4, np.log(3), 0], rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(p.reshape(3, 3), [[1, 0, 0], [1 / 3] * 3, [0, 0, 1]], rtol=1e-6, atol=1e-30)
    assert hits.tolist() == [0, 0, 1]


def test_of_equal_highest_scores_only_the_first_is_a_hit(device):
    scores = np.array([2, 5, 1, 5, 5], np.float32).reshape(1, 1, 1, 5).repeat(5, axis=0)
    hits = forward(device, scores, np.arange(5, dtype=np.int32))[2]
    assert hits.tolist() == [0, 1, 0, 0, 0]


def test_a_nan_score_makes_its_row_nan_and_no_other(device, rng):
    scores, labels = draw(rng, 4, 6, np.float32)
    scores[2, 0, 0, 3] = np.nan
    p, losses, _ = forward(device, scores, labels)
    assert np.isnan(losses).tolist() == [False, False, True, False]
    assert np.isnan(p[2]).all()
    assert np.isfinite(p[[0, 1, 3]]).all()


def test_a_score_of_minus_infinity_costs_only_where_its_class_is_wanted(device):
    scores = np.array([1, -np.inf, 2], np.float32).reshape(1, 1, 1, 3)
    labels = np.array([2], np.int32)
    assert np.isfinite(forward(device, scores, labels)[1]).all()
    assert forward(device, scores, labels, smoothing=0.1)[1] == np.inf


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradients_are_the_slopes_of_the_mean_loss(device, rng, smoothing):
    scores, labels = draw(rng, 5, 4)

    def loss(scores):
        return float(forward(device, scores, labels, smoothing=smoothing)[1].mean())

    dx = backward(device, forward(device, scores, labels)[0], labels, smoothing=smoothing)
    oracle.assert_near(dx, oracle.numeric_gradient(loss, scores), 1e-7)


def test_rounds_of_a_batch_have_the_gradients_of_the_whole(device, rng):
    scores, labels = draw(rng, 70, 10, np.float32)
    p = forward(device, scores, labels)[0]
    whole = backward(device, p, labels)
    for first, last in ((0, 33), (33, 66), (66, 70)):
        part = backward(device, p[first:last], labels[first:last], images=70)
        np.testing.assert_array_equal(part, whole[first:last])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_pytorch_agrees(device, rng, smoothing):
    scores, labels = draw(rng, 37, 10, np.float32)
    x = torch.tensor(scores.reshape(37, 10), requires_grad=True)
    loss = torch.nn.functional.cross_entropy(x, torch.tensor(labels, dtype=torch.int64), label_smoothing=smoothing)
    loss.backward()
    p, losses, hits = forward(device, scores, labels, smoothing=smoothing)
    np.testing.assert_allclose(losses.mean(), loss.item(), rtol=1e-5)
    assert hits.sum() == (x.argmax(dim=1) == torch.tensor(labels)).sum().item()
    oracle.assert_near(backward(device, p, labels, smoothing=smoothing).reshape(37, 10), x.grad.numpy(), 1e-4)


def test_nets_learn_with_smoothed_labels(device):
    check_net(Net("4x3x2", [FC(6), ReLU(), FC(3)], loss=SoftmaxCrossEntropy(0.2)), device)


@pytest.mark.parametrize("smoothing", [-0.1, 1, float("nan"), "much", True])
def test_smoothing_is_a_number_from_0_to_below_1(smoothing):
    with pytest.raises(ConfigError, match="smoothing must be a number of at least 0 and below 1; got"):
        SoftmaxCrossEntropy(smoothing)


# Random calls of each op, for the tests that go through all ops.


def call_softmax_forward(draw: Draw) -> Call:
    scores, labels = draw.scores()
    N = len(labels)
    outputs = (scores.shape, draw.dtype), ((N,), draw.dtype), ((N,), np.int32)
    smoothing = {"smoothing": 0.125} if draw.rng.random() < 0.5 else {}
    return Call("softmax_forward", (scores, labels), outputs, (), smoothing, aliases=({0: 0},))


def call_softmax_backward(draw: Draw) -> Call:
    scores, labels = draw.scores()
    p = (np.abs(scores) / 100).astype(draw.dtype)
    numbers = draw.part_of_a_loss() | ({"smoothing": 0.125} if draw.rng.random() < 0.5 else {})
    return Call("softmax_backward", (p, labels), ((p.shape, draw.dtype),), (), numbers, aliases=({0: 0},))


MUTANTS = [
    *mutants_of(
        "softmax.cu",
        "softmax_forward",
        ("any of equals is a hit", "hits[n] = best.k == labels[n]", "hits[n] = best.value == label_score"),
        ("no shift", "sum += exp(row[k] - best.value)", "sum += exp(row[k])"),
        ("the loss is not shifted", "extra * (label_score - best.value)", "extra * label_score"),
        ("the label is read late", "(extra * (label_score -", "(extra * (row[labels[n]] -"),
        ("probabilities do not sum to 1", "exp(row[k] - best.value) / sum;", "exp(row[k] - best.value);"),
        (
            "a class is left out of the sum",
            "k < K; k += team.SIZE) {\n            sum",
            "k < K - 1; k += team.SIZE) {\n            sum",
        ),
        ("a class behind the last", "k < K; k += team.SIZE) probabilities", "k <= K; k += team.SIZE) probabilities"),
        ("infinite scores count where not wanted", "if (share > 0) shifted +=", "shifted +="),
        ("the others are not wanted", "+ share * shifted", ""),
        ("each thread knows its own classes", "        if (share > 0) shifted = team.sum_of(shifted);\n", ""),
        ("a row for each block", "first_item() / WARP; }", "blockIdx.x; }"),
        ("warps of other sizes", "SIZE = WHOLE_BLOCK ? BLOCK : WARP", "SIZE = WHOLE_BLOCK ? BLOCK : WARP / 2"),
        ("the label is wanted as without smoothing", "(extra * (label_score", "((label_score"),
    ),
    *mutants_of(
        "softmax.cu",
        "softmax_backward",
        ("not a mean", "excess / real(images) * weight", "excess * weight"),
        ("mean of a part of the batch", "/ real(images)", "/ real(N)"),
        ("the label of another row", "k == labels[n] ? extra", "k == labels[0] ? extra"),
        ("the label is wanted as without smoothing", "? extra : real(0)", "? real(1) : real(0)"),
        ("the others are not wanted", " - share;", ";"),
        ("no weight", "/ real(images) * weight", "/ real(images)"),
        (
            "the last class is left out",
            "item < N * K; item",
            "item < N * K - 1; item",
        ),
    ),
]
"""Changes of its kernels that the tests above, and those of all ops, must notice."""
