"""How the axes of a value in ONNX hold a volume of ours: ("N", "D", "H", "W"), flattened ("N", "DHW"), and so on.

Each axis is a text of letters, flattened in that order; "" for one of size 1 that stands for none of them.
"""

from collections.abc import Sequence
from math import prod

from gpunet.program.volume import Volume

Axes = tuple[str, ...]

MAPS_FIRST, MAPS_LAST = ("N", "D", "H", "W"), ("N", "H", "W", "D")


def dims_of(axes: Axes, volume: Volume, N: int) -> tuple[int, ...]:
    """The sizes of the axes."""
    return tuple(prod(_size(letter, volume, N) for letter in letters) for letters in axes)


def regrouped(axes: Axes, volume: Volume, N: int, dims: Sequence[int]) -> Axes | None:
    """The axes after a reshape to these sizes; None where it parts what belongs together."""
    letters = [(letter, _size(letter, volume, N)) for group in axes for letter in group]
    made, at = [], 0
    for size in dims:
        group, product = "", 1
        while product < size and at < len(letters):
            group, product, at = group + letters[at][0], product * letters[at][1], at + 1
        if size == 1 and at < len(letters) and letters[at][1] == 1:
            group, at = letters[at][0], at + 1
        if product != size:
            return None
        made.append(group)
    rest = letters[at:]
    if not made or any(size > 1 for _, size in rest):
        return None
    made[-1] += "".join(letter for letter, _ in rest)
    return tuple(made) if significant(made[0], volume, N) in ("N", "") and "N" in made[0] else None


def significant(letters: str, volume: Volume, N: int = 2) -> str:
    """Those of the letters whose size is more than 1; N counts as such unless it is said to be 1."""
    return "".join(letter for letter in letters if _size(letter, volume, N) > 1)


def is_held(axes: Axes, order: Axes, volume: Volume) -> bool:
    """Whether a value of these axes is one of that order: sizes of 1 may stand anywhere."""
    if len(axes) != len(order):
        return False
    pairs = zip(axes[1:], order[1:], strict=True)
    return all(significant(letters, volume) == significant(wanted, volume) for letters, wanted in pairs)


def order_of(axes: Axes, volume: Volume) -> Axes | None:
    """MAPS_FIRST or MAPS_LAST, ("N", "D") for a vector of maps; None for anything else."""
    orders = [order for order in (MAPS_FIRST, MAPS_LAST, ("N", "D")) if is_held(axes, order, volume)]
    return axes if axes in orders else next(iter(orders), None)


def flat_order(axes: Axes) -> str:
    """D, H and W in the order in which a value of two axes has them flattened."""
    letters = axes[1]
    return letters + "".join(letter for letter in "DHW" if letter not in letters)


def _size(letter: str, volume: Volume, N: int) -> int:
    return {"N": N, "H": volume.H, "W": volume.W, "D": volume.D}[letter]
