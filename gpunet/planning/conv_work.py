"""What the ops of a convolution ask of a GPU, by the algorithm that they run."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, prod

from gpunet.planning.kernel import ITEM_BYTES, Kernel, Product
from gpunet.program.chunks import chunks
from gpunet.program.program import Op

PASSES = ("conv_forward", "conv_backward_input", "conv_backward_weights")
"""The ops, which fused ones are called after, too."""


@dataclass(frozen=True, slots=True)
class Conv:
    """One pass of a convolution: x (N, H, W, D) seen by filters w (K, F, F, D/groups), which make y (N, H2, W2, K).

    `column_rows`      rows of the im2col matrix; 0 where there is none
    `workspace_bytes`  flat scratch
    `bias`             whether one is added behind the product
    `slices`           of each sum, where the plan settles them; else 0
    """

    pass_: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    y: tuple[int, ...]
    column_rows: int
    workspace_bytes: int
    bias: bool
    slices: int

    @property
    def groups(self) -> int:
        return self.x[3] // self.w[3]

    @property
    def filters(self) -> int:
        """Of a group."""
        return self.w[0] // self.groups

    @property
    def length(self) -> int:
        """Weights of a filter."""
        return prod(self.w[1:])

    @property
    def positions(self) -> int:
        """Places of the filters, over all images."""
        return prod(self.y[:3])

    @property
    def x_bytes(self) -> int:
        return prod(self.x) * ITEM_BYTES

    @property
    def y_bytes(self) -> int:
        return prod(self.y) * ITEM_BYTES

    @property
    def w_bytes(self) -> int:
        return prod(self.w) * ITEM_BYTES

    @property
    def nbytes(self) -> int:
        """What any algorithm has to move."""
        return self.x_bytes + self.y_bytes + self.w_bytes


def is_conv(op: Op) -> bool:
    """Whether an op is a pass of a convolution, fused with others or not."""
    return op.name.startswith(PASSES)


def conv_work(op: Op, images: int) -> list[Kernel]:
    """The kernels of a pass of a convolution over so many images."""
    conv = _read(op, images)
    algorithm = str(op.attributes.get("algorithm", "im2col"))
    return ALGORITHMS.get(algorithm, _implicit)(conv)


def _read(op: Op, images: int) -> Conv:
    """The convolution that an op is a pass of."""
    pass_ = next(name for name in PASSES if op.name.startswith(name))
    first, second, made = op.inputs[0].shape, op.inputs[1].shape, op.outputs[0].shape
    x, w, y = {
        "conv_forward": (first, second, made),
        "conv_backward_input": (made, second, first),
        "conv_backward_weights": (first, made, second),
    }[pass_]
    columns, workspace = (*op.scratch, None, None)[:2]
    return Conv(
        pass_,
        (images, *x[1:]),
        w,
        (images, *y[1:]),
        columns.shape[0] if columns is not None else 0,
        workspace.nbytes if workspace is not None else 0,
        len(op.inputs) > 2 and pass_ == "conv_forward",
        int(op.attributes.get("slices", 0)),  # type: ignore[arg-type]  # a number where it is there
    )


# -- im2col ----------------------------------------------------------------------------------------


def _im2col(conv: Conv) -> list[Kernel]:
    """A matrix of windows that one kernel writes and the next reads, chunk by chunk, group by group."""
    found = []
    for rows, count in _chunks(conv).items():
        part = rows / conv.positions
        launches = count * conv.groups
        bytes_of = {"x": conv.x_bytes * part / conv.groups, "y": conv.y_bytes * part / conv.groups}
        columns = rows * conv.length * ITEM_BYTES if conv.column_rows else 0
        size = conv.column_rows * conv.length * ITEM_BYTES
        operands = bytes_of["y"] + conv.w_bytes / conv.groups + (0 if columns else bytes_of["x"])
        product = Kernel("product", operands, columns, size, _matrices(conv, rows), launches=launches)
        if columns:
            found.append(Kernel(_mover(conv), bytes_of["x"], columns, size, launches=launches))
        found.append(product)
        if conv.bias:
            found.append(Kernel("add_bias", 2 * conv.y_bytes * part, launches=count))
    return found


def _mover(conv: Conv) -> str:
    """What fills the matrix, or empties it; maps in fours are moved four at a time."""
    if conv.pass_ == "conv_backward_input":
        return "col2im"
    return "im2col_scalar" if conv.w[3] % 4 else "im2col"


def _chunks(conv: Conv) -> Counter[int]:
    """How often a chunk of so many rows of the matrix comes."""
    if not conv.column_rows:
        return Counter([conv.positions])
    N, H2, W2, _ = conv.y
    cut = chunks(N, H2, W2, conv.column_rows)
    return Counter((image1 - image0) * (row1 - row0) * W2 for image0, image1, row0, row1 in cut)


def _matrices(conv: Conv, rows: int) -> Product:
    """The product of one group over so many rows of the im2col matrix."""
    m, n, k = {
        "conv_forward": (rows, conv.filters, conv.length),
        "conv_backward_input": (rows, conv.length, conv.filters),
        "conv_backward_weights": (conv.filters, conv.length, rows),
    }[conv.pass_]
    return Product(m, n, k)


# -- without a matrix ------------------------------------------------------------------------------


def _implicit(conv: Conv) -> list[Kernel]:
    """One tile loop, which gathers what it multiplies; slices of a split sum are added by a kernel of their own."""
    F_rows, F_columns = conv.w[1:3]
    m, n, k = {
        "conv_forward": (conv.positions, conv.filters, conv.length),
        "conv_backward_input": (prod(conv.x[:3]), conv.w[3], F_rows * F_columns * conv.filters),
        "conv_backward_weights": (conv.filters, conv.length, conv.positions),
    }[conv.pass_]
    if conv.pass_ == "conv_backward_input":
        k = max(1, k * conv.positions // prod(conv.x[:3]))  # at a stride, most of a window holds nothing
    slices = max(1, conv.slices)
    return [Kernel("tiles", conv.nbytes, product=Product(m, n, k, conv.groups, slices))]


def _depthwise(conv: Conv) -> list[Kernel]:
    """One map at a time: every weight serves one map, so there is no product to speak of."""
    flops = 2.0 * conv.positions * conv.w[0] * conv.length
    return [Kernel("depthwise", conv.nbytes, flops=flops)]


def _winograd(size: int) -> Callable[[Conv], list[Kernel]]:
    """F(size x size, 3x3): tiles of the input and of the filters are transformed, multiplied point by point, and
    what comes of it is transformed back; in as many pieces as the workspace asks for."""

    def work(conv: Conv) -> list[Kernel]:
        points = (size + 2) ** 2
        volume = conv.x if conv.pass_ == "conv_backward_input" else conv.y
        tiles = volume[0] * ceil(volume[1] / size) * ceil(volume[2] / size)
        inside, outside = (tiles * points * maps * ITEM_BYTES for maps in (conv.w[3], conv.w[0]))
        filters = points * conv.w[0] * conv.w[3] * ITEM_BYTES
        pieces = max(1, ceil((inside + outside + filters) / max(conv.workspace_bytes, 1)))
        if not conv.workspace_bytes:  # all of it in one kernel, and nothing of it in memory
            pieces = 1
        m, n, k = {
            "conv_forward": (ceil(tiles / pieces), conv.w[0], conv.w[3]),
            "conv_backward_input": (ceil(tiles / pieces), conv.w[3], conv.w[0]),
            "conv_backward_weights": (conv.w[0], conv.w[3], ceil(tiles / pieces)),
        }[conv.pass_]
        product = Product(m, n, k, points)
        if not conv.workspace_bytes:
            return [Kernel("tiles", conv.nbytes, product=product)]
        moved, room = (inside + outside) / pieces, conv.workspace_bytes
        return [
            Kernel("winograd_transform", conv.w_bytes, filters, room),
            Kernel("winograd_transform", (conv.x_bytes + conv.y_bytes) / pieces, moved, room, launches=2 * pieces),
            Kernel("winograd_product", filters if pieces > 1 else 0, moved, room, product, launches=pieces),
        ]

    return work


ALGORITHMS: dict[str, Callable[[Conv], list[Kernel]]] = {
    "im2col": _im2col,
    "implicit": _implicit,
    "depthwise": _depthwise,
    "winograd2": _winograd(2),
    "winograd4": _winograd(4),
}
