"""Numbers with which kernels divide by multiplying: Divisor of cuda/common.cuh.

Source: Granlund & Montgomery 1994, "Division by invariant integers using multiplication".
"""

from functools import cache

__all__: tuple[str, ...] = ()  # no ops here

MOST = 2**31
"""Kernels divide indices below this by numbers below this; where there are larger ones, they use 64 bits and divide."""


@cache
def magic(divisor: int) -> int:
    """32 bits of a multiplier m and above them a shift s: n // divisor == ((m * n >> 32) + n) >> s for 0 <= n < 2**31.

    0 for a divisor outside of 1 to 2**31 - 1, by which no kernel divides in this way.
    """
    if not 0 < divisor < MOST:
        return 0
    shift = (divisor - 1).bit_length()
    return shift << 32 | (2**32 * ((1 << shift) - divisor) // divisor + 1)


def by(divisor: int) -> tuple[int, int]:
    """The two arguments of a kernel that divides by this number: the number itself and its magic."""
    return divisor, magic(divisor)
