"""Windows that slide: extents, strides, paddings and fit policies, over inputs whose H and W differ."""

from dataclasses import dataclass

from gpunet.volume import FitPolicy, output_size


@dataclass(frozen=True)
class Geometry:
    """An F x F window at stride S and padding P over H x W."""

    H: int
    W: int
    F: int
    S: int
    P: int
    fit: FitPolicy = "error"

    @property
    def H2(self) -> int:
        return output_size(self.H, self.F, self.S, self.P, self.fit)

    @property
    def W2(self) -> int:
        return output_size(self.W, self.F, self.S, self.P, self.fit)

    @property
    def numbers(self) -> dict[str, int]:
        """F, S and P as the ops take them."""
        return {"F": self.F, "S": self.S, "P": self.P}

    def __str__(self) -> str:
        return f"{self.H}x{self.W}-F{self.F}S{self.S}P{self.P}-{self.fit}"


COMMON = [
    Geometry(7, 5, F=3, S=1, P=1),
    Geometry(8, 6, F=2, S=2, P=0),
    Geometry(9, 7, F=3, S=2, P=0),
    Geometry(5, 7, F=3, S=2, P=1),
    Geometry(6, 9, F=1, S=1, P=0),
    Geometry(5, 4, F=4, S=1, P=2),  # even window: the output grows
    Geometry(8, 11, F=2, S=3, P=0),  # S > F: values between windows that nothing sees
    Geometry(8, 7, F=3, S=2, P=0, fit="pad"),  # the last window hangs over the edge
    Geometry(8, 7, F=2, S=3, P=1, fit="pad"),
    Geometry(8, 10, F=3, S=2, P=0, fit="crop"),  # the last row is unseen
    Geometry(10, 8, F=4, S=3, P=1, fit="crop"),
    Geometry(2, 3, F=3, S=1, P=2),  # windows wider than what they see
]
"""For convolution and pooling alike; pooling needs P < F."""
