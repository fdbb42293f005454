"""Factors by pattern on the command line: how fast layers or parameters learn, how far their weights decay."""

from collections.abc import Sequence
from typing import Annotated

import typer

from gpunet.errors import ConfigError

RateFactors = Annotated[
    list[str] | None,
    typer.Option(
        "--rate-factor",
        metavar="PATTERN=FACTOR",
        help="What the learning rate of layers or parameters is multiplied by, like 'conv*=0.1' or '*.b=2'; may be "
        "given several times, the last that matches counts. Default: as the net's config says.",
        show_default=False,
    ),
]
DecayFactors = Annotated[
    list[str] | None,
    typer.Option(
        "--decay-factor",
        metavar="PATTERN=FACTOR",
        help="The same of weight decay, like '*.b=0'.",
        show_default=False,
    ),
]


def read_factors(option: str, given: Sequence[str] | None) -> dict[str, float] | None:
    """The factors by pattern; None where none were given. Raises ConfigError for what is no PATTERN=FACTOR."""
    found = {}
    for text in given or ():
        pattern, _, number = text.rpartition("=")
        try:
            found[pattern.strip()] = float(number)
        except ValueError:
            pattern = ""
        if not pattern.strip():
            raise ConfigError(f"{option} is a pattern and a factor, like 'conv*=0.1'; got {text!r}")
    return found or None
