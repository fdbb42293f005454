"""How the axes of weights lie elsewhere and here, and the way there and back: pure changes of order, no number changes.

Here a filter is (K, rows, columns, D) and an FC layer (K, inputs) over inputs flattened H, W, D.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from gpunet.layers.conv import Conv
from gpunet.layers.fc import FC
from gpunet.layers.layer import Layer
from gpunet.program.volume import Volume

OURS = "KHWD"
"""The axes of a filter here: K filters, rows, columns, D maps (of its group)."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """The order of axes.

    `conv`  of a filter: K filters, D maps, H rows, W columns
    `fc`    of an FC layer: K outputs, I inputs
    `flat`  in which a volume is flattened before an FC layer
    """

    conv: str
    fc: str
    flat: str


TORCH = Layout(conv="KDHW", fc="KI", flat="DHW")
"""Of PyTorch, and of Caffe and Torch7."""


KERAS = Layout(conv="HWDK", fc="IK", flat="HWD")
"""Of Keras and TensorFlow.js."""


@dataclass(frozen=True)
class Place:
    """A parameter of a layer here, and the ways in which it may lie elsewhere.

    `name, shape`  as the layer says them
    `volume`       what the layer takes
    """

    layer: Layer
    name: str
    shape: Shape
    volume: Volume

    @property
    def filters(self) -> Shape | None:
        """K, H, W, D of the weights of a CONV or of an FC, as filters over the whole volume; None of anything else."""
        if self.name != "w" or not isinstance(self.layer, Conv | FC):
            return None
        return self.shape if isinstance(self.layer, Conv) else (self.shape[0], *self.volume.shape)

    def theirs(self, layout: Layout) -> list[Shape]:
        """The shapes in which it may lie there, the usual one first.

        An FC layer may be a convolution there whose filters see the whole volume, and the other way round.
        """
        if self.filters is None:
            return [self.shape]
        K, *extents = self.filters
        as_conv = tuple(self.filters[axis] for axis in _order(OURS, layout.conv))
        as_fc = (K, prod(extents)) if layout.fc == "KI" else (prod(extents), K)
        if isinstance(self.layer, FC):
            return [as_fc, as_conv]
        whole = isinstance(self.layer, Conv) and self.layer.groups == 1 and extents == list(self.volume.shape)
        return [as_conv, as_fc] if whole else [as_conv, *([self._by_map] if self._by_map and layout == KERAS else [])]

    @property
    def _by_map(self) -> Shape | None:
        """The filters of a depthwise convolution as Keras may have them: H, W, D maps, so many for each of them."""
        if not isinstance(self.layer, Conv) or self.filters is None or not self.layer.groups == self.volume.D > 1:
            return None
        K, rows, columns, _ = self.filters
        return rows, columns, self.volume.D, K // self.volume.D

    def taken(self, values: np.ndarray, layout: Layout) -> np.ndarray:
        """The values, of one of the shapes of `theirs`, as they lie here; a view where one will do."""
        if self.filters is None:
            return values
        if layout == KERAS and values.shape == self._by_map:
            values = values.reshape(*values.shape[:2], 1, -1)
        if values.ndim == len(OURS):
            return values.transpose(_order(layout.conv, OURS)).reshape(self.shape)
        K, *extents = self.filters
        values = values if layout.fc == "KI" else values.T
        apart = values.reshape(K, *(extents["HWD".index(axis)] for axis in layout.flat))
        return apart.transpose(_order("K" + layout.flat, OURS)).reshape(self.shape)

    def given(self, values: np.ndarray, layout: Layout) -> np.ndarray:
        """The values, as they lie here, in the first of the shapes of `theirs`."""
        if self.filters is None:
            return values
        filters = values.reshape(self.filters)
        if isinstance(self.layer, Conv):
            return np.ascontiguousarray(filters.transpose(_order(OURS, layout.conv)))
        flat = filters.transpose(_order(OURS, "K" + layout.flat)).reshape(len(values), -1)
        return np.ascontiguousarray(flat if layout.fc == "KI" else flat.T)

    def moves(self, theirs: Shape, layout: Layout) -> str:
        """What `taken` does with values of that shape, in words; "" for nothing."""
        if self.filters is None:
            return ""
        if len(theirs) == len(OURS):
            return f"{_axes(layout.conv)} to {_axes(OURS)}"
        H, W, D = self.volume.shape
        matters = layout.flat != "HWD" and D > 1 and H * W > 1
        turned = [] if layout.fc == "KI" else ["inputs, outputs turned"]
        return "; ".join([*turned, *([f"inputs {_axes(layout.flat)} to H, W, D"] if matters else [])])


def mirrored(values: np.ndarray, place: Place) -> np.ndarray:
    """The values of a layer that takes the image, as they lie here, for its maps in the opposite order."""
    if place.filters is None:
        return values if place.name == "b" else values[::-1]  # a norm has a number for each map
    return values.reshape(place.filters)[..., ::-1].reshape(place.shape)


def _order(before: str, after: str) -> list[int]:
    return [before.index(axis) for axis in after]


def _axes(axes: str) -> str:
    return ", ".join(axes)
