"""How the filters of a convolution stand over its input, as the numbers and the shapes of its ops say."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Filters:
    """F_rows x F_columns positions that stand so far apart as dilation says, moved S at a time from P above and left of
    the input.

    What is padded below and on the right need not be known: the output says how many windows there are.
    """

    F_rows: int
    F_columns: int
    S_rows: int
    S_columns: int
    P_top: int
    P_left: int
    dilation_rows: int
    dilation_columns: int

    @property
    def height(self) -> int:
        """Input rows from the first of a window to its last."""
        return (self.F_rows - 1) * self.dilation_rows + 1


@dataclass(frozen=True, slots=True)
class ConvShape:
    """A convolution: N volumes of H x W x D seen by K filters, which make N volumes of H2 x W2 x K.

    `groups`  each of D/groups maps, which K/groups filters see
    """

    N: int
    H: int
    W: int
    D: int
    H2: int
    W2: int
    K: int
    groups: int
    filters: Filters

    @classmethod
    def of(cls, x: tuple[int, ...], w: tuple[int, ...], y: tuple[int, ...], numbers: Mapping[str, int]) -> "ConvShape":
        """By the shapes of x (N, H, W, D), w (K, F_rows, F_columns, D/groups) and y (N, H2, W2, K), and by the numbers
        of the ops: strides, padding and dilation."""
        return cls.seen(x, w, y, Filters(w[1], w[2], **numbers))

    @classmethod
    def seen(cls, x: tuple[int, ...], w: tuple[int, ...], y: tuple[int, ...], filters: Filters) -> "ConvShape":
        """By the same shapes, and by how the filters stand."""
        N, H, W, D = x
        return cls(N, H, W, D, y[1], y[2], w[0], D // w[3], filters)

    @property
    def maps(self) -> int:
        """Maps that a filter sees."""
        return self.D // self.groups

    @property
    def length(self) -> int:
        """Weights of a filter."""
        return self.filters.F_rows * self.filters.F_columns * self.maps

    @property
    def positions(self) -> int:
        """Places of the filters, over all images."""
        return self.N * self.H2 * self.W2

    @property
    def is_product(self) -> bool:
        """Whether x itself is the im2col matrix: filters of 1 x 1 that see every position of it once."""
        F = self.filters
        one = (F.F_rows, F.F_columns, F.S_rows, F.S_columns, F.P_top, F.P_left) == (1, 1, 1, 1, 0, 0)
        return one and (self.H2, self.W2) == (self.H, self.W)


@dataclass(frozen=True, slots=True)
class Group:
    """Filters [filter0, filter1), which see the maps [map0, map1) alone."""

    map0: int
    map1: int
    filter0: int
    filter1: int


def groups(D: int, w: tuple[int, ...]) -> list[Group]:
    """The groups of a convolution over D maps with weights of shape w, (K, F_rows, F_columns, maps of a group)."""
    count, maps = D // w[3], w[3]
    filters = w[0] // count
    return [Group(g * maps, (g + 1) * maps, g * filters, (g + 1) * filters) for g in range(count)]
