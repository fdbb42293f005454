"""What any choice of what to drop must cost at least: a linear relaxation, solved by SciPy's HiGHS where it is there.

Of what is dropped only the bytes count that it frees, and that only until backward reads it; a value may be dropped in
part, its makers run in part. Whatever is kept to make others from takes its bytes to the end of the forward pass.
"""

from collections.abc import Callable, Iterator
from itertools import groupby

import numpy as np

from gpunet.compile.makers import Makers, Price


def least_price(makers: Makers, price: Price, limit_bytes: int, turn: int) -> float | None:
    """The price that no choice within a limit of bytes alive is below; None without SciPy, and where none is within.

    `turn`  the first step of the backward pass
    """
    try:
        from scipy.optimize import linprog
        from scipy.sparse import coo_array
    except ImportError:
        return None
    live = np.array(makers.live, np.int64)
    if live.max() <= limit_bytes:
        return 0.0
    values = len(makers.values)
    unit = float(max(value.nbytes for value in makers.values))
    rows: list[tuple[list[tuple[int, float]], float]] = []  # sum of coefficient * variable <= bound
    for freed, steps in groupby((step for step in range(len(live)) if live[step] > limit_bytes), _at(makers, turn)):
        excess = max(int(live[step]) for step in steps) - limit_bytes
        rows.append(([(v, -makers.values[v].nbytes * sign / unit) for v, sign in freed], -excess / unit))
    rows += [(row, 0.0) for row in _needs(makers)]
    entries = [(number, variable, factor) for number, (row, _) in enumerate(rows) for variable, factor in row]
    at, variables, factors = zip(*entries, strict=True)
    size = len(rows), values + len(makers.makers)
    table = coo_array((factors, (at, variables)), shape=size)
    prices = np.array([0] * values + [price(maker.cost) for maker in makers.makers], float)
    scale = prices.max() or 1.0
    upper = [1.0 if v.saved or v.keepable else 0.0 for v in makers.values] + [1.0] * len(makers.makers)
    found = linprog(prices / scale, table.tocsr(), [b for _, b in rows], bounds=[(0, u) for u in upper], method="highs")
    return float(found.fun * scale) if found.success else None


def _at(makers: Makers, turn: int) -> Callable[[int], tuple[tuple[int, int], ...]]:
    """By step, the values of which a change counts: 1 what is freed there if it is dropped, -1 what is kept."""

    def of(step: int) -> tuple[tuple[int, int], ...]:
        freed = ((v, 1) for v, one in enumerate(makers.values) if one.saved and one.free[0] <= step < one.free[1])
        kept = ((v, -1) for v, one in enumerate(makers.values) if one.keepable and one.last <= step < turn)
        return (*freed, *kept)

    return of


def _needs(makers: Makers) -> Iterator[list[tuple[int, float]]]:
    """Rows that must not be above 0: what is dropped is made; what is made needs what is neither saved nor kept."""
    offset = len(makers.values)
    for v, value in enumerate(makers.values):
        if value.saved:
            yield [(v, 1.0), (offset + value.maker, -1.0)]
        elif not value.fixed:
            for user in makers.users[v]:
                row = [(offset + user, 1.0), (offset + value.maker, -1.0)]
                yield [*row, (v, -1.0)] if value.keepable else row
