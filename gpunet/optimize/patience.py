"""Early stopping: after how much training that brought nothing better a run ends.

Source of the growing kind: the deep-learning tutorials of the LISA lab, "Early-stopping"; see `Patience.growth`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gpunet.errors import ConfigError
from gpunet.optimize.span import Span, parse_span

UNITS = ("epochs", "steps")
"""Of a patience; a number alone counts epochs."""

MUCH = 0.995
"""A growing patience grows where the error falls below so much of the least before."""

Measured = tuple[float, float]
"""Accuracy and loss after an epoch."""


@dataclass(frozen=True)
class Patience:
    """A run ends once so many epochs or steps have brought no better epoch.

    `min_delta`  an epoch is better only where its accuracy is higher by more than this, a fraction of the images;
                 with 0 also where it is as high and the loss lower
    `growth`     None, or another rule: the run ends after `span` of training, but whenever the error falls below 0.995
                 of the least one before, it goes on until it is so many times as long as it was then
    """

    span: Span
    min_delta: float = 0.0
    growth: float | None = None

    def over(self, epochs: Sequence[Measured], steps_per_epoch: int) -> bool:
        """Whether a run that measured these, in order, is to end."""
        if self.growth is None:
            done, wanted = len(epochs) - self.best(epochs), self.span.number
            return bool(epochs) and done * (steps_per_epoch if self.span.unit == "steps" else 1) >= wanted
        return len(epochs) * steps_per_epoch >= self._grown(epochs, steps_per_epoch, self.growth)

    def best(self, epochs: Sequence[Measured]) -> int:
        """The last epoch that was better than those before, from 1; 0 where there is none."""
        at = 0
        for epoch, measured in enumerate(epochs, 1):
            if not at or better(measured, epochs[at - 1], self.min_delta):
                at = epoch
        return at

    def _grown(self, epochs: Sequence[Measured], steps_per_epoch: int, growth: float) -> float:
        """The steps after which the run ends."""
        patience: float = self.span.steps(steps_per_epoch)
        least = float("inf")
        for epoch, (accuracy, _) in enumerate(epochs, 1):
            error = 1 - accuracy
            if epoch * steps_per_epoch > patience:  # it had ended before
                break
            if error < MUCH * least:
                patience = max(patience, growth * epoch * steps_per_epoch)
            least = min(least, error)
        return patience


def better(measured: Measured, than: Measured, min_delta: float = 0.0) -> bool:
    """Whether an epoch is better than another: in accuracy, and where that is the same in loss."""
    gained = measured[0] - than[0]
    return gained > min_delta or (min_delta == 0 and gained == 0 and measured[1] < than[1])


def patience(span: int | str | None, min_delta: float | None = None, growth: float | None = None) -> Patience | None:
    """The patience that these words say, None for none. Raises ConfigError for what says nothing, or too much."""
    if span is None:
        for name, value in (("min_delta", min_delta), ("patience_growth", growth)):
            if value is not None:
                raise ConfigError(f"{name} says what patience waits for; say that, too, like patience = 10 (epochs)")
        return None
    if min_delta is not None and growth is not None:
        raise ConfigError(f"patience_growth has its own measure, {MUCH} of the least error; leave out min_delta")
    return Patience(waited(span), min_delta or 0.0, growth)


def waited(span: int | str) -> Span:
    """10 or "10 epochs" or "10000 steps" as a Span; a number alone counts epochs."""
    found = parse_span(span, UNITS)
    if not found.number:
        raise ConfigError(f"a patience of {span!r} would end a run at once; leave it out for none")
    return Span(found.number, "epochs") if str(span).strip().isdigit() else found
