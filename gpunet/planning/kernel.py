"""What a kernel asks of a GPU, whichever GPU that is."""

from dataclasses import dataclass

ITEM_BYTES = 4
"""Of a float32, the one type that is priced."""


@dataclass(frozen=True, slots=True)
class Product:
    """An (m, n) matrix product with sums of k, made tile by tile, `count` of the same in one launch.

    `slices`  parts into which each sum is cut; 0: as suits the card, as a library has it
    `tile`    rows and columns of results of one block of threads; None: as suits the card
    """

    m: int
    n: int
    k: int
    count: int = 1
    slices: int = 0
    tile: tuple[int, int] | None = None

    @property
    def flops(self) -> float:
        """Multiplications and additions."""
        return 2.0 * self.m * self.n * self.k * self.count


@dataclass(frozen=True, slots=True)
class Kernel:
    """What one launch of a kernel asks for.

    `name`           whose efficiency it has
    `nbytes`         moved between the card's memory and its SMs
    `scratch_bytes`  moved besides to and from scratch, which may stay in the L2 cache; `scratch_size`, its bytes
    `product`        what it multiplies; `flops`: what it computes that is no product
    `launches`       of the same kind
    """

    name: str
    nbytes: float
    scratch_bytes: float = 0.0
    scratch_size: float = 0.0
    product: Product | None = None
    flops: float = 0.0
    launches: float = 1
