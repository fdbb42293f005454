"""What an op asks of a GPU: its kernels, each with its bytes and its arithmetic."""

from gpunet.compile.between import BETWEEN_RANKS, REDUCE, REDUCE_SHARE
from gpunet.planning.conv_work import TENSOR_KERNELS, conv_work, pass_of
from gpunet.planning.kernel import Kernel, Product
from gpunet.planning.predict import op_bytes
from gpunet.program.program import Op


def work(op: Op, images: int, batch: int) -> list[Kernel]:
    """The kernels of one call of an op over so many images of the batch."""
    if pass_ := pass_of(op):
        return conv_work(op, pass_, images)
    images = images * _rows(op, batch) // batch
    nbytes = op_bytes(op, images)
    if op.name in (REDUCE, REDUCE_SHARE):  # its sums; what the wire takes, gpunet.planning.network says
        return [Kernel("add", nbytes)]
    if op.name in BETWEEN_RANKS:
        return []
    if not op.flops:
        return [Kernel(op.name, nbytes)]
    if op.name.startswith("fc_"):
        algorithm = op.attributes.get("algorithm")
        kernel = "product" if algorithm is None else TENSOR_KERNELS[str(algorithm)]
        return [Kernel(kernel, nbytes, product=_fc_product(op, images))]
    kernel = "local" if op.name.startswith("local_") else op.name
    return [Kernel(kernel, nbytes, flops=op.flops * images / batch)]


def _rows(op: Op, batch: int) -> int:
    """For how many images it works where a rank has `batch`: for those of all ranks, if it has a row of each."""
    return max([batch, *(t.shape[0] for t in (*op.inputs, *op.outputs) if t.batched and t.shape[0] > batch)])


def _fc_product(op: Op, images: int) -> Product:
    """(m, n) sums of k; w is (K, inputs), x (N, ...), dy (N, K)."""
    if op.name.startswith("fc_backward_weights"):
        K, inputs = op.outputs[0].shape
        return Product(K, inputs, images)
    K, inputs = op.inputs[1].shape
    return Product(images, K, inputs) if op.name.startswith("fc_forward") else Product(images, inputs, K)
