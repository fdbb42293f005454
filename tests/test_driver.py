"""Matrix products, memory and arguments of the CUDA device; and what its driver says where there is no GPU."""

import itertools
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gpunet.devices.cuda import driver as driver_module
from gpunet.devices.cuda import present
from gpunet.devices.cuda.arrays import DeviceArray, cast
from gpunet.devices.cuda.cublas import Cublas
from gpunet.devices.cuda.device import STAGING_BYTES, CudaDevice
from gpunet.devices.cuda.driver import CupyDriver
from gpunet.devices.cuda.gemm import matmul
from gpunet.devices.cuda.launch import BLOCK, BLOCKS_PER_MULTIPROCESSOR, launch
from gpunet.devices.cuda.source import kernel_folder
from gpunet.errors import DeviceError, ShapeError
from tests.emulator.driver import EmulatorDriver, EmulatorError

Real = type[np.floating[Any]]
REALS: tuple[Real, ...] = (np.float32, np.float64)
WORKSPACE_BYTES = 2**20


def put(device: CudaDevice, values: np.ndarray) -> DeviceArray:
    """The values in an arena of their own."""
    array = device.allocate(max(1, values.nbytes)).view(0, values.shape, values.dtype.name)
    device.write(array, values)
    return array


def new(device: CudaDevice, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
    """NaN bytes in an arena of their own."""
    return put(device, np.full(np.prod(shape) * np.dtype(dtype).itemsize, 0xFF, np.uint8).view(dtype).reshape(shape))


# ---- matrix products ----


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


def test_gemm_honours_scale_factors_and_leading_dimensions(cuda_device: CudaDevice, rng: np.random.Generator) -> None:
    """A submatrix of a row-major matrix: as many columns as asked for, but a whole row from one row to the next."""
    a, b, c = rng.normal(size=(4, 9)), rng.normal(size=(5, 8)), rng.normal(size=(4, 10))
    at_a, at_b, at_c = (put(cuda_device, values) for values in (a, b, c))
    cuda_device.driver.gemm(False, False, 6, 4, 5, 2.5, at_b, 8, at_a, 9, -0.5, at_c, 10, None)
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
        device.driver.gemm(False, False, 4, 4, 4, 1.0, a, 3, a, 4, 0.0, c, 4, None)


# ---- arguments and launches ----


def test_arguments_become_what_kernels_read() -> None:
    array = DeviceArray(0x7000_0000_1000, (2,), np.dtype(np.float32), EmulatorDriver())
    for real in REALS:
        expected = [
            (None, np.uintp(0)),
            (array, np.uintp(array.pointer)),
            (-(2**40), np.int64(-(2**40))),
            (0.1, real(0.1)),
        ]
        for argument, value in expected:
            found = cast(argument, np.dtype(real))
            assert found == value and found.dtype == value.dtype


@pytest.mark.parametrize("argument", [True, np.float32(1), np.int64(1), "1", np.zeros(3), 1j])
def test_nothing_else_is_taken_for_an_argument(argument: Any) -> None:
    with pytest.raises(TypeError, match=f"not {type(argument).__name__}"):
        cast(argument, np.dtype(np.float32))


class Recorder(EmulatorDriver):
    """Notes launches instead of running them."""

    multiprocessors = 3

    def launch(self, file: str, kernel: str, grid: int, block: int, *arguments: Any, real: np.dtype) -> None:
        self.noted = (file, kernel, grid, block, arguments, real.name)


@pytest.mark.parametrize("count, grid", [(1, 1), (BLOCK, 1), (BLOCK + 1, 2), (10**12, 3 * BLOCKS_PER_MULTIPROCESSOR)])
def test_a_launch_covers_all_items_with_a_grid_that_suits_the_gpu(count: int, grid: int) -> None:
    driver = Recorder()
    x = DeviceArray(0, (1,), np.dtype(np.float64), driver)
    switches = DeviceArray(0, (1,), np.dtype(np.uint8), driver)
    launch("pool", "forward", count, switches, x, None, 3)
    assert driver.noted == ("pool", "forward", grid, BLOCK, (switches, x, None, 3), "float64")


def test_a_launch_needs_one_float_dtype_and_something_to_do() -> None:
    driver = Recorder()
    single, double = (DeviceArray(0, (1,), np.dtype(real), driver) for real in REALS)
    with pytest.raises(TypeError, match="float32.*float64"):
        launch("pool", "forward", 1, single, double)
    with pytest.raises(TypeError, match="none"):
        launch("pool", "forward", 1, DeviceArray(0, (1,), np.dtype(np.uint8), driver))
    launch("pool", "forward", 0, single)
    assert not hasattr(driver, "noted")


def test_blocks_have_as_many_threads_as_kernels_expect() -> None:
    assert f"constexpr int BLOCK = {BLOCK};" in (kernel_folder() / "common.cuh").read_text()


# ---- memory ----


def test_values_arrive_converted_from_any_layout(cuda_device: CudaDevice, rng: np.random.Generator) -> None:
    doubles = rng.normal(size=(5, 6, 4))
    for values in (doubles, doubles.astype(np.float32), doubles[::2, ::-1], doubles.T, np.array(3.5), doubles[:0]):
        array = put(cuda_device, np.zeros(np.shape(values), np.float32))
        cuda_device.write(array, values)
        np.testing.assert_array_equal(cuda_device.read(array), np.asarray(values, np.float32))


def test_large_values_are_converted_in_parts(cuda_device: CudaDevice, rng: np.random.Generator) -> None:
    values = rng.integers(0, 255, size=(7, STAGING_BYTES // 16 + 1), dtype=np.uint8)
    array = put(cuda_device, np.zeros(values.shape, np.float32))
    cuda_device.write(array, values)
    np.testing.assert_array_equal(cuda_device.read(array), values)
    wide = rng.integers(0, 255, size=(2, STAGING_BYTES // 4 + 3), dtype=np.uint8)
    array = put(cuda_device, np.zeros(wide.shape, np.float32))
    cuda_device.write(array, wide)
    np.testing.assert_array_equal(cuda_device.read(array), wide)


def test_values_may_change_as_soon_as_they_are_written(cuda_device: CudaDevice) -> None:
    values = np.full(2**20, 7, np.float32)
    array = put(cuda_device, values)
    values[:] = 0
    assert (cuda_device.read(array) == 7).all()


def test_an_arena_gives_views_of_its_own_bytes_only(cuda_device: CudaDevice) -> None:
    arena = cuda_device.allocate(1000)
    whole = arena.view(0, (1000,), "uint8")
    assert whole.pointer % 256 == 0
    arena.fill(0, 1000, 0xFF)
    arena.fill(256, 8, 1)
    assert np.isnan(cuda_device.read(arena.view(512, (122,), "float32"))).all()
    np.testing.assert_array_equal(cuda_device.read(arena.view(256, (2,), "int32")), [0x01010101] * 2)
    for wrong in (
        lambda: arena.view(0, (1001,), "uint8"),
        lambda: arena.view(-1, (1,), "uint8"),
        lambda: arena.fill(999, 2, 0),
    ):
        with pytest.raises(ShapeError, match="arena of 1000"):
            wrong()
    arena.free()
    with pytest.raises(DeviceError, match="after its memory was given back"):
        arena.view(0, (1,), "uint8")


def test_memory_given_back_can_be_had_again(cuda_device: CudaDevice) -> None:
    before, _ = cuda_device.driver.memory()
    arena = cuda_device.allocate(2**26)
    during, total = cuda_device.driver.memory()
    assert before - during >= 2**26 and total >= before
    arena.free()
    assert cuda_device.driver.memory()[0] - during >= 2**26


def test_too_large_an_arena_names_the_bytes(cuda_device: CudaDevice) -> None:
    _, total = cuda_device.driver.memory()
    with pytest.raises(DeviceError, match=str(2 * total)):
        cuda_device.allocate(2 * total)


def test_rows_and_shapes_of_an_array_are_checked() -> None:
    array = DeviceArray(1024, (4, 3, 2), np.dtype(np.float64), EmulatorDriver())
    assert (array.size, array.nbytes, array.ndim) == (24, 192, 3)
    assert (array.rows(1, 3).pointer, array.rows(1, 3).shape) == (1024 + 48, (2, 3, 2))
    assert array.reshape(-1, 2).shape == (12, 2)
    for first, last in ((-1, 2), (2, 5), (3, 2)):
        with pytest.raises(ShapeError, match=f"rows {first} to {last}"):
            array.rows(first, last)
    for shape in ((5, 5), (-1, 5), (-1, -1), (-4, -6)):
        with pytest.raises(ShapeError, match="cannot become"):
            array.reshape(*shape)


# ---- where something is missing ----


def test_without_a_driver_or_with_an_old_one_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, message in ((None, "no NVIDIA driver .*--device cpu"), (11, "knows CUDA 11 and 12 is needed")):
        monkeypatch.setattr(present, "driver_version", lambda version=version: version)
        with pytest.raises(DeviceError, match=message):
            CupyDriver()


@pytest.mark.parametrize("version, extra", [(12, "cuda12"), (13, "cuda13"), (14, "cuda13")])
def test_without_cupy_the_message_has_the_command(monkeypatch: pytest.MonkeyPatch, version: int, extra: str) -> None:
    monkeypatch.setattr(present, "driver_version", lambda: version)
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(DeviceError, match=rf'CuPy cannot be imported .*pip install "gpunet\[{extra}\]"'):
        CupyDriver()


class CudaError(RuntimeError):
    """As CuPy's: with a status."""

    def __init__(self, status: int):
        super().__init__(f"cudaError{status}")
        self.status = status


def fake_cupy(**runtime: Any) -> SimpleNamespace:
    """A CuPy whose runtime answers as told."""
    errors = SimpleNamespace(CUDARuntimeError=CudaError, getDevice=lambda: 0, **runtime)
    return SimpleNamespace(cuda=SimpleNamespace(runtime=errors, driver=SimpleNamespace(CUDADriverError=CudaError)))


@pytest.mark.parametrize(
    "status, message",
    [(35, r'newer CUDA than the 12 .*pip install "gpunet\[cuda12\]"'), (100, "shows no GPU"), (999, "cudaError999")],
)
def test_a_gpu_that_cannot_be_opened_is_explained(monkeypatch: pytest.MonkeyPatch, status: int, message: str) -> None:
    def refuse(device: int) -> dict[str, int]:
        raise CudaError(status)

    monkeypatch.setattr(present, "driver_version", lambda: 12)
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(getDeviceProperties=refuse))
    with pytest.raises(DeviceError, match=message):
        CupyDriver()


def test_a_gpu_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(present, "driver_version", lambda: 13)
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(getDeviceProperties=lambda device: {"major": 6, "minor": 1}))
    with pytest.raises(DeviceError, match=r"compute capability 6\.1 and 7\.5 is needed"):
        CupyDriver()


def test_the_driver_of_this_machine_is_asked() -> None:
    """Either there is one, whose CUDA release is a small number, or nobody opens a GPU here."""
    version = present.driver_version()
    if version is None:
        with pytest.raises(DeviceError, match="no NVIDIA driver"):
            CupyDriver()
    else:
        assert 9 < version < 100


# ---- cuBLAS, recorded ----


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
            self.calls.append((name, *(getattr(a, "value", a) for a in arguments)))
            return status

        return call

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [call for call in self.calls if call[0] == name]


def product(cublas: Cublas, size: int = 4, workspace: DeviceArray | None = None, real: Real = np.float32) -> None:
    a = DeviceArray(4096, (size, size), np.dtype(real), EmulatorDriver())
    cublas.gemm(True, False, size, 2, 3, 1.0, a, 5, a, 6, 0.0, a, 7, workspace)


def test_cublas_gets_the_arguments_in_its_order() -> None:
    library = FakeCublas(wide=True)
    cublas = Cublas(library, stream=77)  # type: ignore[arg-type]
    assert library.named("cublasSetMathMode")[0][2] == 0
    assert library.named("cublasSetStream_v2")[0][2] == 77
    product(cublas, real=np.float64)
    (call,) = library.named("cublasDgemm_v2_64")
    assert [call[2:7], call[8:12], call[13:]] == [(1, 0, 4, 2, 3), (4096, 5, 4096, 6), (4096, 7)]
    cublas.close()
    assert library.calls[-1][0] == "cublasDestroy_v2"


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
    with pytest.raises(DeviceError, match="2147483648.*64-bit functions"):
        product(cublas, size=2**31)


@pytest.mark.parametrize("failing", ["cublasCreate_v2", "cublasSgemm_v2_64"])
def test_errors_of_cublas_have_names(failing: str) -> None:
    with pytest.raises(DeviceError, match="CUBLAS_STATUS_EXECUTION_FAILED"):
        product(Cublas(FakeCublas(wide=True, failing=failing), stream=0))  # type: ignore[arg-type]


def test_a_missing_cublas_has_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from cuda import pathfinder

    def missing(name: str) -> None:
        raise pathfinder.DynamicLibNotFoundError("libcublas.so")

    monkeypatch.setattr(pathfinder, "load_nvidia_dynamic_lib", missing)
    with pytest.raises(DeviceError, match=r"cuBLAS is not installed: pip install"):
        driver_module._load_cublas()
