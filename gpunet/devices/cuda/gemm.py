"""Matrix products of row-major arrays on a library that knows column-major ones only."""

from gpunet.devices.cuda.arrays import DeviceArray, Matrix, Product
from gpunet.errors import ShapeError


def matmul(
    a: DeviceArray | Matrix,
    b: DeviceArray | Matrix,
    c: DeviceArray | Matrix,
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
    left, right, result = (one if isinstance(one, Matrix) else one.matrix() for one in (a, b, c))
    rows, inner = (left.columns, left.rows) if transpose_a else (left.rows, left.columns)
    inner_b, columns = (right.columns, right.rows) if transpose_b else (right.rows, right.columns)
    shape = result.rows, result.columns
    if inner != inner_b or shape != (rows, columns) or not left.dtype == right.dtype == result.dtype:
        names = _name(left, transpose_a), _name(right, transpose_b), _name(result, transpose=False)
        raise ShapeError("cannot multiply {} by {} into {}".format(*names))
    if rows and columns:
        beta = 1.0 if accumulate else 0.0
        product = Product(right, left, result, transpose_b, transpose_a, beta=beta, workspace=workspace)
        result.driver.gemm(product)


def _name(matrix: Matrix, transpose: bool) -> str:
    return f"{matrix.dtype} {(matrix.rows, matrix.columns)}" + (" transposed" if transpose else "")
