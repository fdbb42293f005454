"""What a data set holds, class by class, as a table and as a plain dictionary."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text


class Images(Protocol):
    """Of a split, what is shown."""

    @property
    def labels(self) -> np.ndarray: ...

    @property
    def shape(self) -> tuple[int, int, int]: ...

    def __len__(self) -> int: ...


class Data(Protocol):
    """Of a data set, what is shown; tables know nothing of formats and files."""

    @property
    def name(self) -> str: ...

    @property
    def note(self) -> str: ...

    @property
    def classes(self) -> Sequence[str]: ...

    @property
    def class_count(self) -> int: ...

    @property
    def counted(self) -> str: ...

    @property
    def splits(self) -> Sequence[tuple[Images, str]]: ...


def dataset_line(data: Data) -> str:
    """What it has, in one line."""
    size = "x".join(map(str, data.splits[0][0].shape))
    return f"{data.name}: {data.counted}, {size}, {data.class_count:,} classes"


def dataset_parts(data: Data) -> list[Table | str]:
    """A data set, ready to show."""
    return [dataset_line(data), *data.note.splitlines(), "", dataset_table(data)]


def dataset_table(data: Data) -> Table:
    """A row for each class: how many images it has for what."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, show_footer=True)
    names, counts = class_names(data), class_counts(data)
    table.add_column("class", "total")
    for words, of_split in counts.items():
        table.add_column(words, f"{sum(of_split):,}", justify="right")
    for label, name in enumerate(names):
        table.add_row(Text(name), *(f"{of_split[label]:,}" for of_split in counts.values()))
    return table


def dataset_json(data: Data) -> dict[str, Any]:
    """Counts of images by class and by what they are for."""
    counts = class_counts(data)
    return {
        "name": data.name,
        "note": data.note,
        "shape": list(data.splits[0][0].shape),
        "images": {_key(words): sum(of_split) for words, of_split in counts.items()},
        "classes": [
            {"label": label, "name": name, **{_key(words): of_split[label] for words, of_split in counts.items()}}
            for label, name in enumerate(class_names(data))
        ],
    }


def class_names(data: Data) -> list[str]:
    """A name for each label, its number where it has none."""
    return [*data.classes] or [str(label) for label in range(data.class_count)]


def class_counts(data: Data) -> dict[str, list[int]]:
    """How many images each class has, by what they are for in words."""
    most = len(class_names(data))
    return {words: np.bincount(split.labels, minlength=most).tolist() for split, words in data.splits}


def _key(words: str) -> str:
    return {"to learn from": "train", "to validate with": "validation", "to test on": "test"}.get(words, words)
