"""A range test of the learning rate in words, and as a plain dictionary for `--json`."""

from typing import Any

import numpy as np

from gpunet.train.lr_find import RateTest, RateTests

SHOWN = 12
"""Rates of the table."""


def rate_lines(found: RateTests) -> list[str]:
    """A few rates with their smoothed losses, in the first of the tests, and what all of them come to."""
    first = found.tests[0]
    curve = first.smoothed
    shown = np.unique(np.linspace(0, len(curve) - 1, SHOWN).round().astype(int))
    lines = ["        rate      loss", *(f"{first.rates[at]:12.3g}  {curve[at]:8.4f}" for at in shown), ""]
    if found.suggestion is None:
        lines.append("the loss falls at none of these rates; try others, or look at the data")
    else:
        lines.append(f"lowest loss at {plain(found.lowest)}, {_rise(found)}")
        lines.append(f"a learning rate to begin with: {plain(found.suggestion)}{_others(found)}")
    steps = sum(len(test.losses) for test in found.tests)
    if found.diverged is None:
        lines.append(f"does not diverge up to {plain(first.rates[-1])}, in {steps:,} steps")
    else:
        lines.append(f"diverges at {plain(found.diverged)}; {steps:,} steps in all")
    return lines


def _rise(found: RateTests) -> str:
    """Where the loss rises again."""
    last = float(found.tests[0].rates[-1])
    if found.diverged is None and found.rises >= last:
        return f"and it does not rise up to {plain(last)}: a higher --most may show a better rate"
    return f"and it rises again at {plain(found.rises)}"


def _others(found: RateTests) -> str:
    """What each test suggests, where there are several."""
    if len(found.tests) == 1:
        return ""
    each = [plain(test.suggestion) if test.suggestion else "none" for test in found.tests]
    return f", the middle one of {', '.join(each)}"


def plain(rate: float) -> str:
    """Two digits of a rate, and no power of ten where it is 100 or more."""
    return f"{float(f'{rate:.2g}'):g}"


def rates_json(found: RateTests) -> dict[str, Any]:
    """What all tests come to, and all of each; null for a suggestion or a divergence that there is not."""
    return {"net": found.net, **_marks(found), "tests": [_curves(test) for test in found.tests]}


def _marks(found: RateTest | RateTests) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("suggestion", "lowest", "rises", "diverged")}


def _curves(found: RateTest) -> dict[str, Any]:
    return {
        **_marks(found),
        "rates": found.rates.tolist(),
        "losses": found.losses.tolist(),
        "smoothed": found.smoothed.tolist(),
    }
