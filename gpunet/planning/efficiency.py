"""How near to its data sheet a card comes, kernel by kernel: efficiency.toml, and what was found on cards since.

What a profile or bench/on_gpu.py found is kept in the user's cache by the card's name, so that it may be carried to a
machine that has no GPU.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache as once
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from gpunet.devices.cards import Card
from gpunet.system import cache
from gpunet.version import __version__

Unit = Literal["float32", "tf32", "float16"]
"""What multiplies: ordinary cores, or tensor cores in one of their types; bfloat16 is as fast as float16."""

ISSUED_PER_CLOCK = 4 * 0.8
"""Instructions of warps that an SM issues in a clock: four schedulers, which find a warp that is ready four times of
five."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a kernel reaches; efficiency.toml says each in full.

    `memory`  share of a copy's bandwidth
    `slots`   instructions of a warp for 512 bytes that it moves
    `peak`    share of the peak of its `unit` that its products sustain
    `issued`  instructions of a warp for each product of a warp on tensor cores
    """

    memory: float
    slots: float = 0.0
    peak: float = 0.5
    unit: Unit = "float32"
    issued: float = 0.0


@dataclass(frozen=True, slots=True)
class Rates:
    """What a card sustains a ms: bytes of a plain copy, instructions of warps, and operations by each unit it has."""

    bytes_per_ms: float
    slots_per_ms: float
    flops_per_ms: Mapping[Unit, float]


@dataclass(frozen=True)
class Paces:
    """What was found on a card: by `pace_key`, predicted over measured time. Above 1: faster than the table says.

    `source`  who found it and when, in words
    """

    source: str
    by_key: Mapping[str, float] = field(default_factory=dict)

    def of(self, key: str) -> float:
        """1 where nothing was found."""
        return self.by_key.get(key, 1.0)


def share(kernel: str) -> Share:
    """What a kernel, or an op that is one kernel, reaches by the table."""
    return _shares().get(kernel) or _shares()["other"]


@once
def rates(card: Card) -> Rates:
    """What a card sustains by the table."""
    major, minor = card.compute_capability
    table = _table()["cards"]
    found = {**table.get(str(major), table[max(table, key=float)]), **table.get(f"{major}.{minor}", {})}
    flops_per_ms: dict[Unit, float] = {"float32": card.float32_tflops * 1e9 * found["clock"]}
    of_tensor_cores: dict[Unit, float | None] = {"tf32": card.tf32_tflops, "float16": card.float16_tflops}
    for unit, tflops in of_tensor_cores.items():
        if tflops is not None:
            flops_per_ms[unit] = tflops * 1e9 * found["clock"] * found.get("tensor", 1.0)
    clocks_per_ms = flops_per_ms["float32"] / (2 * found["cores"] * card.multiprocessors)
    return Rates(
        card.bandwidth_gb_s * 1e6 * found["copy"],
        clocks_per_ms * card.multiprocessors * ISSUED_PER_CLOCK,
        flops_per_ms,
    )


@once
def _table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("efficiency.toml").read_text("utf-8"))


@once
def _shares() -> dict[str, Share]:
    names = [field.name for field in fields(Share)]
    kernels = _table()["kernels"].items()
    return {kernel: Share(**{name: numbers[name] for name in names if name in numbers}) for kernel, numbers in kernels}


# -- the cache -------------------------------------------------------------------------------------


def file_name(card: str) -> str:
    """The cache's file for what was found on a card."""
    return f"efficiencies/{re.sub('[^a-z0-9]+', '-', card.lower())}.json"


def keep(card: Card, paces: Paces) -> Path:
    """Keep what was found on a card, beside what is known of other ops. Raises DataError where that cannot be."""
    older = load(card)
    by_key = {**(older.by_key if older else {}), **paces.by_key}
    return cache.put(file_name(card.name), __version__, {"source": paces.source, "paces": by_key})


def load(card: Card) -> Paces | None:
    """What this version of gpunet found on a card; None where it found nothing."""
    name = file_name(card.name)
    found = cache.read(name).get(__version__)
    if found is None:
        return None
    try:
        return Paces(str(found["source"]), {str(key): _positive(pace) for key, pace in found["paces"].items()})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        cache.ignore(cache.folder() / name, f"{type(error).__name__}: {error}")
        return None


def _positive(number: Any) -> float:
    pace = float(number)
    if not (isfinite(pace) and pace > 0):
        raise ValueError(f"{number!r} is not above zero")
    return pace
