"""An evaluation as a table for people, and as a plain dictionary for `--json`."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gpunet.report.figures import NOTHING
from gpunet.train.judge import FEW, Judged


def evaluation_parts(found: Judged, names: Sequence[str]) -> list[Table | str]:
    """An evaluation, ready to show: a row for each class, then the sums."""
    return ["", class_table(found, names), "", outcome(found)]


def outcome(found: Judged) -> str:
    """Loss and accuracy of all images."""
    few = "" if found.few_accuracy is None else f", top-{FEW} accuracy {found.few_accuracy:.2%}"
    return f"loss {found.loss:.4f}, accuracy {found.accuracy:.2%}{few}"


def class_table(found: Judged, names: Sequence[str]) -> Table:
    """A row for each class, and their total."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, show_footer=True)
    table.add_column("class", "total")
    table.add_column("images", f"{len(found):,}", justify="right")
    table.add_column("right", f"{found.correct:,}", justify="right")
    table.add_column("accuracy", f"{found.accuracy:.2%}", justify="right")
    for name, images, correct in _classes(found, names):
        table.add_row(name, f"{images:,}", f"{correct:,}", f"{correct / images:.2%}" if images else NOTHING)
    return table


def evaluation_json(found: Judged, names: Sequence[str]) -> dict[str, Any]:
    """All of an evaluation; accuracies are fractions, null for a class without images."""
    return {
        "images": len(found),
        "loss": found.loss,
        "accuracy": found.accuracy,
        "top5_accuracy": found.few_accuracy,
        "classes": [
            {
                "label": label,
                "name": name,
                "images": images,
                "correct": correct,
                "accuracy": correct / images if images else None,
            }
            for label, (name, images, correct) in enumerate(_classes(found, names))
        ],
    }


def image_rows(found: Judged) -> list[dict[str, Any]]:
    """A row for each image."""
    names = ("labels", "predictions", "losses", "label_probabilities", "probabilities")
    columns = ("label", "prediction", "loss", "label_probability", "probability")
    values = zip(*(getattr(found, name).tolist() for name in names), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in values]


def _classes(found: Judged, names: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Name, images and those told right of each class."""
    images, correct = found.by_class()
    return zip(names, images.tolist(), correct.tolist(), strict=True)
