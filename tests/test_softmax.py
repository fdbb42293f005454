"""Softmax cross-entropy against float64 loops, numeric gradients and PyTorch; large scores, ties and NaN."""

import numpy as np
import pytest
import torch

from tests import oracle
from tests.ops import run_op

DTYPES = [np.float32, np.float64]
SHAPES = [(3, 7), (1, 1), (70, 10), (5, 1000)]
"""N, classes."""


def draw(rng, N, classes, dtype=np.float64):
    scores = (4 * rng.standard_normal((N, 1, 1, classes))).astype(dtype)
    return scores, rng.integers(0, classes, N).astype(np.int32)


def forward(device, scores, labels, in_place=None):
    """Probabilities, losses and hits."""
    N, dtype = len(labels), scores.dtype
    outputs = [(scores.shape, dtype), ((N,), dtype), ((N,), np.int32)]
    return run_op(device, "softmax_forward", [scores, labels], outputs, in_place=in_place)


def mean(device, losses, hits):
    return run_op(device, "softmax_mean", [losses, hits], [((1,), losses.dtype), ((1,), np.int32)])


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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("N", [1, 2, 63, 1000])
def test_the_mean_of_the_losses_and_the_number_of_hits(device, rng, N, dtype):
    losses, hits = rng.random(N).astype(dtype), rng.integers(0, 2, N).astype(np.int32)
    loss, correct = mean(device, losses, hits)
    oracle.assert_near(loss, np.array([sum(losses.tolist()) / N]))
    assert correct.tolist() == [hits.sum()]


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


def test_gradients_are_the_slopes_of_the_mean_loss(device, rng):
    scores, labels = draw(rng, 5, 4)

    def loss(scores):
        _, losses, hits = forward(device, scores, labels)
        return float(mean(device, losses, hits)[0][0])

    dx = backward(device, forward(device, scores, labels)[0], labels)
    oracle.assert_near(dx, oracle.numeric_gradient(loss, scores), 1e-7)


def test_rounds_of_a_batch_have_the_gradients_of_the_whole(device, rng):
    scores, labels = draw(rng, 70, 10, np.float32)
    p = forward(device, scores, labels)[0]
    whole = backward(device, p, labels)
    for first, last in ((0, 33), (33, 66), (66, 70)):
        part = backward(device, p[first:last], labels[first:last], images=70)
        np.testing.assert_array_equal(part, whole[first:last])


def test_pytorch_agrees(device, rng):
    scores, labels = draw(rng, 37, 10, np.float32)
    x = torch.tensor(scores.reshape(37, 10), requires_grad=True)
    loss = torch.nn.functional.cross_entropy(x, torch.tensor(labels, dtype=torch.int64))
    loss.backward()
    p, losses, hits = forward(device, scores, labels)
    found, correct = mean(device, losses, hits)
    np.testing.assert_allclose(found[0], loss.item(), rtol=1e-5)
    assert correct[0] == (x.argmax(dim=1) == torch.tensor(labels)).sum().item()
    oracle.assert_near(backward(device, p, labels).reshape(37, 10), x.grad.numpy(), 1e-4)
