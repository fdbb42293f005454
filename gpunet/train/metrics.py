"""What a run measures, and how it is written down."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True, slots=True)
class EpochMetrics:
    """One row of metrics.csv.

    Losses are means over images, accuracies fractions of images. Those of training are taken batch by batch, each
    before its update, while the net learns; those of the test afterwards. `images_per_second` is of training alone,
    `learning_rate` that of the epoch's last step, `seconds` those of the whole epoch.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    images_per_second: float
    learning_rate: float
    seconds: float


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


def as_csv(rows: Iterable[EpochMetrics]) -> str:
    """The rows under a header. Floats read back as the same bits; speeds and times are rounded."""
    lines = [",".join(field.name for field in fields(EpochMetrics))]
    for row in rows:
        values = asdict(row) | {"images_per_second": round(row.images_per_second, 1), "seconds": round(row.seconds, 3)}
        lines.append(",".join(repr(value) for value in values.values()))
    return "\n".join(lines) + "\n"
