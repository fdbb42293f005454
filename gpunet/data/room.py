"""Room for so much at once: threads wait until there is enough of it, so that memory stays bounded."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Room:
    """Room for `most`, shared by all threads."""

    def __init__(self, most: int) -> None:
        self.most = self._free = most
        self._changed = Condition()

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Wait until there is room for `amount`, of which there is never more than `most`, and hold it."""
        with self._changed:
            self._changed.wait_for(lambda: self._free >= amount)
            self._free -= amount
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()
