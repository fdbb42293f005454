"""Winograd's convolution F(m x m, 3 x 3): an m x m tile of outputs by (m + 2) x (m + 2) products in place of 9*m*m.

One axis first. The outputs of m + 2 inputs and 3 weights are the coefficients of a product of polynomials, which is
known by its values at m + 1 points and its leading coefficient: to go there, to multiply, and to come back are the
three matrices below. For a plane each is applied on both sides: y = A^T ((G w G^T) * (B^T x B)) A.
Source: Winograd 1980, "Arithmetic complexity of computations"; Lavin & Gray 2015, "Fast algorithms for convolutional
neural networks"; points that round less than 0, 1, -1, 2, -2: Barabasz et al. 2020, "Error analysis and improving the
accuracy of Winograd convolution for deep neural networks".
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from gpunet.program.algorithm import AlgorithmName
from gpunet.program.filters import ConvShape

WINOGRAD: dict[AlgorithmName, int] = {"winograd2": 2, "winograd4": 4}
"""By the name of the algorithm, m."""

POINTS = {
    2: (Fraction(0), Fraction(1), Fraction(-1)),
    4: (Fraction(0), Fraction(5, 8), Fraction(-5, 8), Fraction(3, 2), Fraction(-3, 2)),
}
"""By m. With these, B and A hold binary fractions alone, which float32 has; only G is rounded."""

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Winograd:
    """The matrices of F(m x m, 3 x 3), n = m + 2.

    `B_T`  (n, n)  inputs to values at the points
    `G`    (n, 3)  weights to values at the points, divided by what B_T leaves too much
    `A_T`  (m, n)  values at the points to outputs
    """

    m: int
    B_T: Matrix
    G: Matrix
    A_T: Matrix

    @property
    def n(self) -> int:
        """Inputs along one side of a tile."""
        return self.m + 2


@cache
def winograd(m: int) -> Winograd:
    """F(m x m, 3 x 3) for m = 2 or 4, by the method of Toom and Cook."""
    points = POINTS[m]
    B_T, G = [], []
    for point in points:
        others = [other for other in points if other != point]
        B_T.append([*_polynomial(others), Fraction(0)])
        scale = Fraction(1)
        for other in others:
            scale *= point - other
        G.append([point**power / scale for power in range(3)])
    B_T.append(_polynomial(points))
    G.append([Fraction(0), Fraction(0), Fraction(1)])
    A_T = [[*(point**power for point in points), Fraction(power == m - 1)] for power in range(m)]
    return Winograd(m, _floats(B_T), _floats(G), _floats(A_T))


def suits(shape: ConvShape) -> bool:
    """Whether Winograd's convolution can make this one: filters of 3 x 3 at stride 1 that see all maps."""
    F = shape.filters
    ones = F.S_rows, F.S_columns, F.dilation_rows, F.dilation_columns, shape.groups
    return (F.F_rows, F.F_columns) == (3, 3) and {*ones} == {1}


def tiles(H: int, W: int, m: int) -> tuple[int, int]:
    """How many tiles cover an output of H x W, down and across; those at the end may hang over."""
    return -(-H // m), -(-W // m)


def _polynomial(roots: tuple[Fraction, ...] | list[Fraction]) -> list[Fraction]:
    """The coefficients of the product of all (x - root), constant one first."""
    found = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *found]
        found = [above - root * below for above, below in zip(shifted, [*found, Fraction(0)], strict=True)]
    return found


def _floats(rows: list[list[Fraction]]) -> Matrix:
    return tuple(tuple(float(value) for value in row) for row in rows)
