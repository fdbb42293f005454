"""Milliseconds of a kernel on a card: the slowest of its memory, its arithmetic and its launches.

Source: Williams, Waterman & Patterson 2009, "Roofline"; what a product loses in its last wave of tiles is on top.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Literal

from gpunet.devices.cards import Card
from gpunet.planning.efficiency import Unit, rates, share
from gpunet.planning.kernel import ITEM_BYTES, Kernel, Product

Bound = Literal["memory", "arithmetic", "launches"]

LAUNCH_MS = 0.005
"""A kernel's start, its first loads and its last threads; not the host's part, which a CUDA graph hides."""

L2_SHARE = 0.5
"""Scratch of up to this share of the L2 cache stays there between its writer and its reader."""

L2_SPEED = 2.5
"""How much faster than memory that is."""

TILES = {(128, 128): 1.0, (128, 64): 1.06, (64, 128): 1.06, (64, 64): 1.2}
"""Rows and columns of results that a block of threads makes, and what each costs: small ones load their operands more
often."""

TENSOR_TILES = {(128, 128): 1.0, (128, 64): 1.06, (64, 32): 1.3}
"""The same on tensor cores."""

FLOPS_ISSUED: Mapping[Unit, float] = {"float32": 64.0, "tf32": 2048.0, "float16": 4096.0}
"""Operations of one instruction of a warp."""

LEAST_SUM = 512
"""Products of a sum below which it is not cut into slices."""

MOST_SLICES = 64

FILL = 16
"""Products of a sum for which a tile is idle, in its first loads and its last stores."""


@dataclass(frozen=True, slots=True)
class Price:
    """Milliseconds that a kernel takes by each of what bounds it, all its launches together; `ms`, of the whole."""

    memory_ms: float
    arithmetic_ms: float
    launches_ms: float

    @property
    def ms(self) -> float:
        return max(self.memory_ms, self.arithmetic_ms) + self.launches_ms

    @property
    def bound(self) -> Bound:
        """Which is the most of it."""
        if self.launches_ms > max(self.memory_ms, self.arithmetic_ms):
            return "launches"
        return "memory" if self.memory_ms >= self.arithmetic_ms else "arithmetic"


def price(kernel: Kernel, card: Card) -> Price:
    """What all launches of a kernel take on a card."""
    reach, able = share(kernel.name), rates(card)
    in_cache = kernel.scratch_size <= L2_SHARE * card.l2_mib * 2**20
    scratch_bytes = kernel.scratch_bytes / (L2_SPEED if in_cache else 1)
    extra_bytes, flops = 0.0, kernel.flops
    if kernel.product is not None:
        tiles = TILES if reach.unit == "float32" else TENSOR_TILES
        extra_bytes, padded = _cut(kernel.product, tiles, card.multiprocessors)
        flops += padded
    memory_ms = (kernel.nbytes + scratch_bytes + extra_bytes) / (able.bytes_per_ms * reach.memory)
    moved = kernel.nbytes + kernel.scratch_bytes
    issued = moved / 512 * reach.slots + flops / FLOPS_ISSUED[reach.unit] * reach.issued
    arithmetic_ms = max(issued / able.slots_per_ms, flops / (able.flops_per_ms[reach.unit] * reach.peak))
    count = kernel.launches
    return Price(memory_ms * count, arithmetic_ms * count, LAUNCH_MS * count)


def _cut(product: Product, tiles: Mapping[tuple[int, int], float], multiprocessors: int) -> tuple[float, float]:
    """(bytes of slices, operations): those of whole tiles in whole waves over the SMs, in the cut that takes fewest."""
    best = (0.0, float("inf"))
    for tile, cost in tiles.items():
        if product.tile not in (None, tile):
            continue
        made = ceil(product.m / tile[0]) * ceil(product.n / tile[1]) * product.count
        for slices in [product.slices] if product.slices else _slices(product.k):
            waves = ceil(made * slices / multiprocessors)
            length = ceil(product.k / slices) + FILL
            flops = 2.0 * waves * multiprocessors * tile[0] * tile[1] * length * cost
            nbytes = 2.0 * slices * product.m * product.n * product.count * ITEM_BYTES if slices > 1 else 0.0
            if flops < best[1]:
                best = nbytes, flops
    return best


def _slices(k: int) -> list[int]:
    """Into how many parts a sum of k may be cut."""
    most = min(MOST_SLICES, max(1, k // LEAST_SUM))
    return [n for n in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64) if n <= most]
