"""Matrix products of cuBLAS through a handle of our own, with a workspace that we give: no allocation behind the plan.

Called through ctypes, as CuPy refuses its own cuBLAS calls while a stream is captured. Names and numbers are those of
NVIDIA's cuBLAS documentation.
"""

import ctypes
import os
from ctypes import POINTER, byref, c_double, c_float, c_int, c_int64, c_size_t, c_void_p
from typing import Any

from gpunet.devices.cuda.arrays import Product, Work
from gpunet.errors import DeviceError

_STATUS = {
    1: "CUBLAS_STATUS_NOT_INITIALIZED",
    3: "CUBLAS_STATUS_ALLOC_FAILED",
    7: "CUBLAS_STATUS_INVALID_VALUE",
    8: "CUBLAS_STATUS_ARCH_MISMATCH",
    11: "CUBLAS_STATUS_MAPPING_ERROR",
    13: "CUBLAS_STATUS_EXECUTION_FAILED",
    14: "CUBLAS_STATUS_INTERNAL_ERROR",
    15: "CUBLAS_STATUS_NOT_SUPPORTED",
    16: "CUBLAS_STATUS_LICENSE_ERROR",
}
_DEFAULT_MATH = 0
"""CUBLAS_DEFAULT_MATH: no less precise than the operands, so no TF32 for float32."""

_REALS = {"float32": ("S", c_float), "float64": ("D", c_double)}
_MOST_INT32 = 2**31 - 1

_SETTINGS = "CUBLAS_", "NVIDIA_TF32_OVERRIDE"
"""How environment variables begin with which people change what cuBLAS computes."""


def settings() -> dict[str, str]:
    """The environment variables that cuBLAS obeys, by name: they may make it round otherwise."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(_SETTINGS)}


class Cublas:
    """A cuBLAS handle on one stream. Raises DeviceError, with cuBLAS's name for it, for whatever goes wrong."""

    def __init__(self, library: ctypes.CDLL, stream: int):
        self._library = library
        self._stream = c_void_p(stream)
        self._handle = c_void_p()
        self._workspace: tuple[int, int] | None = None
        self._functions = {name: self._find_function(*real) for name, real in _REALS.items()}
        self._call("cublasCreate_v2", byref(self._handle))
        self._call("cublasSetMathMode", self._handle, c_int(_DEFAULT_MATH))
        self._call("cublasSetStream_v2", self._handle, self._stream)

    def prepare(self, product: Product) -> Work:
        """As Driver.prepare_gemm: all arguments are converted now."""
        a, b, c, m, n, k = product.a, product.b, product.c, product.m, product.n, product.k
        function, real, index = self._functions[c.dtype.name]
        if index is c_int and max(m, n, k, a.stride, b.stride, c.stride) > _MOST_INT32:
            raise DeviceError(f"a product of {m} x {k} by {k} x {n} needs the 64-bit functions of cuBLAS 12 or newer")
        arguments = (
            self._handle, c_int(product.trans_a), c_int(product.trans_b), index(m), index(n), index(k),
            byref(real(product.alpha)), c_void_p(a.pointer), index(a.stride), c_void_p(b.pointer), index(b.stride),
            byref(real(product.beta)), c_void_p(c.pointer), index(c.stride),
        )  # fmt: skip
        workspace = product.workspace
        wanted = None if workspace is None else (workspace.pointer, workspace.nbytes)

        def run() -> None:
            if wanted != self._workspace:
                self._use_workspace(wanted)
            status = function(*arguments)
            if status:
                _check("gemm", status)

        return run

    def close(self) -> None:
        handle, self._handle = self._handle, c_void_p()
        if handle:
            self._call("cublasDestroy_v2", handle)

    def version(self) -> str:
        """Such as "13.1.0"."""
        number = c_int()
        self._call("cublasGetVersion_v2", self._handle, byref(number))
        return f"{number.value // 10000}.{number.value // 100 % 100}.{number.value % 100}"

    def _use_workspace(self, wanted: tuple[int, int] | None) -> None:
        """Let products use these bytes (address, size) from now on, or what the handle has by itself."""
        if wanted is None:  # setting a stream, even the same one, brings back the handle's own workspace
            self._call("cublasSetStream_v2", self._handle, self._stream)
        else:
            pointer, nbytes = wanted
            self._call("cublasSetWorkspace_v2", self._handle, c_void_p(pointer), c_size_t(nbytes))
        self._workspace = wanted

    def _find_function(self, letter: str, real: type) -> tuple[Any, type, type]:
        """The gemm for float32 ("S") or float64 ("D"), its scalar and its index type: 64-bit where cuBLAS has that."""
        name = f"cublas{letter}gemm_v2"
        wide = hasattr(self._library, f"{name}_64")
        index: type = c_int64 if wide else c_int
        product = getattr(self._library, f"{name}_64" if wide else name)
        product.argtypes = [
            c_void_p, c_int, c_int, index, index, index, POINTER(real), c_void_p, index, c_void_p, index,
            POINTER(real), c_void_p, index,
        ]  # fmt: skip
        product.restype = c_int
        return product, real, index

    def _call(self, name: str, *arguments: object) -> None:
        _check(name, getattr(self._library, name)(*arguments))


def _check(call: str, status: int) -> None:
    if status:
        raise DeviceError(f"cuBLAS: {call} returned {_STATUS.get(status, status)}")
