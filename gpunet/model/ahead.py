"""Batches that travel to the device while the step before them runs."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Batch = tuple[np.ndarray, np.ndarray]
"""Images and labels."""


@dataclass
class _Coming:
    """A batch that was asked for; `sent` is what Device.wait_for takes, None where its images are still to be copied.

    `taken`  whether a step has used it
    """

    batch: Batch
    sent: Any
    taken: bool = False


class Ahead:
    """Iterates over `batches`; the next one is asked for, and sent, when the present one has been taken by a step.

    `send`  begins to copy images and returns what to wait for; None where they cannot be copied yet

    What goes wrong with a batch is raised when it is that batch's turn.
    """

    def __init__(self, batches: Iterable[Batch], send: Callable[[Batch], Any]) -> None:
        self._source = iter(batches)
        self._send = send
        self._present: _Coming | None = None
        self._next: _Coming | Exception | None = None
        self._asked = False

    def __iter__(self) -> Iterator[Batch]:
        while True:
            self._ask()
            found, self._next, self._asked = self._next, None, False
            if isinstance(found, Exception):
                raise found
            self._present = found
            if found is None:
                return
            yield found.batch

    def take(self, images: np.ndarray) -> Any:
        """What to wait for, where these are the present images, they were sent and nobody took them yet; else None."""
        present = self._present
        if present is None or present.taken or present.batch[0] is not images:
            return None
        present.taken = True
        return present.sent

    def ask(self) -> None:
        """Ask for the next batch, if the present one was taken, and send it."""
        if self._present is not None and self._present.taken:
            self._ask()

    def _ask(self) -> None:
        if self._asked:
            return
        self._asked = True
        try:
            batch = next(self._source, None)
            self._next = None if batch is None else _Coming(batch, self._send(batch))
        except Exception as error:  # the step under way is not to blame
            self._next = error
