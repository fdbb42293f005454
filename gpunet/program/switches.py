"""How the switches of max-pooling lie: a number for each value of the output, which position of its window was taken.

Where a number is below 16, two lie in a byte, of neighbouring maps, the first in the lower half. What is left over
of the last byte of a position with an odd number of maps is 0.
"""

HALF = 15
"""What half a byte can hold."""


def switches_like(y: tuple[int, ...], places: int) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of the switches of an output (N, H2, W2, D) whose windows have so many places, and one to spare.

    The one to spare points nowhere.
    """
    if places <= HALF:
        return (*y[:-1], halves(y[-1])), "uint8"
    return y, "uint8" if places <= 256 else "int32"


def halves(maps: int) -> int:
    """The bytes in which so many halves lie."""
    return -(-maps // 2)


def are_halved(switches: tuple[int, ...], y: tuple[int, ...]) -> bool:
    """Whether switches of this shape lie in halves of bytes. Of one map a byte is the same either way."""
    return switches[-1] != y[-1]
