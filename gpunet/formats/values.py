"""What a layer there gives, where that is more than a volume: a vector, zeros around it, pixels that are scaled first.

Layers there that only say how others look at their input make no layer here: they change the `Value`, and whoever takes
it looks at that. `Making` adds the layers that do to a `Graph`.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf
from typing import Literal, TypeVar

import numpy as np

from gpunet.data.raw import clean_name
from gpunet.errors import DataError, GpunetError
from gpunet.formats.foreign import Images
from gpunet.formats.graph import Graph
from gpunet.formats.layout import Layout
from gpunet.layers.average_pool import AvgPool, GlobalAvgPool
from gpunet.layers.by_map import Scale
from gpunet.layers.conv import Conv
from gpunet.layers.dropout import Dropout
from gpunet.layers.layer import Layer
from gpunet.layers.merge import Add, Concat, Maximum, Multiply
from gpunet.layers.pool import GlobalMaxPool, MaxPool
from gpunet.layers.relu import ReLU
from gpunet.layers.squash import Sigmoid
from gpunet.layers.units import HardSigmoid, ReLU6, Softplus
from gpunet.net.graph import INPUT
from gpunet.program.field import Window
from gpunet.program.volume import FitPolicy, Volume, fits

MOST_MAPS = 1 << 16
"""Of a volume for which numbers are made that no file has."""

ABOVE = (HardSigmoid, ReLU, ReLU6, Sigmoid, Softplus)
"""Layers whose outputs are never below 0."""

KEEPING = (AvgPool, Concat, Dropout, GlobalAvgPool, GlobalMaxPool, MaxPool, Maximum, Multiply)
"""And those whose outputs are not where their inputs are not."""

NO_ZEROS = (0, 0, 0, 0)

Sides = tuple[int, int, int, int]
"""Rows above and below, columns on the left and on the right."""

Maps = tuple[float, ...]
"""A number for each map, or one for all."""

Order = Literal["HWD", "DHW"]
LAST: Order = "HWD"
FIRST: Order = "DHW"

Item = TypeVar("Item", bound=Hashable)


class Cannot(Exception):
    """Why a layer cannot be said here: the end of a sentence."""


class Unsaid(Exception):
    """A layer takes what one that cannot be said would have given."""


@dataclass(frozen=True)
class Value:
    """What a layer there gives.

    `key`      that the graph knows it by; INPUT for the net's own input
    `volume`   its H, W, D
    `rank`     its axes there, the images' included: 4; 3 for rows and columns alone; 2 for a vector, a volume flattened
    `order`    of its axes there, or in which it was flattened: maps last, or first
    `zeros`    around it, which the window that takes it brings along
    `scale, shift`  what is done to each map of the net's input before
    `softmax`  whether it went through a softmax, which belongs to the loss here
    """

    key: str
    volume: Volume
    rank: int = 4
    zeros: Sides = NO_ZEROS
    scale: Maps = (1.0,)
    shift: Maps = (0.0,)
    softmax: bool = False
    order: Order = LAST

    @property
    def maps_axis(self) -> int:
        """The number of the axis of its maps there, the images' included."""
        return 1 if self.rank == 4 and self.order == FIRST else self.rank - 1

    @property
    def bare(self) -> "Value":
        """Without the zeros around it, for a window that brings them along."""
        return replace(self, zeros=NO_ZEROS)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns with the zeros around it."""
        top, bottom, left, right = self.zeros
        return self.volume.H + top + bottom, self.volume.W + left + right

    @property
    def single(self) -> bool:
        """Whether it has one position, so that it does not matter how it is flattened."""
        return self.volume.shape[:2] == (1, 1)

    @property
    def still(self) -> bool:
        """Whether it is the net's input as it comes, or scaled."""
        return self.key == INPUT and self.zeros == NO_ZEROS


class Making:
    """A net that is being made: `graph` of the layers so far; `layout` of the format's arrays."""

    def __init__(self, graph: Graph, input: Volume, layout: Layout) -> None:
        self.graph, self.layout = graph, layout
        self._entered: tuple[Maps, Maps] | None = None
        self._nonnegative: set[str] = set()
        graph.enter(INPUT, input)

    def reenter(self, value: Value, volume: Volume) -> Value:
        """The net's input, which no layer has taken yet, as another volume."""
        self.graph.enter(INPUT, volume)
        return replace(value, volume=volume, rank=4)

    @contextmanager
    def saying(self, name: str, kind: str) -> Iterator[None]:
        """Whatever cannot be said within is told with the layer's name and kind, at the end."""
        try:
            yield
        except Unsaid:
            pass
        except (Cannot, GpunetError) as error:
            self.graph.cannot(f"{name[:100]} ({clean_name(kind)})", str(error))
        except (TypeError, ValueError, KeyError, OverflowError, ZeroDivisionError, AttributeError) as error:
            said = f"{error} is missing" if isinstance(error, KeyError) else clean_name(str(error))
            self.graph.cannot(f"{name[:100]} ({clean_name(kind)})", f"its settings cannot be read ({said})")

    def layer(
        self,
        name: str,
        layer: Layer,
        *inputs: Value,
        arrays: Mapping[str, np.ndarray | None] | None = None,
        rank: int = 4,
    ) -> Value:
        """Add a layer of gpunet; `arrays` of its parameters, None for what the file lacks; `rank` of what it gives.

        Raises Cannot for a value that it cannot take as it is, Unsaid where it does not fit, which is noted.
        """
        inputs = tuple(self.solid(name, value) for value in inputs)
        for value in inputs:
            self._check(value)
        if len({value.order for value in inputs if value.rank > 2 or not value.single}) > 1:
            raise Cannot("of what it takes some has its maps first there and some last")
        key = f"{len(self.graph.nodes)} {name}"
        there = {parameter: values for parameter, values in (arrays or {}).items() if values is not None}
        self.graph.add(name, layer, [value.key for value in inputs], key, there)
        volume = self.graph.volume(key)
        if volume is None:
            raise Unsaid
        if isinstance(layer, ABOVE) or (isinstance(layer, KEEPING) and self._nonnegative >= {v.key for v in inputs}):
            self._nonnegative.add(key)
        return Value(key, volume, rank, order=inputs[0].order)

    def nonnegative(self, value: Value) -> bool:
        """Whether no value of it can be below 0."""
        return value.key in self._nonnegative

    def scaled(self, name: str, value: Value, scale: Maps, shift: Maps = (0.0,)) -> Value:
        """The value times `scale` plus `shift`, by map: how images enter where it is the net's input, else a layer."""
        D = value.volume.D
        for numbers in (scale, shift):
            if len(numbers) not in (1, D):
                raise Cannot(f"it has {len(numbers)} numbers for {D} maps")
        if value.still:
            count = max(map(len, (scale, shift, value.scale, value.shift)))
            a, b, c, d = (numbers * (count // len(numbers)) for numbers in (scale, shift, value.scale, value.shift))
            factors = tuple(x * y for x, y in zip(a, c, strict=True))
            return replace(value, scale=factors, shift=tuple(x * z + y for x, y, z in zip(a, b, d, strict=True)))
        if not any(shift) and len({*scale}) == 1:  # nothing of it is learnt
            return self.layer(name, Add((scale[0], 0.0)), value, value, rank=value.rank)
        if D > MOST_MAPS:
            raise Cannot(f"it has {D:,} maps, more than numbers are made for")
        arrays = {
            name: np.resize(np.array(numbers, np.float32), D) for name, numbers in (("scale", scale), ("shift", shift))
        }
        return self.layer(name, Scale(), value, arrays=arrays, rank=value.rank)

    def solid(self, name: str, value: Value) -> Value:
        """The value with its zeros, for a layer that cannot bring them along: from filters of 1x1 that are 1."""
        if value.zeros == NO_ZEROS:
            return value
        D = value.volume.D
        if D > MOST_MAPS:
            raise Cannot(f"zeros around {D:,} maps are more than numbers are made for")
        ones = np.ones([D if axis == "K" else 1 for axis in self.layout.conv], np.float32)
        layer = Conv(D, F=1, P=value.zeros, groups=D, bias=False)
        made = self.layer(f"{name}_zeros", layer, value.bare, arrays={"w": ones}, rank=value.rank)
        if self.nonnegative(value):
            self._nonnegative.add(made.key)
        self.graph.notes.append(f"the zeros around what {clean_name(name)} takes come from filters of 1x1 that are 1")
        return made

    def _check(self, value: Value) -> None:
        """Raise Cannot for what no layer takes."""
        if value.softmax:
            raise Cannot("it comes behind a softmax, which belongs to the loss here, at the end of a net")
        if value.rank == 3:
            raise Cannot("it takes rows and columns without maps, which are there to be flattened or reshaped alone")
        if value.key == INPUT:
            entered = value.scale, value.shift
            if self._entered not in (None, entered):
                raise Cannot("images enter in two ways, and a net here has one")
            self._entered = entered

    def ends(self, value: Value) -> str:
        """The key of what makes scores. Raises Cannot where it cannot."""
        if value.key == INPUT:
            raise Cannot("there is no layer between the input and the output")
        if value.softmax:
            self.graph.notes.append("the softmax at the end left out: it belongs to the loss")
        return self.solid("output", value).key

    def images(self, words: str) -> Images | None:
        """How pixels of 0..255 enter, where layers of the net said it; None where none did.

        Raises DataError where that is no mean and deviation of each map.
        """
        scale, shift = self._entered or ((1.0,), (0.0,))
        if (scale, shift) == ((1.0,), (0.0,)):
            return None
        scale, shift = (numbers[:1] if len({*numbers}) == 1 else numbers for numbers in (scale, shift))
        count = max(len(scale), len(shift))
        if not all(0 < number < inf for number in scale) or not all(-inf < number < inf for number in shift):
            raise DataError(f"{self.graph.path}: what its first layers do to pixels is no mean and deviation")
        if count > 3:
            raise DataError(f"{self.graph.path}: its first layers treat {count} maps differently; at most 3 may differ")
        std = tuple(1 / (255 * number) for number in scale * (count // len(scale)))
        mean = tuple(0.0 - b * s for b, s in zip(shift * (count // len(shift)), std, strict=True))
        return Images(mean, std, words=words)


# -- windows


def same(value: Value, window: tuple[Window, Window]) -> Sides:
    """The padding that gives one output for every S positions, one row less in front where it is odd: TensorFlow's
    SAME, ONNX's SAME_UPPER. `window` is without padding, along rows and along columns."""
    (top, bottom), (left, right) = (_same(size, one) for size, one in zip(value.size, window, strict=True))
    return top, bottom, left, right


def _same(size: int, window: Window) -> tuple[int, int]:
    total = max((-(-size // window.S) - 1) * window.S + window.extent - size, 0)
    return total // 2, total - total // 2


def around(value: Value, padding: Sides) -> Sides:
    """The padding of a window and the zeros that come with the value."""
    top, bottom, left, right = (a + b for a, b in zip(value.zeros, padding, strict=True))
    return top, bottom, left, right


def ending(layer: Layer, volume: Volume, fit: FitPolicy = "crop") -> Layer:
    """The layer, whose windows end as `fit` says where they do not end at the edge: else it is not said."""
    whole = all(fits(window, size) for window, size in zip(layer.window(volume), volume.shape, strict=False))
    return layer if whole else replace(layer, fit=fit)  # type: ignore[call-arg]


# -- order


def ordered(items: Iterable[Item], needs: Callable[[Item], Iterable[Item]]) -> list[Item]:
    """The items in their order, each behind those that it needs. Raises ValueError for a circle."""
    done: dict[Item, bool] = {}  # False: begun
    made: list[Item] = []
    for first in items:
        if first in done:
            continue
        done[first] = False
        stack = [(first, iter(needs(first)))]
        while stack:
            item, left = stack[-1]
            following = next((one for one in left if not done.get(one)), None)
            if following is None:
                done[item] = True
                made.append(item)
                stack.pop()
            elif following in done:
                raise ValueError("its layers take each other's outputs in a circle")
            else:
                done[following] = False
                stack.append((following, iter(needs(following))))
    return made
