"""A net over an image larger than its input: the scores of every crop at some stride, from a few passes.

The FC layers become CONV layers, so that one pass scores all crops that lie apart by the net's own stride; a finer
stride takes passes over the shifted image, whose scores are interleaved. The scores are those of the crops where the
net has no padding; where it has some, a crop's border is padded with zeros and the same place in the image is not.

Source: CS231n "Converting FC layers to CONV layers"; Sermanet et al. 2014, "OverFeat".
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np

from gpunet.description.facts import fields
from gpunet.errors import ConfigError, ShapeError
from gpunet.layers.average_pool import AdaptiveAvgPool, AvgPool, GlobalAvgPool
from gpunet.layers.layer import Layer, squared
from gpunet.layers.pool import GlobalMaxPool, MaxPool
from gpunet.model.model import Model
from gpunet.model.scores import require_finite, softmax
from gpunet.net.net import Net, Node
from gpunet.net.weights import convert_weights
from gpunet.program.program import AnyDevice, AnyDtype
from gpunet.program.tensor import wide
from gpunet.program.volume import Volume
from gpunet.values.given import told
from gpunet.values.shown import Shown

Pixels = tuple[int, int]
"""Along the rows, along the columns."""


@dataclass(frozen=True, slots=True)
class Axis:
    """How the crops along one axis of an image are divided among passes.

    `stride`  pixels from one crop to the next; `crops` of them in all
    `passes`  one for each crop of the first `net_stride` pixels; each sees `pixels` and scores `each` crops
    """

    stride: int
    crops: int
    passes: int
    each: int
    pixels: int

    @classmethod
    def over(cls, size: int, crop: int, net_stride: int, stride: int) -> "Axis":
        """For an axis of `size` pixels, and a net that looks at `crop` of them and moves on by `net_stride`."""
        crops, finer = (size - crop) // stride + 1, net_stride // stride
        each = -(-crops // finer)
        return cls(stride, crops, min(finer, crops), each, crop + (each - 1) * net_stride)

    @property
    def reach(self) -> int:
        """Pixels from the first of the first pass to the last of the last one; the image may have fewer."""
        return (self.passes - 1) * self.stride + self.pixels


@dataclass(frozen=True, repr=False)
class ScoreMap(Shown):
    """The scores of all crops of an image.

    `scores`  (rows, columns, classes) of the crops; that at [i, j] has its first pixel at (i, j) times `stride`
    `crop`    pixels that each score sees
    """

    scores: np.ndarray
    crop: Pixels
    stride: Pixels

    @cached_property
    def probabilities(self) -> np.ndarray:
        """(rows, columns, classes): the softmax of each crop's scores."""
        return softmax(self.scores)

    @property
    def mean(self) -> np.ndarray:
        """(classes,): the mean of the probabilities over all crops."""
        average: np.ndarray = self.probabilities.mean(axis=(0, 1), dtype=np.float64)
        return average

    def top(self, count: int = 5) -> list[int]:
        """The classes with the highest mean probability, the highest first."""
        order = np.argsort(-self.mean, kind="stable")[:count]
        return [int(label) for label in order]

    def best(self, label: int) -> Pixels:
        """Where the crop in which a class is most probable begins: its first pixel."""
        row, column = divmod(int(self.probabilities[:, :, label].argmax()), self.scores.shape[1])
        return row * self.stride[0], column * self.stride[1]


@dataclass(frozen=True)
class Sweep:
    """A net on its way over an image: `net` is what one pass runs, over the volume that the pass sees.

    `crop`   the input of the net that slides
    `image`  its rows and columns
    """

    net: Net
    crop: Volume
    image: Pixels
    rows: Axis
    columns: Axis

    @property
    def passes(self) -> int:
        """How often the net runs."""
        return self.rows.passes * self.columns.passes

    @property
    def unseen(self) -> Pixels:
        """Rows at the bottom and columns at the right that are too few for one more crop."""
        axes = zip(self.image, self.crop.shape, (self.rows, self.columns), strict=False)
        H, W = (size - crop - (axis.crops - 1) * axis.stride for size, crop, axis in axes)
        return H, W

    def run(self, model: Model, image: np.ndarray) -> ScoreMap:
        """The scores of an image (H, W, D) by a model of this sweep's net.

        A pass that reaches over the edge sees the last pixels repeated; no score that is given saw them, but for what
        padding would have brought there. Raises DataError where a score is infinite or NaN.
        """
        rows, columns = self.rows, self.columns
        beyond = (max(0, axis.reach - size) for axis, size in zip((rows, columns), self.image, strict=True))
        padded = np.pad(image, [*((0, more) for more in beyond), (0, 0)], mode="edge")
        classes = self.net.output.D
        scores = np.empty((rows.each * rows.passes, columns.each * columns.passes, classes), wide(model.plan.dtype))
        for row, column in product(range(rows.passes), range(columns.passes)):
            top, left = row * rows.stride, column * columns.stride
            seen = padded[top : top + rows.pixels, left : left + columns.pixels]
            made = model.forward(seen[np.newaxis]).reshape(rows.each, columns.each, classes)
            scores[row :: rows.passes, column :: columns.passes] = made
        crop, stride = self.crop.shape[:2], (rows.stride, columns.stride)
        seen_scores = scores[: rows.crops, : columns.crops].copy()
        require_finite(seen_scores, self.net.name)
        return ScoreMap(seen_scores, crop, stride)


def slide(
    net: Net,
    weights: Mapping[str, np.ndarray],
    image: np.ndarray,
    stride: int | None = None,
    *,
    device: AnyDevice = "auto",
    budget: str | int | None = None,
    dtype: AnyDtype = "float32",
) -> ScoreMap:
    """The scores of all crops of an image that are as large as the input of `net`.

    `weights`  by name, as `Model.parameters` has them
    `image`    (H, W, D), uint8 or floats as `Model.forward` takes them, at least as large as the net's input
    `stride`   pixels from one crop to the next; None: the net's own. It must divide that.

    Raises ShapeError and ConfigError for what does not fit together, BudgetError where the passes do not fit, DataError
    where a score is infinite or NaN.
    """
    if not isinstance(weights, Mapping):
        raise ConfigError(f"weights are arrays by name, as Model.parameters has them; got {told(weights)}")
    image = np.asarray(image)
    sweep = plan_sweep(net, image.shape, stride)
    with Model(sweep.net, 1, device, mode="infer", budget=budget, dtype=dtype) as model:
        for name, values in convert_weights(weights, sweep.net).items():
            model.parameters[name] = values
        return sweep.run(model, image)


def plan_sweep(net: Net, image: tuple[int, ...], stride: int | None = None) -> Sweep:
    """How a net slides over an image of shape (H, W, D). Raises ShapeError or ConfigError where it cannot."""
    crop = net.input
    if len(image) != 3 or image[2] != crop.D:
        raise ShapeError(f"{net.name} takes images of (H, W, {crop.D}); got {tuple(image)}")
    if image[0] < crop.H or image[1] < crop.W:
        raise ShapeError(
            f"an image of {image[0]}x{image[1]} is smaller than the {crop.H}x{crop.W} that {net.name} looks at; "
            f"make it larger, as --scale {max(crop.H, crop.W)} does"
        )
    sliding = _sliding(net)
    own = net_stride(sliding)
    finer = own if stride is None else (stride, stride)
    if any(step < 1 or whole % step for step, whole in zip(finer, own, strict=True)):
        raise ConfigError(_wrong_stride(net, own, finer[0]))
    rows, columns = (Axis.over(image[axis], crop.shape[axis], own[axis], finer[axis]) for axis in (0, 1))
    over = sliding.remade(sliding.nodes, Volume(rows.pixels, columns.pixels, crop.D))
    _require_slid(sliding, over, Volume(rows.each, columns.each, sliding.output.D))
    return Sweep(over, crop, (image[0], image[1]), rows, columns)


def net_stride(net: Net) -> Pixels:
    """Pixels of the input from what one position of a net's scores sees to what the next one sees."""
    rows, columns = fields(net)[net.nodes[-1].name]
    return rows.stride, columns.stride


def _sliding(net: Net) -> Net:
    """The net that scores, without auxiliary heads, in layers that slide over a larger input."""
    trunk = net.remade(net.trunk).convolutional()
    sliding = trunk.remade([_slid(trunk, node) for node in trunk.nodes])
    if (sliding.output.H, sliding.output.W) != (1, 1):
        raise ShapeError(
            f"{net.name} ends in {sliding.output}, and scores that slide are 1x1 over its own input; end it in an FC"
        )
    return sliding


def _slid(net: Net, node: Node) -> Node:
    """A node that pools whole maps, or equal parts of them, pools windows of their size."""
    window: Layer | None = None
    match node.layer:
        case GlobalAvgPool():
            window = AvgPool(squared(*net.inputs(node)[0].shape[:2]), S=1)
        case GlobalMaxPool():
            window = MaxPool(squared(*net.inputs(node)[0].shape[:2]), S=1)
        case AdaptiveAvgPool():
            (volume,) = net.inputs(node)
            size = node.layer.even(volume)
            if size is None:
                raise ShapeError(
                    f"{node.name} averages parts of {volume.H}x{volume.W} that are not equal, which does not slide; "
                    f"use a K that divides them"
                )
            window = AvgPool(size)
    return node if window is None else replace(node, layer=window)


def _require_slid(net: Net, over: Net, output: Volume) -> None:
    """Raise ShapeError unless `over`, the net over a larger input, has the same weights, and this output."""
    for node in net.nodes:
        if net.weights(node) != over.weights(node):
            raise ShapeError(
                f"{node.name} has other weights over {over.input} than over {net.input}, so {net.name} does not slide"
            )
    if over.output != output:
        raise ShapeError(f"{net.name} gives {over.output} over {over.input}, where {output} would be a score a crop")


def _wrong_stride(net: Net, own: Pixels, stride: int) -> str:
    ways = [str(step) for step in range(1, min(own) + 1) if own[0] % step == 0 and own[1] % step == 0]
    shown = own[0] if own[0] == own[1] else f"{own[0]}x{own[1]}"
    return f"a stride of {stride} does not divide the {shown} of {net.name}; use one of {', '.join(ways)}"
