"""How many images are set aside: "10%" of them, or so many."""

import re
from dataclasses import dataclass

from gpunet.errors import DataError


@dataclass(frozen=True, slots=True)
class Share:
    """`number` images, or so many of a hundred where it is `percent`; 0 of either is none."""

    number: float
    percent: bool = False

    def of(self, n: int) -> int:
        """How many that is of `n` images: at least one, unless it is none."""
        if not self.percent:
            return int(self.number)
        return max(1, round(n * self.number / 100)) if self.number else 0


def parse_share(text: object) -> Share:
    """ "10%" or "200" or 200 as a Share; 0 and "none" are none. Raises DataError for anything else."""
    if text == "none":
        return Share(0)
    words = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(%?)\s*", str(text)) if type(text) in (str, int) else None
    if words is None or (not words[2] and "." in words[1]) or (words[2] and float(words[1]) >= 100):
        raise DataError(f"cannot read {text!r} as a part of the images; write it like {WORDING}")
    return Share(float(words[1]), bool(words[2]))


WORDING = '"10%" (below 100%), 200 (images) or 0 (none)'
"""Examples, for people."""
