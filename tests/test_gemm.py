"""Matrix products of row-major arrays, against NumPy's; and what cuBLAS is told, against a recorder in its place."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gpunet.devices.cuda.arrays import DeviceArray, Matrix, Product
from gpunet.devices.cuda.cublas import Cublas
from gpunet.devices.cuda.device import CudaDevice
from gpunet.devices.cuda.gemm import matmul
from gpunet.errors import DeviceError, ShapeError
from tests.emulator.driver import EmulatorDriver, EmulatorError
from tests.ops import new, put

Real = type[np.floating[Any]]
REALS: tuple[Real, ...] = (np.float32, np.float64)
WORKSPACE_BYTES = 2**20
HANDLE = 99


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("transpose_a, transpose_b", list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("M, N, K", [(1, 1, 1), (5, 3, 7), (1, 17, 4), (13, 1, 1), (33, 65, 129)])
def test_matmul_is_numpys(
    cuda_device: CudaDevice, rng: np.random.Generator, real: Real, transpose_a: bool, transpose_b: bool,
    M: int, N: int, K: int
) -> None:  # fmt: skip
    a = rng.normal(size=(K, M) if transpose_a else (M, K)).astype(real)
    b = rng.normal(size=(N, K) if transpose_b else (K, N)).astype(real)
    product = np.einsum("km,kn->mn" if transpose_a else "mk,kn->mn", a.astype(float), (b.T if transpose_b else b))
    tolerance = 1e-4 if real == np.float32 else 1e-12
    options: dict[str, Any] = {
        "transpose_a": transpose_a,
        "transpose_b": transpose_b,
        "workspace": put(cuda_device, np.zeros(WORKSPACE_BYTES, np.uint8)),
    }
    c = new(cuda_device, (M, N), real)
    matmul(put(cuda_device, a), put(cuda_device, b), c, **options)
    np.testing.assert_allclose(cuda_device.read(c), product, rtol=0, atol=tolerance * K)
    start = rng.normal(size=(M, N)).astype(real)
    cuda_device.write(c, start)
    matmul(put(cuda_device, a), put(cuda_device, b), c, accumulate=True, **options)
    np.testing.assert_allclose(cuda_device.read(c), start + product, rtol=0, atol=tolerance * K)


@pytest.mark.parametrize("real", REALS)
def test_matmul_on_rows_of_larger_arrays_leaves_the_others(
    cuda_device: CudaDevice, rng: np.random.Generator, real: Real
) -> None:
    a, b = rng.normal(size=(9, 5)).astype(real), rng.normal(size=(8, 7)).astype(real)
    c = rng.normal(size=(11, 7)).astype(real)
    at_a, at_b, at_c = (put(cuda_device, values) for values in (a, b, c))
    matmul(at_a.rows(2, 6), at_b.rows(3, 8), at_c.rows(4, 8))
    c[4:8] = a[2:6] @ b[3:8]
    np.testing.assert_allclose(cuda_device.read(at_c), c, rtol=1e-4 if real == np.float32 else 1e-12)


def test_matmul_on_columns_of_larger_arrays_leaves_the_others(
    cuda_device: CudaDevice, rng: np.random.Generator
) -> None:
    """As the groups of a convolution are: some maps of every position."""
    a, b, c = rng.normal(size=(2, 3, 9)), rng.normal(size=(5, 8)), rng.normal(size=(2, 3, 10))
    at_a, at_b, at_c = (put(cuda_device, values) for values in (a, b, c))
    for accumulate in (False, True):
        matmul(at_a.matrix(2, 7), at_b.matrix(4, 8), at_c.matrix(6, 10), accumulate=accumulate)
    c[..., 6:] = 2 * (a[..., 2:7] @ b[:, 4:])
    np.testing.assert_allclose(cuda_device.read(at_c), c, rtol=1e-12)
    with pytest.raises(ShapeError, match=r"columns 3 to 9 are not all in an array of shape \(5, 8\)"):
        at_b.matrix(3, 9)


def test_gemm_honours_scale_factors_and_leading_dimensions(cuda_device: CudaDevice, rng: np.random.Generator) -> None:
    """A submatrix of a row-major matrix: as many columns as asked for, but a whole row from one row to the next."""
    a, b, c = rng.normal(size=(4, 9)), rng.normal(size=(5, 8)), rng.normal(size=(4, 10))
    at_a, at_b, at_c = (put(cuda_device, values) for values in (a, b, c))
    cuda_device.driver.gemm(Product(at_b.matrix(0, 6), at_a.matrix(0, 5), at_c.matrix(0, 6), alpha=2.5, beta=-0.5))
    c[:, :6] = 2.5 * (a[:, :5] @ b[:, :6]) - 0.5 * c[:, :6]
    np.testing.assert_allclose(cuda_device.read(at_c), c, rtol=1e-12)


def test_empty_products_write_nothing_or_zeros(cuda_device: CudaDevice) -> None:
    empty = new(cuda_device, (0, 3), np.float32)
    matmul(empty, new(cuda_device, (3, 2), np.float32), new(cuda_device, (0, 2), np.float32))
    c = new(cuda_device, (3, 2), np.float32)
    matmul(empty, new(cuda_device, (0, 2), np.float32), c, transpose_a=True)
    np.testing.assert_array_equal(cuda_device.read(c), np.zeros((3, 2)))


def test_matmul_names_shapes_that_do_not_fit() -> None:
    device = CudaDevice(EmulatorDriver())
    a, b = new(device, (4, 3), np.float32), new(device, (4, 5), np.float32)
    with pytest.raises(ShapeError, match=r"float32 \(4, 3\) by float32 \(4, 5\) into float32 \(4, 5\)"):
        matmul(a, b, new(device, (4, 5), np.float32))
    matmul(a, b, new(device, (3, 5), np.float32), transpose_a=True)
    with pytest.raises(ShapeError, match=r"\(4, 3\) transposed by .* into float64 \(3, 5\)"):
        matmul(a, b, new(device, (3, 5), np.float64), transpose_a=True)


def test_the_emulated_cublas_writes_over_its_workspace_and_refuses_one_in_use(rng: np.random.Generator) -> None:
    device = CudaDevice(EmulatorDriver())
    memory = device.allocate(2048)
    a, c = put(device, rng.normal(size=(4, 4))), memory.view(0, (4, 4), "float64")
    workspace = memory.view(256, (64,), "float64")
    device.write(workspace, np.zeros(64))
    matmul(a, a, c, workspace=workspace)
    assert np.isnan(device.read(workspace)).all()
    with pytest.raises(EmulatorError, match="workspace overlaps"):
        matmul(a, a, c, workspace=memory.view(0, (64,), "float64"))
    with pytest.raises(DeviceError, match="not aligned to 256"):
        matmul(a, a, c, workspace=memory.view(264, (32,), "float64"))
    with pytest.raises(EmulatorError, match="the result overlaps"):
        matmul(a, a, a)
    with pytest.raises(DeviceError, match="leading dimension 3 of 4 rows"):
        device.driver.gemm(Product(replace(a.matrix(), stride=3), a.matrix(), c.matrix()))


# ---- what cuBLAS is told ----


class FakeCublas:
    """Stands for the library: notes each call and returns a status; `wide`: it has the 64-bit functions of CUDA 12."""

    def __init__(self, wide: bool, failing: str = ""):
        self.calls: list[tuple[Any, ...]] = []
        names = [
            "cublasCreate_v2",
            "cublasDestroy_v2",
            "cublasSetMathMode",
            "cublasSetStream_v2",
            "cublasSetWorkspace_v2",
        ]
        names += [f"cublas{letter}gemm_v2" for letter in "SD"]
        names += [f"cublas{letter}gemm_v2_64" for letter in "SD"] if wide else []
        for name in names:
            setattr(self, name, self._function(name, 13 if name == failing else 0))

    def _function(self, name: str, status: int) -> Any:
        def call(*arguments: Any) -> int:
            if name == "cublasCreate_v2":
                arguments[0]._obj.value = HANDLE
            self.calls.append((name, *(getattr(a, "value", a) for a in arguments)))
            return status

        return call

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [call for call in self.calls if call[0] == name]


def product(cublas: Cublas, size: int = 4, workspace: DeviceArray | None = None, real: Real = np.float32) -> None:
    shapes = (size, 3, 5), (2, 3, 6), (2, size, size + 3)
    a, b, c = (Matrix(i, *shape, np.dtype(real), EmulatorDriver()) for i, shape in enumerate(shapes, 1))
    cublas.prepare(Product(a, b, c, True, False, workspace=workspace))()


def test_cublas_gets_the_arguments_in_its_order() -> None:
    library = FakeCublas(wide=True)
    cublas = Cublas(library, stream=77)  # type: ignore[arg-type]
    assert library.named("cublasSetMathMode")[0][2] == 0
    assert library.named("cublasSetStream_v2")[0][2] == 77
    product(cublas, real=np.float64)
    (call,) = library.named("cublasDgemm_v2_64")
    assert [call[1:7], call[8:12], call[13:]] == [(HANDLE, 1, 0, 4, 2, 3), (1, 5, 2, 6), (3, 7)]
    cublas.close()
    cublas.close()
    assert library.named("cublasDestroy_v2") == [("cublasDestroy_v2", HANDLE)]


def test_cublas_gets_a_workspace_when_it_changes() -> None:
    library = FakeCublas(wide=True)
    cublas = Cublas(library, stream=77)  # type: ignore[arg-type]
    spaces = [DeviceArray(pointer, (64,), np.dtype(np.uint8), EmulatorDriver()) for pointer in (512, 1024)]
    for workspace in (spaces[0], spaces[0], spaces[1], None):
        product(cublas, workspace=workspace)
    assert [call[2:] for call in library.named("cublasSetWorkspace_v2")] == [(512, 64), (1024, 64)]
    assert library.calls[-2][0] == "cublasSetStream_v2"  # which brings cuBLAS's own workspace back
    product(cublas, workspace=spaces[1])
    assert len(library.named("cublasSetWorkspace_v2")) == 3


def test_an_old_cublas_is_used_as_far_as_it_reaches() -> None:
    library = FakeCublas(wide=False)
    cublas = Cublas(library, stream=0)  # type: ignore[arg-type]
    product(cublas)
    assert len(library.named("cublasSgemm_v2")) == 1
    with pytest.raises(DeviceError, match=r"2147483648.*64-bit functions"):
        product(cublas, size=2**31)


@pytest.mark.parametrize("failing", ["cublasCreate_v2", "cublasSgemm_v2_64"])
def test_errors_of_cublas_have_names(failing: str) -> None:
    with pytest.raises(DeviceError, match="CUBLAS_STATUS_EXECUTION_FAILED"):
        product(Cublas(FakeCublas(wide=True, failing=failing), stream=0))  # type: ignore[arg-type]
