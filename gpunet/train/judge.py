"""What a net says of every image of a split: its prediction, how sure it is, and the loss of that one image."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from gpunet.data.dataset import AnySplit
from gpunet.data.loader import loader
from gpunet.devices import open_device, target
from gpunet.errors import DataError
from gpunet.layers.loss import LOSS, Loss
from gpunet.model.batch import check_labels
from gpunet.model.model import Model
from gpunet.model.scores import ranks, require_finite, softmax
from gpunet.program.builder import Builder, Emitter
from gpunet.program.shares import share
from gpunet.program.tensor import Kind, Tensor
from gpunet.ranks.communicator import Communicator
from gpunet.values.shown import Shown

FEW = 5
"""Among so many classes with the highest scores a label is looked for, where there are more classes."""


@dataclass(frozen=True, repr=False)
class Judged(Shown):
    """Every image of a split, in its order.

    labels, predictions  (n,) integers; the prediction is the class with the highest score, the first of equals
    losses               (n,) float64: the net's loss of the image
    label_probabilities, probabilities
                         (n,) float64: of the label and of the prediction, softmax of the scores
    classes              how many the net tells apart
    in_few               how many images have their label among the `FEW` highest scores, the first of equals
    """

    labels: np.ndarray
    predictions: np.ndarray
    losses: np.ndarray
    label_probabilities: np.ndarray
    probabilities: np.ndarray
    classes: int
    in_few: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def correct(self) -> int:
        """How many predictions are the label."""
        return int((self.predictions == self.labels).sum())

    @property
    def loss(self) -> float:
        """The mean over the images."""
        return float(self.losses.mean())

    @property
    def accuracy(self) -> float:
        """The fraction of images whose prediction is the label."""
        return self.correct / len(self)

    @property
    def few_accuracy(self) -> float | None:
        """The fraction of images whose label is among the first `FEW`; None where there are no more classes."""
        return self.in_few / len(self) if self.classes > FEW else None

    def by_class(self) -> tuple[np.ndarray, np.ndarray]:
        """(classes,) int64 twice: how many images have each label, and how many of them were told right."""
        right = self.labels[self.predictions == self.labels]
        return np.bincount(self.labels, minlength=self.classes), np.bincount(right, minlength=self.classes)

    def confusion(self) -> np.ndarray:
        """(classes, classes) int64: images by label, in rows, and prediction, in columns."""
        pairs = self.labels.astype(np.int64) * self.classes + self.predictions
        return np.bincount(pairs, minlength=self.classes**2).reshape(self.classes, self.classes)

    def mistakes(self, count: int) -> np.ndarray:
        """Indices of the images that were taken for another class, in the order of `worst`."""
        worst = self.worst(len(self))
        wrong = self.predictions[worst] != self.labels[worst]
        return np.asarray(worst[wrong][:count])

    def worst(self, count: int) -> np.ndarray:
        """Indices of the images with the highest loss, the highest first; of equals the one that comes first."""
        return np.argsort(-self.losses, kind="stable")[:count]


def judge(
    model: Model,
    split: AnySplit,
    watch: Callable[[int], None] = lambda done: None,
    others: Communicator | None = None,
) -> Judged:
    """Show every image of a split to the net, batch by batch in the model's arena; a plan for mode="infer" will do.

    `watch`  called with the number of images done
    `others` ranks that judge the same split with the same net, each with a model of its own: each takes its share of
             the images, and all have all that was found

    Raises DataError where there is no image, a label is none of the net's, or a score is infinite or NaN.
    """
    n = len(split)
    if not n:
        raise DataError("there is no image to judge")
    check_labels(split.labels, n, model.net.classes)
    first, last = share(n, others.size, others.rank) if others is not None else (0, n)
    order = (np.arange(at, min(at + model.batch, last)) for at in range(first, last, model.batch))
    parts: list[tuple[np.ndarray, ...]] = []
    done = in_few = 0
    with closing(loader(split, order)) as source:
        for images, labels in source:
            scores = model.forward(images).astype(np.float64)
            require_finite(scores, model.net.name)
            parts.append(_judged(model.net.loss, scores, labels))
            in_few += int((ranks(scores, labels) < FEW).sum())
            done += len(labels)
            watch(done)
    if others is not None:
        told = others.tell([[array.tolist() for array in part] for part in parts])
        parts = [tuple(map(np.asarray, part)) for of_rank in told for part in of_rank]
        in_few = sum(others.tell(in_few))
    labels, predictions, losses, of_label, of_prediction = map(np.concatenate, zip(*parts, strict=True))
    return Judged(labels, predictions, losses, of_label, of_prediction, model.net.classes, in_few)


def image_losses(loss: Loss, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) float64: the loss of each image, by the CPU's own op, for scores (n, classes) float64."""
    n, classes = scores.shape
    builder = Builder(n, "float64", "train", target("cpu"), scratch_limit_bytes=0)
    emit = Emitter(builder, LOSS)
    fed = {"scores": scores.reshape(n, 1, 1, classes), "labels": labels.astype(np.int32)}
    loss.forward(
        emit,
        Tensor("scores", Kind.ACTIVATION, (n, 1, 1, classes), "float64", LOSS, True),
        Tensor("labels", Kind.DATA, (n,), "int32", LOSS, True),
    )
    op = builder.ops[0]  # the others take means
    written = {tensor.name: np.empty(tensor.shape, tensor.dtype) for tensor in op.outputs}
    with closing(open_device("cpu")) as device:
        device.ops[op.name](*(fed[tensor.name] for tensor in op.inputs), *written.values(), **op.attributes)
    return written[f"{LOSS}.losses"]


def _judged(loss: Loss, scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """Labels, predictions, losses, probabilities of label and of prediction, of a batch."""
    rows = np.arange(len(labels))
    predictions = scores.argmax(axis=1)
    probabilities = softmax(scores)
    of_label, of_prediction = probabilities[rows, labels], probabilities[rows, predictions]
    return labels, predictions, image_losses(loss, scores, labels), of_label, of_prediction
