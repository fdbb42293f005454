"""Products on tensor cores: the emulator's bodies, the device code itself, and NumPy agree."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.emulator.bench import Bench
from tests.emulator.driver import ORDERS, EmulatorDriver, EmulatorError
from tests.ptx.builder import ptx_of
from tests.ptx.driver import PtxDriver

DRIVERS = {"emulator": EmulatorDriver, "device code": PtxDriver}


@dataclass(frozen=True)
class Shape:
    """A product of 16 x `depth` by `depth` x 8; `fraction`: bits behind the point of its numbers."""

    kind: str
    depth: int
    fraction: int
    architecture: str = "80"

    @property
    def packed(self) -> int:
        """Values in a register of 4 bytes."""
        return 1 if self.kind == "Tf32" else 2

    @property
    def name(self) -> str:
        return f"{self.kind.lower()}_{self.depth}"

    @property
    def instruction(self) -> str:
        kind = {"Tf32": "tf32", "Float16": "f16", "Bfloat16": "bf16"}[self.kind]
        return f"mma.sync.aligned.m16n8k{self.depth}.row.col.f32.{kind}.{kind}.f32"


SHAPES = [
    Shape("Tf32", 8, 10),
    Shape("Float16", 8, 10, "75"),
    Shape("Float16", 16, 10),
    Shape("Bfloat16", 8, 7),
    Shape("Bfloat16", 16, 7),
]

TEXT = """#include "ptx.cuh"
// y (16, 8) += a (16, DEPTH) b (8, DEPTH) transposed, of WORDS registers' worth a row
template <int WORDS, typename T>
__device__ inline void product(
    unsigned int (*left)[WORDS], unsigned int (*right)[WORDS], const unsigned int* a, const unsigned int* b, float* y
) {
    const int lane = threadIdx.x, g = lane / 4, t = lane % 4 * 2;
    for (int i = lane; i < 16 * WORDS; i += 32) left[i / WORDS][i % WORDS] = a[i];
    for (int i = lane; i < 8 * WORDS; i += 32) right[i / WORDS][i % WORDS] = b[i];
    __syncthreads();
    unsigned int rows[WORDS / 2], columns[WORDS / 4];
    load_matrices(rows, &left[lane % 16][lane / 16 * 4 % WORDS]);
    load_matrices(columns, &right[lane % 8][lane / 8 * 4 % WORDS]);
    float sum[4] = {y[g * 8 + t], y[g * 8 + t + 1], y[g * 8 + 64 + t], y[g * 8 + 65 + t]};
    multiply_add(T(), sum, rows, columns);
    y[g * 8 + t] = sum[0], y[g * 8 + t + 1] = sum[1], y[g * 8 + 64 + t] = sum[2], y[g * 8 + 65 + t] = sum[3];
}

// y: what each lane gets of COUNT matrices of 8 x 8 halves, as they are and transposed
template <int COUNT>
__device__ inline void turn(unsigned int (*held)[4], const unsigned int* x, unsigned int* y) {
    for (int i = threadIdx.x; i < 32 * COUNT; i += 32) held[i / 4][i % 4] = x[i];
    __syncthreads();
    unsigned int plain[COUNT], turned[COUNT];
    load_matrices(plain, &held[threadIdx.x % (8 * COUNT)]);
    load_transposed(turned, &held[threadIdx.x % (8 * COUNT)]);
    for (int i = 0; i < COUNT; ++i) y[i * 32 + threadIdx.x] = plain[i], y[(COUNT + i) * 32 + threadIdx.x] = turned[i];
}

KERNEL nearest(const float* x, unsigned int* y) { y[threadIdx.x] = to_tf32(x[threadIdx.x]); }
"""

PRODUCT = """
KERNEL NAME(const unsigned int* a, const unsigned int* b, float* y) {
    alignas(16) __shared__ unsigned int left[16][WORDS];
    alignas(16) __shared__ unsigned int right[8][WORDS];
    product<WORDS, TYPE>(left, right, a, b, y);
}"""

TURN = """
KERNEL turn_COUNT(const unsigned int* x, unsigned int* y) {
    alignas(16) __shared__ unsigned int held[8 * COUNT][4];
    turn<COUNT>(held, x, y);
}"""

COUNTS = (1, 2, 4)


def text_of(*shapes: Shape) -> str:
    """The kernels for some shapes."""
    products = (
        PRODUCT.replace("NAME", one.name).replace("WORDS", str(one.depth // one.packed)).replace("TYPE", one.kind)
        for one in shapes
    )
    return "".join([TEXT, *products, *(TURN.replace("COUNT", str(count)) for count in COUNTS)])


def make_bench(folder: Path, driver: str, order: str = "ascending", text: str | None = None) -> Bench:
    options = {"architecture": "80", "watches": True} if driver == "device code" else {}
    text = text_of(*SHAPES) if text is None else text
    return Bench(folder, text, order, driver=DRIVERS[driver], **options)


def cut(values: np.ndarray, fraction: int) -> np.ndarray:
    """The float32 values with no more bits behind the point."""
    return (values.astype(np.float32).view(np.uint32) >> (23 - fraction) << (23 - fraction)).view(np.float32)


def as_words(values: np.ndarray, shape: Shape) -> np.ndarray:
    """As they lie in memory."""
    if shape.kind == "Tf32":
        return values.view(np.uint32)
    if shape.kind == "Float16":
        return values.astype(np.float16).view(np.uint32)
    return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint32)


def product(folder: Path, shape: Shape, driver: str, order: str, *values: np.ndarray) -> np.ndarray:
    b = make_bench(folder, driver, order)
    left, right, sums = values
    y = b.array(sums)
    b.run(shape.name, b.array(as_words(left, shape)), b.array(as_words(right, shape)), y, block=32)
    return b.read(y)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.kind} {shape.depth}")
def test_products_are_those_of_the_matrices(
    shape: Shape, driver: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Small whole numbers: exact in whatever order they are added."""
    left, right, sums = (
        rng.integers(-9, 10, size).astype(np.float32) for size in ((16, shape.depth), (8, shape.depth), (16, 8))
    )
    for order in ORDERS:
        found = product(tmp_path, shape, driver, order, left, right, sums)
        np.testing.assert_array_equal(found, sums + left @ right.T)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.kind} {shape.depth}")
def test_rounded_products_agree_with_float64_and_each_other(
    shape: Shape, tmp_path: Path, rng: np.random.Generator
) -> None:
    left, right = (cut(rng.normal(size=(rows, shape.depth)), shape.fraction) for rows in (16, 8))
    sums = rng.normal(size=(16, 8)).astype(np.float32)
    exact = sums + left.astype(float) @ right.T.astype(float)
    found = [product(tmp_path, shape, driver, "ascending", left, right, sums) for driver in DRIVERS]
    for y in found:
        np.testing.assert_allclose(y, exact, rtol=0, atol=2e-6 * np.abs(exact).max())


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_lowest_bits_of_tf32_count_for_nothing(driver: str, tmp_path: Path, rng: np.random.Generator) -> None:
    shape = SHAPES[0]
    left, right = (rng.normal(size=(rows, 8)).astype(np.float32) for rows in (16, 8))
    sums = np.zeros((16, 8), np.float32)
    whole = product(tmp_path, shape, driver, "ascending", left, right, sums)
    np.testing.assert_array_equal(
        whole, product(tmp_path, shape, driver, "ascending", cut(left, 10), cut(right, 10), sums)
    )


def test_tf32_is_the_nearest_and_of_two_the_one_farther_from_0(tmp_path: Path, rng: np.random.Generator) -> None:
    bits = rng.integers(0, 2**32, 128, np.uint64).astype(np.uint32)
    bits[:40] = bits[:40] & 0xFFFFE000 | 0x1000  # ties
    bits[40:43] = 0x7F800000, 0xFF800000, 0x7FC00000
    values = bits.view(np.float32)
    found = []
    for driver in DRIVERS:
        b = make_bench(tmp_path, driver)
        y = b.array(bits)
        b.run("nearest", b.array(values), y)
        found.append(b.read(y))
    np.testing.assert_array_equal(*found)
    for value, made in zip(values.astype(float), found[0].view(np.float32).astype(float), strict=True):
        if np.isfinite(value) and np.isfinite(made):
            step = 2.0 ** (max(np.frexp(value)[1] - 1, -126) - 10)
            assert made == np.sign(value) * np.floor(abs(value) / step + 0.5) * step


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("count", COUNTS)
def test_matrices_are_loaded_as_they_lie_and_transposed(
    count: int, driver: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    halves = rng.integers(0, 2**16, (count, 8, 8)).astype(np.uint16)
    b = make_bench(tmp_path, driver, "random")
    y = b.array(np.zeros((2, count, 32), np.uint32))
    b.run(f"turn_{count}", b.array(halves.view(np.uint32)), y, block=32)
    plain, turned = b.read(y).view(np.uint16).reshape(2, count, 8, 8)
    np.testing.assert_array_equal(plain, halves)
    np.testing.assert_array_equal(turned, halves.transpose(0, 2, 1))


WRONG: dict[str, tuple[str, int]] = {
    "not all 32 lanes of a warp": ("if (threadIdx.x != 3) load_matrices(into, held);", 32),
    "not all 32 lanes of a warp are": ("load_matrices(into, held);", 16),
    " behind a multiple of ": ("load_matrices(into, held + 1);", 32),
}


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("message", WRONG)
def test_what_a_gpu_cannot_load_is_an_error(message: str, driver: str, tmp_path: Path) -> None:
    statement, threads = WRONG[message]
    text = f"""#include "ptx.cuh"
    KERNEL wrong(unsigned int* y) {{
        alignas(16) __shared__ unsigned int held[64];
        held[threadIdx.x] = held[threadIdx.x + 32] = 0;
        __syncthreads();
        unsigned int into[1] = {{}};
        {statement}
        y[threadIdx.x] = into[0];
    }}"""
    b = make_bench(tmp_path, driver, text=text)
    with pytest.raises(EmulatorError, match=message):
        b.run("wrong", b.array(np.zeros(32, np.uint32)), block=threads)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.kind} {shape.depth}")
def test_products_are_instructions(shape: Shape, tmp_path: Path, composed: Callable[..., str]) -> None:
    kernel = 'extern "C" __global__ void __launch_bounds__(32) '
    text = text_of(shape).replace("KERNEL nearest", "//").replace("KERNEL ", kernel)
    ptx = ptx_of(composed(text), "try", "float32", shape.architecture, 13)
    assert shape.instruction in ptx
    assert "ldmatrix.sync.aligned.m8n8" in ptx
