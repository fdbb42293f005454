"""What people hand over, checked in one way everywhere: numbers are numbers, and messages show little of the rest."""

from collections.abc import Iterable
from math import inf, isfinite
from numbers import Real
from operator import index

from gpunet.errors import ConfigError

MOST_TOLD = 60
"""Characters of a value in a message."""

MOST_SIZE = 10**9 - 1
"""Of a size, as of one volume, filter or stride: nine digits, as texts may have, so that bytes stay numbers."""


def told(value: object) -> str:
    """A value as a message shows it: one line of at most 60 characters, whatever it is."""
    if isinstance(value, int) and abs(value) >= 10**30:  # Python refuses to print integers of thousands of digits
        return f"an integer of {value.bit_length()} bits"
    try:
        text = " ".join(repr(value[: MOST_TOLD + 1] if isinstance(value, str | bytes) else value).split())
    except Exception:  # it may hold such an integer
        text = type(value).__name__
    return text if len(text) <= MOST_TOLD else f"{text[: MOST_TOLD - 3]}..."


def as_float(value: object) -> float | None:
    """A number, NumPy's and fractions too, as a finite float; None for all else: no truth value, no text of one."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None


def number(
    what: str, value: object, *, least: float = -inf, above: float = -inf, most: float = inf, below: float = inf
) -> float:
    """The number as a float. Raises ConfigError, naming `what` it is, unless it is a finite one within these."""
    found = as_float(value)
    if found is None or not (least <= found <= most and above < found < below):
        bounds = {"of at least": least, "above": above, "up to": most, "below": below}
        words = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if isfinite(bound))
        raise ConfigError(f"{what} must be a {f'number {words}' if words else 'finite number'}; got {told(value)}")
    return found


def integer(what: str, value: object, *, least: int = 0, most: int | None = None) -> int:
    """The integer, NumPy's too. Raises ConfigError, naming `what` it is, for all else and outside of these."""
    try:
        found = None if isinstance(value, bool) else index(value)  # type: ignore[arg-type]
    except TypeError:
        found = None
    if found is None or found < least or (most is not None and found > most):
        wanted = f"of at least {least}" if most is None else f"from {least} to {most:,}"
        raise ConfigError(f"{what} must be an integer {wanted}; got {told(value)}")
    return found


def meant(word: object, words: Iterable[str]) -> str | None:
    """The one of `words` that a word is in whatever letters, as ADAM is adam; None where it is none of them."""
    lower = word.lower() if isinstance(word, str) else None
    return next((known for known in words if known.lower() == lower), None)


def names(what: str, value: object) -> tuple[str, ...]:
    """The texts of a collection, or one text alone. Raises ConfigError, naming `what` it is, for all else."""
    try:
        found = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else (None,)
    except TypeError:  # an array of no dimensions
        found = (None,)
    if not all(isinstance(name, str) for name in found):
        raise ConfigError(f"{what} must be names, like ('a', 'b'), or () for none; got {told(value)}")
    return found
