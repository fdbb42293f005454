"""Receptive fields: what an output position of a layer sees of the net's input, along one axis.

Source: CS231n "Prefer a stack of small filter CONV to one large receptive field CONV layer"; starts and strides:
Dumoulin & Visin 2016, "A guide to convolution arithmetic"; Araujo et al. 2019, "Computing receptive fields".
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """How a layer looks at one axis of its input: output i sees F positions, `dilation` apart, from i*S - before on.

    `before, after`  positions around the input in which there is nothing
    """

    F: int = 1
    S: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1

    @property
    def extent(self) -> int:
        """From the first to the last position that is seen, both counted."""
        return (self.F - 1) * self.dilation + 1

    def left_over(self, size: int, outputs: int) -> int:
        """Positions behind the last of so many windows over `size`, padding counted; below 0: windows hang over."""
        return size + self.before + self.after - ((outputs - 1) * self.S + self.extent)


@dataclass(frozen=True, slots=True)
class Field:
    """Output i sees the `size` positions of the net's input from i*stride + start on; those below 0 are padding."""

    size: int = 1
    stride: int = 1
    start: int = 0

    @property
    def centre(self) -> float:
        """The middle of what output 0 sees; between two positions it ends in .5."""
        return self.start + (self.size - 1) / 2

    def through(self, window: Window) -> "Field":
        """The field of a layer that looks through this window at a layer of this field."""
        return Field(
            self.size + (window.extent - 1) * self.stride,
            self.stride * window.S,
            self.start - window.before * self.stride,
        )


def union(fields: Iterable[Field]) -> Field:
    """What a layer sees whose inputs have these fields: all that any of them sees; of different strides the largest."""
    fields = list(fields)
    start = min(field.start for field in fields)
    end = max(field.start + field.size for field in fields)
    return Field(end - start, max(field.stride for field in fields), start)
