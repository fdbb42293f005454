"""How the filters of a convolution stand over its input, as the numbers and the shapes of its ops say."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Filters:
    """F_rows x F_columns positions that stand `dilation` apart, moved S at a time from P above and left of the input.

    What is padded below and on the right need not be known: the output says how many windows there are.
    """

    F_rows: int
    F_columns: int
    S_rows: int
    S_columns: int
    P_top: int
    P_left: int
    dilation: int

    @property
    def height(self) -> int:
        """Input rows from the first of a window to its last."""
        return (self.F_rows - 1) * self.dilation + 1


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
