"""What a net says of each image: against the definitions, and against the means that a run measures."""

from math import exp, log

import numpy as np
import pytest

from gpunet import Model, load
from gpunet.data import Split
from gpunet.layers.hinge import Hinge
from gpunet.layers.loss import Loss
from gpunet.layers.softmax import SoftmaxCrossEntropy
from gpunet.net.net import Net
from gpunet.train.judge import Judged, image_losses, judge, softmax
from gpunet.train.trainer import evaluate

RNG = np.random.default_rng(5)
SPLIT = Split(RNG.integers(0, 256, (23, 4, 5, 1), np.uint8), RNG.integers(0, 3, 23))
LOSSES = [SoftmaxCrossEntropy(), SoftmaxCrossEntropy(smoothing=0.2), Hinge(), Hinge(margin=2.0, squared=True)]


@pytest.mark.parametrize("loss", LOSSES)
def test_the_mean_over_all_images_is_what_a_run_measures(loss: Loss) -> None:
    shape = load("INPUT[4x5x1] -> CONV3-2 -> RELU -> DROPOUT -> FC-3")
    net = Net(shape.input, shape.nodes, loss=loss)
    with Model(net, 7, "cpu", seed=1) as trained, Model(net, 5, "cpu", seed=1, mode="infer") as model:
        mean = evaluate(trained, SPLIT)
        judged = judge(model, SPLIT)
    assert len(judged) == 23 and (judged.labels == SPLIT.labels).all()
    assert judged.losses.mean() == pytest.approx(mean.loss, rel=1e-5)
    assert judged.correct == mean.correct
    assert judged.confusion().trace() == mean.correct and judged.confusion().sum() == 23


def test_losses_and_probabilities_are_those_of_the_definition() -> None:
    scores = np.array([[1.0, 3.0, -2.0], [1000.0, 0.0, 999.0]])
    labels = np.array([2, 0])
    total = exp(1) + exp(3) + exp(-2)
    assert softmax(scores)[0] == pytest.approx([exp(1) / total, exp(3) / total, exp(-2) / total])
    assert softmax(scores)[1] == pytest.approx([1 / (1 + exp(-1)), 0, exp(-1) / (1 + exp(-1))])
    assert image_losses(SoftmaxCrossEntropy(), scores, labels) == pytest.approx([log(total) + 2, log(1 + exp(-1))])
    assert image_losses(Hinge(), scores, labels) == pytest.approx([(1 + 2 + 1) + (3 + 2 + 1), 0])


def test_confusion_counts_labels_in_rows_and_the_worst_come_first() -> None:
    labels, predictions = np.array([0, 0, 1, 2, 2], np.int32), np.array([0, 1, 1, 0, 0])
    losses, ones = np.array([0.1, 2.0, 0.0, 3.0, 2.0]), np.ones(5)
    judged = Judged(labels, predictions, losses, ones, ones, classes=4)
    assert judged.confusion().tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0]]
    assert judged.worst(3).tolist() == [3, 1, 4]
    assert len(judged.worst(99)) == 5
