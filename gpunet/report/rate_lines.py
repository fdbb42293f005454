"""A range test of the learning rate as a table and in words, and as a plain dictionary for `--json`."""

from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from gpunet.train.lr_find import RateTest, RateTests

SHOWN = 12
"""Rates of the table."""


def rate_parts(found: RateTests) -> list[Table | str]:
    """Tests, ready to show: a few rates, and what all of them come to."""
    return [rate_table(found), "", *rate_lines(found)]


def rate_table(found: RateTests) -> Table:
    """A few rates with their smoothed losses, in the first of the tests."""
    first = found.tests[0]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in ("learning rate", "loss"):
        table.add_column(heading, justify="right")
    for at in np.unique(np.linspace(0, len(first.smoothed) - 1, SHOWN).round().astype(int)):
        table.add_row(f"{first.rates[at]:.3g}", f"{first.smoothed[at]:.4f}")
    return table


def rate_lines(found: RateTests) -> list[str]:
    """What all of the tests come to."""
    lines = [outcome(found)]
    if found.suggestion is not None:
        lines.insert(0, f"lowest loss at {plain(found.lowest)}, {_rise(found)}")
    steps = sum(len(test.losses) for test in found.tests)
    if found.diverged is None:
        lines.append(f"does not diverge up to {plain(found.tests[0].rates[-1])}, in {steps:,} steps")
    else:
        lines.append(f"diverges at {plain(found.diverged)}; {steps:,} steps in all")
    return lines


def outcome(found: RateTests) -> str:
    """What is suggested."""
    if found.suggestion is None:
        return "the loss falls at none of these rates; try others, or look at the data"
    return f"a learning rate to begin with: {plain(found.suggestion)}{_others(found)}"


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


def rate_rows(said: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each step of each test, of what `rates_json` says."""
    return [
        {"test": number, "step": step, "rate": rate, "loss": loss, "smoothed": smooth}
        for number, test in enumerate(said["tests"], 1)
        for step, (rate, loss, smooth) in enumerate(
            zip(test["rates"], test["losses"], test["smoothed"], strict=True), 1
        )
    ]
