"""A line now and then where no screen shows what goes on, so that nobody takes long work for a hang."""

from collections.abc import Callable
from time import monotonic

SECONDS = 20.0
"""At most so long is nothing said, as long as the work comes by; half a minute of silence is too much."""


class Beat:
    """Says a line if the last one was long ago."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.rest()

    def rest(self) -> None:
        """Something was said just now."""
        self._said = monotonic()

    def __call__(self, line: Callable[[], str]) -> None:
        """Say the line, which is made only then, if it is time."""
        if monotonic() - self._said >= SECONDS:
            self._say(line())
            self.rest()
