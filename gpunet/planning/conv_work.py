"""What the ops of a convolution ask of a GPU, by the algorithm that they run."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import ceil
from typing import get_args

from gpunet.planning.kernel import ITEM_BYTES, Kernel, Product
from gpunet.program.algorithm import Pass
from gpunet.program.chunks import chunks
from gpunet.program.filters import ConvShape
from gpunet.program.program import Op
from gpunet.program.tensor import ITEMSIZE, Tensor

PREFIX = "conv_"
"""Ops that are called after a pass, fused ones too: conv_forward, conv_pool_backward_weights."""

TENSOR_KERNELS = {"tf32": "tensor_tiles", "3xtf32": "thrice_tiles", "halves": "half_tiles"}
"""By algorithm of products on tensor cores, whose efficiency they have."""

NUMBERS = ("S_rows", "S_columns", "P_top", "P_left", "dilation_rows", "dilation_columns")
"""The attributes that say how filters stand."""


@dataclass(frozen=True, slots=True)
class ConvCall:
    """One call of a pass of a convolution.

    `column_rows`      rows of the im2col matrix; 0 where there is none
    `workspace_bytes`  flat scratch
    `bias`             whether one is added behind the product
    `item_bytes`       of a value of the volumes, and of filters that multiply them
    `normed`           whether what is read is normalized on the way
    `sloping`          whether what the ReLU below gave is read, too, where the gradient of that is stored
    """

    pass_: Pass
    shape: ConvShape
    column_rows: int
    workspace_bytes: int
    bias: bool
    slices: int
    item_bytes: int = ITEM_BYTES
    normed: bool = False
    sloping: bool = False

    @property
    def filters(self) -> int:
        """Of a group."""
        return self.shape.K // self.shape.groups

    def named(self, kernel: str) -> str:
        """The kernel, or that of its kind which normalizes what it reads."""
        return f"norm_{kernel}" if self.normed else kernel

    @property
    def x_bytes(self) -> int:
        shape = self.shape
        return shape.N * shape.H * shape.W * shape.D * self.item_bytes

    @property
    def y_bytes(self) -> int:
        return self.shape.positions * self.shape.K * self.item_bytes

    @property
    def w_bytes(self) -> int:
        item_bytes = ITEM_BYTES if self.pass_ == "backward_weights" else self.item_bytes
        return self.shape.K * self.shape.length * item_bytes

    @property
    def nbytes(self) -> int:
        """What any algorithm has to move."""
        return self.x_bytes * (2 if self.sloping else 1) + self.y_bytes + self.w_bytes


def pass_of(op: Op) -> Pass | None:
    """The pass of a convolution that an op is, fused with others or not; None for all other ops."""
    found = next((name for name in get_args(Pass) if op.name.startswith(PREFIX) and name in op.name), None)
    return found if len(_volumes(op.inputs)) >= 2 and _volumes(op.outputs) else None


def _volumes(tensors: Iterable[Tensor]) -> list[tuple[int, ...]]:
    """The shapes of activations, gradients and filters among them: masks, switches and biases may stand beside."""
    return [tensor.shape for tensor in tensors if len(tensor.shape) == 4 and "float" in tensor.dtype]


def conv_work(op: Op, pass_: Pass, images: int) -> list[Kernel]:
    """The kernels of a pass of a convolution over so many images."""
    columns, workspace = (*op.scratch, None, None)[:2]
    call = ConvCall(
        pass_,
        conv_shape(op, pass_, images),
        columns.shape[0] if columns is not None else 0,
        workspace.nbytes if workspace is not None else 0,
        pass_ == "forward" and any(len(t.shape) == 1 for t in op.inputs),
        int(op.attributes.get("slices", 1)),  # type: ignore[arg-type]  # a number
        ITEMSIZE[op.inputs[0].dtype],
        op.name.startswith("conv_norm_"),
        op.name.endswith("relu_backward_input"),
    )
    return ALGORITHMS[str(op.attributes["algorithm"])](call)


def conv_shape(op: Op, pass_: Pass, images: int) -> ConvShape:
    """The convolution that an op is a pass of, over so many images."""
    (first, second, *_), (made, *_) = _volumes(op.inputs), _volumes(op.outputs)
    x, w, y = {
        "forward": (first, second, made),
        "backward_input": (made, second, first),
        "backward_weights": (first, made, second),
    }[pass_]
    if "H2" in op.attributes:  # with a pool, what is there of y is behind it
        y = (y[0], int(op.attributes["H2"]), int(op.attributes["W2"]), y[3])  # type: ignore[arg-type]
    numbers = {name: int(op.attributes[name]) for name in NUMBERS}  # type: ignore[arg-type]  # numbers, all of them
    return ConvShape.of((images, *x[1:]), w, (images, *y[1:]), numbers)


# -- im2col ----------------------------------------------------------------------------------------


def _im2col(call: ConvCall) -> list[Kernel]:
    """A matrix of windows that one kernel writes and the next reads, chunk by chunk, group by group."""
    found = []
    shape = call.shape
    size = call.column_rows * shape.length * ITEM_BYTES
    for rows, count in _chunks(call).items():
        part = rows / shape.positions
        x_bytes, y_bytes, w_bytes = (n / shape.groups for n in (call.x_bytes * part, call.y_bytes * part, call.w_bytes))
        columns = rows * shape.length * ITEM_BYTES if size else 0
        if columns:
            found.append(Kernel(_mover(call), x_bytes, columns, size, launches=count * shape.groups))
        operands = y_bytes + w_bytes + (0 if columns else x_bytes)
        found.append(
            Kernel("product", operands, columns, size, _over_columns(call, rows), launches=count * shape.groups)
        )
        if call.bias:
            found.append(Kernel("add_bias", 2 * call.y_bytes * part, launches=count))
    return found


def _mover(call: ConvCall) -> str:
    """What fills the matrix, or empties it; maps in fours are moved four at a time."""
    if call.pass_ == "backward_input":
        return "col2im"
    return "im2col_scalar" if call.shape.maps % 4 else "im2col"


def _chunks(call: ConvCall) -> Counter[int]:
    """How often a chunk of so many rows of the matrix comes."""
    N, H2, W2 = call.shape.N, call.shape.H2, call.shape.W2
    if not call.column_rows:
        return Counter([call.shape.positions])
    cut = chunks(N, H2, W2, call.column_rows)
    return Counter((image1 - image0) * (row1 - row0) * W2 for image0, image1, row0, row1 in cut)


def _over_columns(call: ConvCall, rows: int) -> Product:
    """The product of one group over so many rows of the im2col matrix."""
    length = call.shape.length
    m, n, k = {
        "forward": (rows, call.filters, length),
        "backward_input": (rows, length, call.filters),
        "backward_weights": (call.filters, length, rows),
    }[call.pass_]
    return Product(m, n, k)


# -- without a matrix ------------------------------------------------------------------------------


def _implicit(call: ConvCall) -> list[Kernel]:
    """One tile loop, which gathers what it multiplies."""
    shape = call.shape
    taps = shape.filters.F_rows * shape.filters.F_columns
    pixels = shape.N * shape.H * shape.W
    m, n, k = {
        "forward": (shape.positions, call.filters, shape.length),
        # at a stride most of a window holds nothing, and is left out
        "backward_input": (pixels, shape.maps, max(1, taps * call.filters * shape.positions // pixels)),
        "backward_weights": (call.filters, shape.length, shape.positions),
    }[call.pass_]
    return [Kernel(call.named("tiles"), call.nbytes, product=Product(m, n, k, shape.groups, call.slices))]


def _on_tensor_cores(algorithm: str) -> Callable[[ConvCall], list[Kernel]]:
    """The same by another kernel."""
    return lambda call: [replace(one, name=call.named(TENSOR_KERNELS[algorithm])) for one in _implicit(call)]


def _depthwise(call: ConvCall) -> list[Kernel]:
    """One map at a time: every weight serves one map, so there is no product to speak of."""
    shape = call.shape
    return [Kernel("depthwise", call.nbytes, flops=2.0 * shape.positions * shape.K * shape.length)]


def _winograd(size: int) -> Callable[[ConvCall], list[Kernel]]:
    """F(size x size, 3x3): tiles of the input and of the filters are transformed, multiplied point by point, and what
    comes of it is transformed back, in as many pieces as the workspace asks for.

    Where the workspace holds the filters alone, all else is one kernel, and nothing of it goes through memory. The same
    with sums for their gradient, in so many slices.
    """

    def work(call: ConvCall) -> list[Kernel]:
        shape, points = call.shape, (size + 2) ** 2
        H, W = (shape.H, shape.W) if call.pass_ == "backward_input" else (shape.H2, shape.W2)
        tiles = shape.N * ceil(H / size) * ceil(W / size)
        moved = points * tiles * (shape.D + shape.K) * ITEM_BYTES
        filters = points * shape.K * shape.maps * ITEM_BYTES
        if call.pass_ == "backward_weights" and call.workspace_bytes == call.slices * filters:
            sums = Product(call.filters, shape.maps, tiles, points * shape.groups, call.slices)
            return [
                Kernel(call.named("winograd_sums"), call.x_bytes + call.y_bytes + filters, product=sums),
                Kernel("winograd_transform", call.w_bytes, call.workspace_bytes, call.workspace_bytes),
            ]
        room = call.workspace_bytes - filters
        alone = room < points * (shape.D + shape.K) * ITEM_BYTES
        pieces = 1 if alone else ceil(moved / room)
        each = ceil(tiles / pieces)
        m, n, k = {
            "forward": (each, call.filters, shape.maps),
            "backward_input": (each, shape.maps, call.filters),
            "backward_weights": (call.filters, shape.maps, each),
        }[call.pass_]
        product = Product(m, n, k, points * shape.groups)
        of_filters = Kernel("winograd_transform", call.w_bytes, filters, call.workspace_bytes)
        if alone:
            return [of_filters, Kernel(call.named("winograd_product"), call.nbytes + filters, product=product)]
        volumes, through = (call.x_bytes + call.y_bytes) / pieces / 2, moved / pieces / 2
        return [
            of_filters,
            Kernel("winograd_transform", volumes, through, call.workspace_bytes, launches=2 * pieces),
            Kernel("winograd_product", filters, 2 * through, call.workspace_bytes, product, launches=pieces),
        ]

    return work


ALGORITHMS: dict[str, Callable[[ConvCall], list[Kernel]]] = {
    "im2col": _im2col,
    "implicit": _implicit,
    **{algorithm: _on_tensor_cores(algorithm) for algorithm in TENSOR_KERNELS},
    "depthwise": _depthwise,
    "winograd2": _winograd(2),
    "winograd4": _winograd(4),
}
