"""How figures are written in tables."""

from math import floor, log10

NOTHING = "-"


def number(value: float | None, digits: int = 3) -> str:
    """A measured number with so many significant digits, or whole where it is larger; a dash for none."""
    if not value:
        return NOTHING
    decimals = max(0, digits - 1 - floor(log10(abs(value))))
    return f"{value:,.{min(decimals, 4)}f}"
