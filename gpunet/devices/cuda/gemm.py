"""Matrix products of row-major arrays on a library that knows column-major ones only."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.errors import ShapeError


def matmul(
    a: DeviceArray,
    b: DeviceArray,
    c: DeviceArray,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    accumulate: bool = False,
    workspace: DeviceArray | None = None,
) -> None:
    """c = op(a) @ op(b), or c += op(a) @ op(b); op transposes where asked.

    a, b       2-D, float32 or float64, in; op(a) is (M, K), op(b) is (K, N)
    c          (M, N), same dtype, out (in and out when accumulating); must not overlap a or b
    workspace  scratch of cuBLAS

    A row-major matrix read column-major is its transpose, so cuBLAS is asked for c^T = op(b)^T op(a)^T: the operands
    change places and nothing is copied.
    """
    rows, inner = reversed(a.shape) if transpose_a else a.shape
    inner_b, columns = reversed(b.shape) if transpose_b else b.shape
    if inner != inner_b or c.shape != (rows, columns) or not a.dtype == b.dtype == c.dtype:
        raise ShapeError(
            f"cannot multiply {_name(a, transpose_a)} by {_name(b, transpose_b)} into {_name(c, transpose=False)}"
        )
    if c.size == 0:
        return
    beta = 1.0 if accumulate else 0.0
    lda, ldb, ldc = a.shape[1], b.shape[1], c.shape[1]
    c.driver.gemm(transpose_b, transpose_a, columns, rows, inner, 1.0, b, ldb, a, lda, beta, c, ldc, workspace)


def _name(array: DeviceArray, transpose: bool) -> str:
    return f"{array.dtype} {array.shape}" + (" transposed" if transpose else "")
