"""What a net says of each image: against the definitions, and against the means that a run measures."""

from math import exp, log

import numpy as np
import pytest

from gpunet import Model, load
from gpunet.data import Split
from gpunet.data.folder import FileSplit
from gpunet.errors import DataError
from gpunet.layers.hinge import Hinge
from gpunet.layers.loss import Loss
from gpunet.layers.softmax import SoftmaxCrossEntropy
from gpunet.model.scores import first, ranks, softmax
from gpunet.net.net import Net
from gpunet.report.evaluation_table import evaluation_json
from gpunet.train.judge import Judged, image_losses, judge
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
    assert judged.mistakes(99).tolist() == [3, 1, 4] and judged.mistakes(1).tolist() == [3]


def test_of_images_that_are_as_wrong_the_first_come_first() -> None:
    losses, zeros = np.tile([1.0, 3.0, 2.0], 40), np.zeros(120, np.int32)
    found = Judged(zeros, zeros, losses, losses, losses, classes=2).worst(120).tolist()
    assert found == [*range(1, 120, 3), *range(2, 120, 3), *range(0, 120, 3)]


def test_the_first_five_and_each_class_are_as_counted_image_by_image(rng: np.random.Generator) -> None:
    net = load("INPUT[5x4x2] -> CONV3-3 -> RELU -> FC-7")
    split = Split(rng.integers(0, 256, (11, 5, 4, 2), np.uint8), rng.integers(0, 7, 11))
    with Model(net, 4, "cpu", mode="infer") as model:
        judged = judge(model, split)
        scores = np.concatenate([model.forward(split.images[i : i + 4]) for i in (0, 4, 8)])
    images, right, in_few = [0] * 7, [0] * 7, 0
    for row, label in zip(scores.tolist(), split.labels, strict=True):
        order = sorted(range(7), key=lambda k, row=row: (-row[k], k))  # type: ignore[misc]
        images[label] += 1
        right[label] += order[0] == label
        in_few += label in order[:5]
    assert [counts.tolist() for counts in judged.by_class()] == [images, right]
    assert judged.few_accuracy == in_few / 11 and judged.accuracy == sum(right) / 11


def test_five_classes_have_no_first_five_and_a_class_without_images_no_accuracy() -> None:
    net = load("INPUT[2x2x1] -> FC-5")
    split = Split(np.zeros((3, 2, 2, 1), np.uint8), np.array([0, 0, 3]))
    with Model(net, 2, "cpu", mode="infer") as model:
        told = evaluation_json(judge(model, split), list("abcde"))
    assert told["top5_accuracy"] is None
    assert [entry["accuracy"] for entry in told["classes"]] == [1.0, None, None, 0.0, None]  # equal scores: the first
    assert [entry["images"] for entry in told["classes"]] == [2, 0, 0, 1, 0]


def test_splits_that_cannot_be_judged_are_told() -> None:
    images = np.zeros((2, 2, 2, 1), np.uint8)
    with Model(load("INPUT[2x2x1] -> FC-3"), 2, "cpu", mode="infer") as model:
        with pytest.raises(DataError, match="label 3 is out of range; 3 classes are labelled 0 to 2"):
            judge(model, Split(images, np.array([0, 3])))
        with pytest.raises(DataError, match="there is no image to judge"):
            judge(model, FileSplit((), (), (2, 2), 1))


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_weights_of_no_use_are_told() -> None:
    with Model(load("INPUT[2x2x1] -> FC-3"), 2, "cpu", mode="infer") as model:
        model.parameters["fc1.w"] = np.full((3, 4), 3e38, np.float32)
        with pytest.raises(DataError, match="net gives scores that are infinite or NaN: its weights are of no use"):
            judge(model, Split(np.full((2, 2, 2, 1), 255, np.uint8), np.array([0, 1])))


def test_of_equal_scores_the_lower_class_comes_first(rng: np.random.Generator) -> None:
    scores = rng.integers(0, 3, (50, 8)).astype(np.float32)
    labels = rng.integers(0, 8, 50)
    for row, label, rank, classes in zip(scores, labels, ranks(scores, labels), first(scores, 8), strict=True):
        wanted = sorted(range(8), key=lambda k, row=row: (-row[k], k))  # type: ignore[misc]
        assert classes.tolist() == wanted and wanted.index(label) == rank
    assert first(scores, 20).shape == (50, 8)
