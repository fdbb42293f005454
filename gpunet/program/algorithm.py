"""What was chosen for an op of a convolution. Which algorithms there are for one, `gpunet.devices.algorithms` says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Pass = Literal["forward", "backward_input", "backward_weights"]
"""What an op of a convolution makes: y, dx or dw."""

Math = Literal["exact", "direct", "tf32", "3xtf32"]
"""Which algorithms may be chosen, and how they multiply. exact: any, Winograd's too, whose sums round differently;
direct: those that add up the products of the definition; tf32: products on tensor cores of float32 rounded to 11 bits;
3xtf32: three of these for each, nearly as exact as float32."""

MEANT_FOR_GPUS: tuple[Math, ...] = ("tf32", "3xtf32")

MATHS: tuple[Math, ...] = get_args(Math)

AlgorithmName = Literal["im2col", "implicit", "depthwise", "winograd2", "winograd4", "tf32", "3xtf32", "halves"]

ON_TENSOR_CORES: tuple[AlgorithmName, ...] = ("tf32", "3xtf32", "halves")

Fusion = Literal[
    "relu",
    "maps",
    "pool",
    "pool2x2",
    "unpool",
    "unpool2x2",
    "late-unpool",
    "late-unpool2x2",
    "slope",
    "norm",
    "norm-few",
    "late-norm",
    "norm-maps",
]
"""What may be one op with a convolution: ReLU; writing its output among the maps of a wider volume; max pooling by
windows that do not overlap, or by those of 2 x 2 within its output alone; finding the gradient before such a pool in
that behind it; the same only where memory is short; ReLU's backward, of the gradient of its input; normalizing what it
reads; this for few filters alone; only where memory is short; also of maps of a wider volume."""

Fusions = Mapping[str, tuple[Fusion, ...]]
"""By name of an algorithm, or NORM, what a device fuses with it."""

NORM = "batch norm"
"""Batch normalization beside the algorithms of convolutions."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """How an op of a convolution works.

    `name`             im2col: a matrix of windows, and products by a library; implicit: the product without the matrix;
                       depthwise: one map at a time; winograd2, winograd4: F(2x2, 3x3) and F(4x4, 3x3); tf32, 3xtf32,
                       halves: as implicit, on tensor cores, of float32 or of a half type
    `needs_columns`    whether there is an im2col matrix, as large as the limit of the scratch allows
    `workspace_bytes`  flat scratch; for "im2col" 0, as the target knows what the library's products want
    `tile`             which tile of results a block of a GPU's threads makes, as the device numbers them
    `slices`           parts into which each sum is cut, which are added in order
    """

    name: AlgorithmName
    needs_columns: bool = False
    workspace_bytes: int = 0
    tile: int = 0
    slices: int = 1

    @property
    def attributes(self) -> dict[str, int | str]:
        """As the op takes them."""
        more = {"tile": self.tile, "slices": self.slices}
        return {"algorithm": self.name, **{name: value for name, value in more.items() if value != (name == "slices")}}
