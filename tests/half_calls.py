"""Calls of ops with volumes in halves, as a net of a half type makes them."""

from collections.abc import Iterator
from dataclasses import replace
from inspect import signature
from typing import Any

import numpy as np

from gpunet.devices import open_device
from gpunet.devices.cuda.source import kernel_files, takes_halves
from gpunet.values.types import numpy_type
from tests.op_calls import FILES, OPS, Call
from tests.ops import Spec

VOLUMES = {
    **{file: {"y"} for file in ("augment", "image", "cast")},
    "batch_norm_relu": {"x", "y", "z", "dy", "dx"},
    "merge": {"x", "y", "a", "b", "dy", "da", "db", "dx", "arrays"},
    "relu": {"x", "y", "a", "b", "dy", "dx"},
}
"""Arrays that lie in halves, by the file of the op, where these are not x, y and their gradients alone."""

KERNELS = {"batch_norm_relu": "batch_norm"}
"""The file of kernels, where that is called otherwise."""


WITHOUT = ("conv", "conv_norm", "conv_pool", "conv_relu", "fc")
"""Files of ops that make products, all but the gradient of a bias behind a pool."""


def _in_halves(op: str) -> bool:
    """Whether an op takes volumes that may be halves, and makes no products of them."""
    if op == "batch_norm_update" or (FILES[op] in WITHOUT and op != "conv_pool_backward_bias"):
        return False
    file = KERNELS.get(FILES[op], FILES[op])
    return file in kernel_files() and takes_halves(file)


HALF_FILES = [file for file in kernel_files() if takes_halves(file)]
"""Files of kernels whose volumes may be halves."""

OPS_IN_HALVES = [op for op in OPS if _in_halves(op)]
"""Ops whose volumes may be halves, but those that make products."""


def in_halves(call: Call, dtype: str) -> Call:
    """The same call with its volumes in a half type."""
    kind, volumes = numpy_type(dtype), VOLUMES.get(FILES[call.op], {"x", "y", "dy", "dx"})
    names = iter(_names(call.op))

    def turn(tensor: Any) -> Any:
        if next(names) not in volumes or tensor is None:
            return tensor
        if isinstance(tensor, np.ndarray):
            return tensor.astype(kind) if tensor.dtype.kind == "f" else tensor
        shape, of = tensor
        return (shape, kind) if np.dtype(of).kind == "f" else tensor

    with np.errstate(all="ignore"):
        given = tuple(turn(tensor) for tensor in call.inputs)
        made: tuple[Spec | np.ndarray, ...] = tuple(turn(tensor) for tensor in call.outputs)
    return replace(call, inputs=given, outputs=made)


def _names(op: str) -> Iterator[str]:
    """What the arrays of an op are called; where there may be any number, all alike."""
    found = list(signature(open_device("cpu").ops[op]).parameters.values())
    for parameter in found:
        while parameter.kind is parameter.VAR_POSITIONAL:
            yield parameter.name
        yield parameter.name
