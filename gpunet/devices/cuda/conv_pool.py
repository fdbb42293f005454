"""Convolution with max pooling, and ReLU, behind it on CUDA.

By "implicit" and "winograd2" one kernel, for windows of 2 x 2 that lie within the output: see implicit and winograd
beside this. By "im2col" strip by strip, as on the CPU: some output rows of an image are a convolution of their own,
with another P_top.
"""

from dataclasses import dataclass
from typing import Any

from gpunet.devices.cuda import direct
from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.bias import sum_rows
from gpunet.devices.cuda.columns import blocks_of
from gpunet.devices.cuda.conv import conv_backward_weights, conv_forward, filters_of, im2col_chunks, shape_of
from gpunet.devices.cuda.division import magic
from gpunet.devices.cuda.gemm import matmul
from gpunet.devices.cuda.launch import launch, launch_blocks
from gpunet.devices.cuda.pool import max_pool_forward, max_pool_infer
from gpunet.program.chunks import chunks, strips
from gpunet.program.filters import groups
from gpunet.program.switches import are_halved

__all__ = ["conv_pool_backward_bias", "conv_pool_backward_input", "conv_pool_backward_weights", "conv_pool_forward"]

Chunk = tuple[int, int, int, int]
"""Images image0:image1, output rows row0:row1, as `gpunet.program.chunks.chunks` cuts them."""


def conv_pool_forward(
    x: DeviceArray,
    w: DeviceArray,
    b: DeviceArray | None,
    y: DeviceArray,
    switches: DeviceArray | None,
    columns: DeviceArray | None,
    workspace: DeviceArray | None,
    strip: DeviceArray | None,
    *,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
    dilation_rows: int,
    dilation_columns: int,
    H2: int,
    W2: int,
    F: int,
    S: int,
    relu: int,
    algorithm: str = "im2col",
    tile: int = 0,
    slices: int = 1,
) -> None:
    """The maxima of what conv_forward gives, then ReLU; see gpunet.devices.cpu.conv_pool."""
    H3, W3 = y.shape[1:3]
    shape = shape_of(x, w, (2 * H3, 2 * W3), S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns)
    if direct.pool_forward(algorithm, x, w, b, y, switches, workspace, shape, tile, relu):
        return
    assert columns is not None and strip is not None  # the plan gives them
    numbers: dict[str, Any] = {
        "S_rows": S_rows,
        "S_columns": S_columns,
        "P_left": P_left,
        "dilation_rows": dilation_rows,
        "dilation_columns": dilation_columns,
    }
    for some in strips(x.shape[0], H2, W2, columns.shape[0], S):
        (image0, image1, row0, _), row1 = some[0], some[-1][3]
        down0, down1 = row0 // S, min(-(-row1 // S), H3)
        if down0 >= down1:
            continue  # rows that no window sees
        for chunk in some:
            part = _volume(strip.rows((chunk[2] - row0) * W2, strip.shape[0]), chunk, W2)
            top = P_top - chunk[2] * S_rows
            conv_forward(x.rows(image0, image1), w, b, part, columns, workspace, P_top=top, **numbers)
        before = _volume(strip, (image0, image1, row0, row1), W2)
        behind = (image0, image1, down0, down1)
        _pool(before, _rows(y, behind), None if switches is None else _rows(switches, behind), F, S, relu)


def conv_pool_backward_weights(
    x: DeviceArray,
    dy: DeviceArray,
    switches: DeviceArray,
    dw: DeviceArray,
    columns: DeviceArray | None,
    workspace: DeviceArray | None,
    strip: DeviceArray | None,
    *,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
    dilation_rows: int,
    dilation_columns: int,
    H2: int,
    W2: int,
    F: int,
    S: int,
    algorithm: str = "im2col",
    tile: int = 0,
    slices: int = 1,
    accumulate: int = 0,
) -> None:
    """dw = dy.T @ columns, dy before the pool; see gpunet.devices.cpu.conv_pool."""
    shape = shape_of(x, dw, (H2, W2), S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns)
    if direct.backward_weights(algorithm, x, dy, dw, workspace, shape, tile, slices, accumulate, switches):
        return
    assert columns is not None and strip is not None  # the plan gives them
    numbers: dict[str, Any] = {
        "S_rows": S_rows,
        "S_columns": S_columns,
        "P_left": P_left,
        "dilation_rows": dilation_rows,
        "dilation_columns": dilation_columns,
    }
    gradient = _Gradient(dy, switches, H2, W2, F, S)
    for number, chunk in enumerate(chunks(x.shape[0], H2, W2, columns.shape[0])):
        above = gradient.unpool(strip, chunk)
        add, top = int(accumulate or number > 0), P_top - chunk[2] * S_rows
        images = x.rows(*chunk[:2])
        conv_backward_weights(images, above, dw, columns, workspace, P_top=top, accumulate=add, **numbers)


def conv_pool_backward_input(
    dy: DeviceArray,
    switches: DeviceArray,
    w: DeviceArray,
    dx: DeviceArray,
    columns: DeviceArray | None,
    workspace: DeviceArray | None,
    strip: DeviceArray | None,
    *,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
    dilation_rows: int,
    dilation_columns: int,
    H2: int,
    W2: int,
    F: int,
    S: int,
    algorithm: str = "im2col",
    tile: int = 0,
    slices: int = 1,
) -> None:
    """d(columns) = dy @ w, dy before the pool, added to where it is from; see gpunet.devices.cpu.conv_pool."""
    shape = shape_of(dx, w, (H2, W2), S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns)
    if direct.backward_input(algorithm, dy, w, dx, workspace, shape, tile, slices, switches):
        return
    assert columns is not None and strip is not None  # the plan gives them
    gradient = _Gradient(dy, switches, H2, W2, F, S)
    for chunk in im2col_chunks(columns, shape):
        above = gradient.unpool(strip, (chunk.image0, chunk.image1, chunk.row0, chunk.row1))
        for group in groups(dx.shape[3], w.shape):
            part = above.matrix(group.filter0, group.filter1)
            matmul(part, filters_of(w, group), chunk.matrix(dx, group), workspace=workspace)
            chunk.col2im(dx, group)


def conv_pool_backward_bias(
    dy: DeviceArray,
    switches: DeviceArray,
    db: DeviceArray,
    partials: DeviceArray,
    *,
    H2: int,
    W2: int,
    F: int,
    S: int,
    block_rows: int,
    accumulate: int = 0,
) -> None:
    """db = sum of dy before the pool over all positions, in partial sums; see gpunet.devices.cpu.conv_pool."""
    rows, K = dy.shape[0] * H2 * W2, db.size
    parts = -(-rows // block_rows)
    numbers = rows, block_rows, *_Gradient(dy, switches, H2, W2, F, S).numbers
    blocks = blocks_of(rows, K, block_rows, dy.dtype)
    launch_blocks("conv_pool", "sum_unpooled_rows", blocks, dy, switches, partials, *numbers)
    sum_rows(partials, db, parts, K, parts, accumulate)


@dataclass(frozen=True)
class _Gradient:
    """The gradient before the pool, (N, H2, W2, K), as dy and switches behind it have it."""

    dy: DeviceArray
    switches: DeviceArray
    H2: int
    W2: int
    F: int
    S: int

    @property
    def numbers(self) -> tuple[int, ...]:
        """POOLED in cuda/conv_pool.cu."""
        _, H3, W3, K = self.dy.shape
        halved = int(are_halved(self.switches.shape, self.dy.shape))
        divisors = self.H2, self.W2, K, self.S
        return self.H2, self.W2, H3, W3, K, self.F, self.S, halved, *(magic(number) for number in divisors)

    def unpool(self, strip: DeviceArray, chunk: Chunk) -> DeviceArray:
        """The gradient of a chunk, (images, rows, W2, K), in a strip."""
        out = _volume(strip, chunk, self.W2)
        first, positions = (chunk[0] * self.H2 + chunk[2]) * self.W2, out.size // out.shape[3]
        launch("conv_pool", "unpool", out.size, self.dy, self.switches, out, first, positions, *self.numbers)
        return out


def _pool(before: DeviceArray, y: DeviceArray, switches: DeviceArray | None, F: int, S: int, relu: int) -> None:
    """The maxima of a strip, and where they were, then ReLU."""
    if switches is None:
        max_pool_infer(before, y, F=F, S=S, P=0)
    else:
        max_pool_forward(before, y, switches, F=F, S=S, P=0)
    if relu and switches is not None and are_halved(switches.shape, y.shape):
        K = y.shape[3]
        pairs = magic(switches.shape[3])
        launch("conv_pool", "relu_and_halves", switches.size, y, switches, y.size // K, K, F * F, pairs)
    elif relu:
        launch("conv_pool", "relu_and_switches", y.size, y, switches, y.size, F * F)


def _volume(strip: DeviceArray, chunk: Chunk, W2: int) -> DeviceArray:
    """As many rows of a strip as a chunk has positions, as a volume."""
    image0, image1, row0, row1 = chunk
    images, rows = image1 - image0, row1 - row0
    return strip.rows(0, images * rows * W2).reshape(images, rows, W2, strip.shape[1])


def _rows(y: DeviceArray, chunk: Chunk) -> DeviceArray:
    """Rows of some images: all of them, or some of one image."""
    image0, image1, row0, row1 = chunk
    N, H, W, K = y.shape
    rows = y.reshape(N * H, W, K).rows(image0 * H + row0, (image1 - 1) * H + row1)
    return rows.reshape(image1 - image0, row1 - row0, W, K)
