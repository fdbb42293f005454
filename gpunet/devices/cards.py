"""Cards by the names that people give them, and what is known of each: cards.toml, whose head has the sources."""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gpunet.errors import ConfigError

DEFAULT = "RTX 3060 12GB"
"""The card that is planned for where nobody names one, nor a budget, and this machine has no GPU."""

SHARE_OF_NVIDIA_SMI = 95
"""Per cent of what nvidia-smi shows that CUDA is taken to give where no total was seen; cards of 8 GB and more gave 96
and up on Linux."""

SEEN = "the least CUDA total that is known"

NOISE = {"nvidia", "geforce", "tesla", "hbm"}
"""Words of full names that tell no card from another."""

MAY_BE_LEFT_OUT = re.compile(r"gtx|rtx|maxwell|pascal|sxm|jetson|\d+gb")
"""Words of a card's name that people leave out; those that are left must be said."""


@dataclass(frozen=True, slots=True)
class Card:
    """A card: what CUDA gives of it, and what it can do; cards.toml says each in full.

    `linux_bytes, windows_bytes`  the CUDA totals that were seen, the least first; () for none
    `nvidia_smi_mib`              None where there is no nvidia-smi
    `tf32_tflops, float16_tflops` of tensor cores; None where it has none, or nobody tells (then it is in `unsure`)
    `seen, unsure`                names of figures that were read off a card, and of those that may be wrong
    """

    name: str
    memory_gb: int
    compute_capability: tuple[int, int]
    multiprocessors: int
    bandwidth_gb_s: float
    l2_mib: float
    float32_tflops: float
    tf32_tflops: float | None = None
    float16_tflops: float | None = None
    linux_bytes: tuple[int, ...] = ()
    windows_bytes: tuple[int, ...] = ()
    nvidia_smi_mib: int | None = None
    seen: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    total_note: str = ""
    note: str = ""

    @property
    def total_bytes(self) -> int:
        """The least CUDA total that is known; estimated where none is, as `total_source` says."""
        found = (*self.linux_bytes, *self.windows_bytes)
        if found:
            return min(found)
        assert self.nvidia_smi_mib is not None  # whose total nobody saw
        return self.nvidia_smi_mib * 2**20 * SHARE_OF_NVIDIA_SMI // 100

    @property
    def total_is_sure(self) -> bool:
        """Whether the total was seen on Linux, and on such a card."""
        return self.linux_bytes != () and "linux_bytes" not in self.unsure

    @property
    def total_source(self) -> str:
        """How the total is known, in words."""
        if self.linux_bytes:
            return f"{SEEN}, {self.total_note}" if self.total_note else f"{SEEN} to the byte"
        if self.windows_bytes:
            return f"seen on Windows alone: Linux gives less{f'; {self.total_note}' if self.total_note else ''}"
        return f"estimated, {100 - SHARE_OF_NVIDIA_SMI} % below what nvidia-smi shows: no CUDA total is known"


@cache
def cards() -> tuple[Card, ...]:
    """All cards that are known, in the order of the file."""
    text = Path(__file__).with_name("cards.toml").read_text("utf-8")
    return tuple(_card(entry) for entry in tomllib.loads(text)["card"])


def find(text: str) -> Card:
    """The card that people mean by "3060", "RTX3060 12GB", "rtx-3060", "1080ti" or "NVIDIA GeForce RTX 3060".

    Raises ConfigError, with names that are near, for a card that is not known, and with the candidates for a name that
    several have.
    """
    found = named(text)
    if str(text).strip().lower() == "all":
        raise ConfigError("all cards at once are for gpunet fit; name one here, as gpunet cards lists them")
    if not found:
        near = _near(text)
        meant = f"; did you mean the {_either(near)}?" if near else ":"
        raise ConfigError(
            f"there is no card {str(text)[:60]!r} in the table{meant} gpunet cards lists all; or say a budget like 8GiB"
        )
    if len(found) > 1:
        raise ConfigError(f"{text!r} may be the {_either([card.name for card in found])}: say which")
    return found[0]


def named(text: str) -> list[Card]:
    """The cards that a name may mean: it has all words that tell a card from others, and none that it has not."""
    words = set(_words(text)) - NOISE
    return [card for card in cards() if _needed(card) <= words <= {*_words(card.name), f"{card.memory_gb}gb"}]


def with_article(name: str) -> str:
    """The name of a card or GPU with its article: "an RTX 3060", "a GTX 1060"."""
    return f"{'an' if name[:1] in 'AEFHILMNORSX' else 'a'} {name}"  # as its first letter is spoken


def _needed(card: Card) -> set[str]:
    """The words of a card's name that must be said."""
    return {word for word in _words(card.name) if not MAY_BE_LEFT_OUT.fullmatch(word)}


def _words(text: str) -> list[str]:
    """Letters and figures apart, amounts of memory whole: "RTX3060 12 GB" is rtx, 3060, 12gb."""
    found = re.finditer(r"(?<![a-z0-9])(\d+) ?g(?:i?b)?(?![a-z0-9])|(sxm|hbm)\d*e?|[a-z]+|\d+", str(text).lower())
    return [f"{word[1]}gb" if word[1] else word[2] or word[0] for word in found]


def _near(text: str) -> list[str]:
    """Names of cards that have its number, else its figures in another order, else of up to three spelled like it."""
    from difflib import get_close_matches  # only after a mistake

    words = [word for word in _words(text) if word not in NOISE]
    numbers = {word for word in words if word.isdigit()}
    if same := [card.name for card in cards() if numbers & _needed(card)]:
        return same
    figures = {"".join(sorted(number)) for number in numbers}
    if swapped := [card.name for card in cards() if figures & {"".join(sorted(word)) for word in _needed(card)}]:
        return swapped
    spelled: dict[str, str] = {}
    for card in cards():
        in_full = _words(card.name)
        short = [word for word in in_full if word in _needed(card)]
        spelled |= {" ".join(in_full): card.name, " ".join(short): card.name}
    close = get_close_matches(" ".join(words)[:40], spelled, n=3, cutoff=0.5)
    return list(dict.fromkeys(spelled[name] for name in close))


def _either(names: Sequence[str]) -> str:
    """'A', 'A or the B', 'A, the B or the C'."""
    *most, last = names
    return f"{', the '.join(most)} or the {last}" if most else last


def _card(entry: dict[str, Any]) -> Card:
    """A card from its table in the file; lists become tuples, "8.6" becomes (8, 6)."""
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
    return Card(**plain | {"compute_capability": parse_capability(entry["compute_capability"])})


def capability(numbers: tuple[int, int] | None) -> str:
    """As people write it: "8.6" of (8, 6); "" of none."""
    return ".".join(map(str, numbers or ()))


def parse_capability(text: str) -> tuple[int, int]:
    """A compute capability as numbers that compare: (8, 6) of "8.6"."""
    major, minor = text.split(".")
    return int(major), int(minor)
