"""A range test of the learning rate in words, and as a plain dictionary for `--json`."""

from typing import Any

import numpy as np

from gpunet.train.lr_find import RateTest

SHOWN = 12
"""Rates of the table."""


def rate_lines(found: RateTest) -> list[str]:
    """A few rates with their smoothed losses, and what they come to."""
    curve = found.smoothed
    shown = np.unique(np.linspace(0, len(curve) - 1, SHOWN).round().astype(int))
    lines = ["        rate      loss", *(f"{found.rates[at]:12.3g}  {curve[at]:8.4f}" for at in shown), ""]
    if found.suggestion is None:
        lines.append("the loss falls at none of these rates; try others, or look at the data")
    else:
        lines.append(f"steepest descent at {plain(found.suggestion)}: a learning rate to begin with")
        lines.append(f"lowest loss at {plain(found.lowest)}: too high to stay at")
    if found.diverged is None:
        lines.append(f"does not diverge up to {plain(found.rates[-1])}, in {len(curve):,} steps")
    else:
        lines.append(f"diverges at {plain(found.diverged)}, after {len(curve):,} steps")
    return lines


def plain(rate: float) -> str:
    """Two digits of a rate, and no power of ten where it is 100 or more."""
    return f"{float(f'{rate:.2g}'):g}"


def rates_json(found: RateTest) -> dict[str, Any]:
    """All of a test; null for a suggestion or a divergence that there is not."""
    return {
        "net": found.net,
        "suggestion": found.suggestion,
        "lowest": found.lowest,
        "diverged": found.diverged,
        "rates": found.rates.tolist(),
        "losses": found.losses.tolist(),
        "smoothed": found.smoothed.tolist(),
    }
