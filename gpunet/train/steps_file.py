"""steps.csv: a row for every step, appended; never behind a checkpoint, and cut back to it where a run goes on."""

import os
import re
from pathlib import Path
from time import monotonic

from gpunet.errors import DataError
from gpunet.system import files
from gpunet.train.metrics import StepMetrics, as_line, header

SECONDS = 1.0
"""How long a row may wait in memory."""


class StepsFile:
    """The rows of a run's steps at `path`. Raises DataError where they cannot be written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: list[str] = []
        self._written = monotonic()

    def begin(self, steps: int) -> None:
        """Start anew, or with the rows of so many steps that are there."""
        rows: list[str] = []
        if steps and self.path.is_file():
            try:
                there = files.read_regular(self.path).decode("utf-8", "replace").split("\n")[1:-1]  # no half row
            except OSError as error:
                raise DataError(f"cannot read {self.path}: {error.strerror or error}") from None
            rows = [row for row in there[:steps] if re.match("[0-9]+,", row)]
        files.write_whole(self.path, "\n".join([header(StepMetrics), *rows]) + "\n")

    def add(self, row: StepMetrics) -> None:
        """One more row; it may wait a moment in memory."""
        self._waiting.append(as_line(row) + "\n")
        if monotonic() - self._written > SECONDS:
            self.write()

    def write(self, *, flush: bool = False) -> None:
        """Write what waits; `flush`: bring all of the file to the disk."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write("".join(self._waiting))
                file.flush()
                if flush:
                    os.fsync(file.fileno())
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror or error}") from None
        finally:  # nothing is written twice, behind half of itself
            self._waiting.clear()
            self._written = monotonic()
