"""What a run measures, and how it is written down."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any


@dataclass(frozen=True, slots=True)
class EpochMetrics:
    """One row of metrics.csv.

    Losses are means over images, accuracies fractions of images. Those of training are taken batch by batch, each
    before its update, while the net learns; those of the validation part afterwards, or where there is none those of
    the test: an epoch is judged by one of the two, and has None for the other. `images_per_second` is of training
    alone, `learning_rate` that of the epoch's last step, `seconds` those of the whole epoch.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    test_loss: float | None
    test_accuracy: float | None
    images_per_second: float
    learning_rate: float
    seconds: float
    val_loss: float | None = None
    val_accuracy: float | None = None

    @property
    def judged_by(self) -> str:
        """What the epoch is judged by: "val" or "test"."""
        return "test" if self.val_loss is None else "val"

    @property
    def judged(self) -> bool:
        """Whether it was: a fit without images to validate with judges nothing."""
        return isfinite(self.judged_loss)

    @property
    def judged_loss(self) -> float:
        """The loss that the epoch is judged by."""
        return float(getattr(self, f"{self.judged_by}_loss"))

    @property
    def judged_accuracy(self) -> float:
        """The accuracy that the epoch is judged by."""
        return float(getattr(self, f"{self.judged_by}_accuracy"))


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """One row of steps.csv: a step, counted from 1 over the whole run, and its batch before the update."""

    step: int
    epoch: int
    loss: float
    accuracy: float
    learning_rate: float
    images_per_second: float


@dataclass(slots=True)
class Mean:
    """Loss and accuracy over the images seen so far."""

    images: int = 0
    loss_sum: float = 0.0
    correct: int = 0

    def add(self, images: int, loss: float, correct: int) -> None:
        """Count a batch: its mean loss, and how many of its images were told right."""
        self.images += images
        self.loss_sum += loss * images
        self.correct += correct

    @property
    def loss(self) -> float:
        return self.loss_sum / self.images if self.images else 0.0

    @property
    def accuracy(self) -> float:
        return self.correct / self.images if self.images else 0.0


Row = EpochMetrics | StepMetrics


def header(kind: type[Row]) -> str:
    """The names of the columns."""
    return ",".join(field.name for field in fields(kind))


def as_line(row: Row) -> str:
    """A row. Floats read back as the same bits; speeds and times are rounded; nothing stands for None."""
    values: dict[str, Any] = asdict(row)
    if "seconds" in values:
        values["seconds"] = round(values["seconds"], 3)
    values["images_per_second"] = _rounded(values["images_per_second"])
    return ",".join("" if value is None else repr(value) for value in values.values())


def _rounded(speed: float) -> float:
    """To a tenth; slower ones, of which a tenth would leave nothing, to three digits."""
    return round(speed, 1) if speed >= 10 else float(f"{speed:.3g}")


def as_csv(rows: Iterable[EpochMetrics]) -> str:
    """The rows under a header."""
    return "\n".join([header(EpochMetrics), *map(as_line, rows)]) + "\n"


def best(rows: list[EpochMetrics]) -> EpochMetrics:
    """The epoch with the highest accuracy of those it is judged by, of several that with the lowest loss; the first of
    equals."""
    return max(rows, key=lambda row: (row.judged_accuracy, -row.judged_loss))
