"""A length of a run in words: "500 steps", "2 epochs", "30 minutes"."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from gpunet.errors import ConfigError
from gpunet.values.given import told

UNITS = ("steps", "epochs", "minutes")


@dataclass(frozen=True, slots=True)
class Span:
    """So many of a unit; 0 of any is none."""

    number: int
    unit: str

    def steps(self, steps_per_epoch: int) -> int:
        """Its steps, where it is one of steps or epochs."""
        return self.number * (steps_per_epoch if self.unit == "epochs" else 1)


def parse_span(text: object, units: Collection[str] = UNITS) -> Span:
    """ "2 epochs" as a Span; a number alone counts steps. Raises ConfigError for anything else."""
    words = re.fullmatch(r"\s*([0-9]{1,9})\s*([a-z]*)\s*", str(text)) if isinstance(text, str | int) else None
    unit = words[2] if words else "?"
    found = [one for one in units if unit and one.startswith(unit)] if unit else ["steps"]
    if words is None or isinstance(text, bool) or not found:
        raise ConfigError(f"cannot read {told(text)} as a length; write it like {wording(units)}")
    return Span(int(words[1]), found[0])


def wording(units: Collection[str]) -> str:
    """Examples of these units, for people."""
    examples = {"steps": "500 steps", "epochs": "2 epochs", "minutes": "30 minutes"}
    return " or ".join(f'"{examples[unit]}"' for unit in units)
