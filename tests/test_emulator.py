"""The emulator: it runs kernels as CUDA defines them, and it catches what a GPU would let pass."""

import importlib.util
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.errors import DeviceError
from tests.emulator import builder
from tests.emulator.builder import BuildError
from tests.emulator.driver import ORDERS, EmulatorDriver, EmulatorError

COMMON = "typedef REAL real;\nconstexpr int BLOCK = 128;\n"
KERNEL = 'extern "C" __global__ void __launch_bounds__(BLOCK) '


class Bench:
    """Kernels of one file and the arrays that they run on."""

    def __init__(self, folder: Path, kernels: str, order: str = "ascending", **options: Any):
        (folder / "common.cuh").write_text(COMMON)
        (folder / "try.cu").write_text(kernels.replace("KERNEL", KERNEL))
        self.driver = EmulatorDriver(order, folder=folder, **options)

    def array(self, values: np.ndarray) -> DeviceArray:
        memory = self.driver.allocate(values.nbytes)
        self.driver.copy_in(memory.pointer, np.ascontiguousarray(values))
        return DeviceArray(memory.pointer, values.shape, values.dtype, self.driver)

    def run(self, kernel: str, *arguments: Any, grid: int = 1, block: int = 128, real: type = np.float32) -> None:
        self.driver.launch("try", kernel, grid, block, *arguments, real=np.dtype(real))

    def read(self, array: DeviceArray) -> np.ndarray:
        values = np.empty(array.shape, array.dtype)
        self.driver.copy_out(array.pointer, values)
        return values


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Bench]:
    return lambda kernels, order="ascending", **options: Bench(tmp_path, kernels, order, **options)


SUM = """
KERNEL block_sum(const real* x, real* sums, long long count) {  // a tree: one barrier for each halving
    __shared__ real part[BLOCK];
    const int thread = threadIdx.x;
    real sum = 0;
    for (long long i = blockIdx.x * BLOCK + thread; i < count; i += gridDim.x * BLOCK) sum += x[i];
    part[thread] = sum;
    for (int half = BLOCK / 2; half > 0; half /= 2) {
        __syncthreads();
        if (thread < half) part[thread] += part[thread + half];
    }
    if (thread == 0) sums[blockIdx.x] = part[0];
}
"""


# ---- running ----


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_every_thread_of_every_block_runs_once(
    bench: Callable[..., Bench], rng: np.random.Generator, order: str, real: type
) -> None:
    b = bench(
        "KERNEL fused(const real* x, real* y, real a, long long count) {"
        "const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; if (i < count) y[i] += a * x[i]; }",
        order,
    )
    x, y = rng.normal(size=(2, 1003)).astype(real)
    at_y = b.array(y)
    b.run("fused", b.array(x), at_y, 2.5, x.size, grid=16, block=67, real=real)
    np.testing.assert_array_equal(b.read(at_y), y + real(2.5) * x)


def test_a_sum_through_shared_memory_has_the_same_bits_in_all_orders(
    bench: Callable[..., Bench], rng: np.random.Generator
) -> None:
    x = rng.normal(size=5003).astype(np.float32)
    results = []
    for order in ORDERS:
        b = bench(SUM, order)
        sums = b.array(np.zeros(7, np.float32))
        b.run("block_sum", b.array(x), sums, x.size, grid=7)
        results.append(b.read(sums))
    np.testing.assert_allclose(results[0].sum(), x.astype(float).sum(), rtol=1e-4)
    assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()


def test_fibers_without_hand_written_switching_give_the_same(
    bench: Callable[..., Bench], rng: np.random.Generator
) -> None:
    x = rng.normal(size=901).astype(np.float32)
    results = []
    for flags in ((), ("-DEMULATOR_UCONTEXT",)):
        b = bench(SUM, flags=flags)
        sums = b.array(np.zeros(3, np.float32))
        b.run("block_sum", b.array(x), sums, x.size, grid=3)
        results.append(b.read(sums))
    np.testing.assert_array_equal(results[0], results[1])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("rounds", [1, 2, 9])
def test_each_barrier_is_waited_for(bench: Callable[..., Bench], order: str, rounds: int) -> None:
    """A ring of threads hands its values on, one place a round; two barriers keep reads and writes apart."""
    b = bench(
        """KERNEL ring(int* y, long long rounds) {
            __shared__ int held[BLOCK];
            held[threadIdx.x] = y[threadIdx.x];
            for (long long round = 0; round < rounds; ++round) {
                __syncthreads();
                const int next = held[(threadIdx.x + 1) % blockDim.x];
                __syncthreads();
                held[threadIdx.x] = next;
            }
            y[threadIdx.x] = held[threadIdx.x];
        }""",
        order,
    )
    values = np.arange(77, dtype=np.int32)
    y = b.array(values)
    b.run("ring", y, rounds, block=77)
    np.testing.assert_array_equal(b.read(y), np.roll(values, -rounds))


def ranks(bench: Callable[..., Bench], order: str, seed: int = 0, launches: int = 1) -> np.ndarray:
    """When each thread of 3 blocks of 40 ran, in the last of some launches."""
    b = bench(
        "KERNEL rank(int* y, int* clock) { y[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(clock, 1); }",
        order,
        seed=seed,
    )
    y = b.array(np.zeros(120, np.int32))
    for _ in range(launches):
        b.run("rank", y, b.array(np.zeros(1, np.int32)), grid=3, block=40)
    return b.read(y)


def test_threads_and_blocks_run_in_the_order_asked_for(bench: Callable[..., Bench]) -> None:
    np.testing.assert_array_equal(ranks(bench, "ascending"), np.arange(120))
    np.testing.assert_array_equal(ranks(bench, "descending"), np.arange(120)[::-1])
    random = ranks(bench, "random")
    assert sorted(random) == list(range(120))
    assert set(random) != set(random[:40]) and list(random) not in (sorted(random), sorted(random, reverse=True))


def test_random_orders_repeat_with_their_seed_and_differ_by_launch(bench: Callable[..., Bench]) -> None:
    first = list(ranks(bench, "random", seed=5))
    assert first == list(ranks(bench, "random", seed=5))
    assert first != list(ranks(bench, "random", seed=7))
    assert first != list(ranks(bench, "random", seed=5, launches=2))


def test_threads_go_on_after_a_barrier_in_the_order_asked_for(bench: Callable[..., Bench]) -> None:
    kernel = "KERNEL late(int* y, int* clock) { __syncthreads(); y[threadIdx.x] = atomicAdd(clock, 1); }"
    for order, expected in (("ascending", np.arange(50)), ("descending", np.arange(50)[::-1])):
        b = bench(kernel, order)
        y = b.array(np.zeros(50, np.int32))
        b.run("late", y, b.array(np.zeros(1, np.int32)), block=50)
        np.testing.assert_array_equal(b.read(y), expected)


# ---- warps ----

SHUFFLES = {
    "__shfl_down_sync(mask, v, 3)": lambda lane, width: np.where(lane % width + 3 < width, lane + 3, lane),
    "__shfl_up_sync(mask, v, 3)": lambda lane, width: np.where(lane % width >= 3, lane - 3, lane),
    "__shfl_xor_sync(mask, v, 5)": lambda lane, width: lane ^ 5,
    "__shfl_sync(mask, v, 6)": lambda lane, width: lane // width * width + 6,
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("call", SHUFFLES)
@pytest.mark.parametrize("width", [32, 8])
def test_shuffles_move_values_between_lanes(
    bench: Callable[..., Bench], rng: np.random.Generator, call: str, width: int, order: str
) -> None:
    b = bench(
        "KERNEL shuffle(real* y) { const unsigned mask = 0xFFFFFFFFu; const real v = y[threadIdx.x];"
        f"y[threadIdx.x] = {call[:-1]}, {width}); }}",
        order,
    )
    values = rng.normal(size=96)
    y = b.array(values)
    b.run("shuffle", y, block=96, real=np.float64)
    lane = np.arange(96)
    np.testing.assert_array_equal(b.read(y), values[SHUFFLES[call](lane % 32, width) + lane // 32 * 32])


def test_a_warp_sum_by_shuffles(bench: Callable[..., Bench], rng: np.random.Generator) -> None:
    b = bench(
        "KERNEL sum(const real* x, real* y) { real v = x[threadIdx.x];"
        "for (int d = 16; d > 0; d /= 2) { v += __shfl_down_sync(0xFFFFFFFFu, v, d); __syncwarp(); }"
        "if (threadIdx.x % 32 == 0) y[threadIdx.x / 32] = v; }",
        "random",
    )
    values = rng.integers(-99, 99, size=128).astype(np.float32)
    y = b.array(np.zeros(4, np.float32))
    b.run("sum", b.array(values), y)
    np.testing.assert_array_equal(b.read(y), values.reshape(4, 32).sum(axis=1))


def test_lanes_outside_of_the_mask_need_not_take_part_and_give_nan(bench: Callable[..., Bench]) -> None:
    b = bench(
        "KERNEL half(real* y) { if (threadIdx.x < 16) y[threadIdx.x] = __shfl_down_sync(0xFFFFu, y[threadIdx.x], 8); }"
    )
    values = np.arange(32, dtype=np.float32)
    y = b.array(values)
    b.run("half", y, block=32)
    found = b.read(y)
    np.testing.assert_array_equal(found[:8], values[8:16])
    assert np.isnan(found[8:16]).all()
    np.testing.assert_array_equal(found[16:], values[16:])


def test_a_shuffle_that_a_lane_of_its_mask_misses_is_an_error(bench: Callable[..., Bench]) -> None:
    b = bench(
        "KERNEL miss(real* y) { const int i = threadIdx.x;\n"
        "if (i < 16) y[i] = __shfl_down_sync(0xFFFFFFFFu, y[i], 8);\n"
        "else __syncthreads(); }"
    )
    with pytest.raises(
        EmulatorError, match=r"try\.miss, block 0.*__shfl_down_sync at try\.cu:2.*__syncthreads at try\.cu:3"
    ):
        b.run("miss", b.array(np.zeros(32, np.float32)), block=32)


# ---- what is caught ----


def test_a_barrier_that_some_threads_never_reach_is_an_error(bench: Callable[..., Bench]) -> None:
    b = bench(
        "KERNEL early(real* y, long long count) {\n"
        "if (blockIdx.x == 1 && threadIdx.x < count) return;\n"
        "__syncthreads();\n}"
    )
    with pytest.raises(EmulatorError, match=r"try\.early, block 1: .*threads 0 1 ended; .*2 3.* at try\.cu:3"):
        b.run("early", None, 2, grid=2, block=4)


def test_waiting_at_different_barriers_is_an_error(bench: Callable[..., Bench]) -> None:
    b = bench("KERNEL two(long long count) {\nif (threadIdx.x < count)\n__syncthreads();\nelse\n__syncthreads();\n}")
    with pytest.raises(EmulatorError, match=r"threads 0 1 2 wait for .*:3; threads 3 4 wait for .*:5"):
        b.run("two", 3, block=5)
    b.run("two", 5, block=5)


def test_shared_memory_nobody_wrote_is_nan_in_every_block(bench: Callable[..., Bench]) -> None:
    """So a missing barrier shows: the neighbour's value is not there yet."""
    b = bench(
        """KERNEL neighbour(real* y) {
            __shared__ real held[BLOCK];
            held[threadIdx.x] = 1;
            y[blockIdx.x * blockDim.x + threadIdx.x] = held[(threadIdx.x + 1) % blockDim.x];
        }"""
    )
    y = b.array(np.zeros((3, 64), np.float32))
    b.run("neighbour", y, grid=3, block=64)
    assert np.isnan(b.read(y)[:, :-1]).all()


WRONG_ARGUMENTS: dict[str, tuple[Callable[[DeviceArray], tuple[Any, ...]], str]] = {
    "a float for a long long": (lambda y: (y, 1.0, 1.0), "argument 1: the kernel takes i8, not f4"),
    "an int for a real": (lambda y: (y, 1, 1), "argument 2: the kernel takes f4, not i8"),
    "a number for a pointer": (lambda y: (1, 1, 1.0), "argument 0: the kernel takes pf4, not i8"),
    "too few": (lambda y: (y, 1), "takes 3 arguments"),
    "too many": (lambda y: (y, 1, 1.0, 1), "takes 3 arguments"),
    "another dtype": (
        lambda y: (DeviceArray(y.pointer, (1,), np.dtype(np.float64), y.driver), 1, 1.0),
        "argument 0: the kernel takes pf4, not pf8",
    ),
}


@pytest.mark.parametrize("case", WRONG_ARGUMENTS)
def test_arguments_that_a_gpu_would_misread_are_errors(bench: Callable[..., Bench], case: str) -> None:
    b = bench("KERNEL take(real* y, long long count, real a) { if (threadIdx.x < count) y[threadIdx.x] = a; }")
    y = b.array(np.zeros(2, np.float32))
    arguments, message = WRONG_ARGUMENTS[case]
    with pytest.raises(EmulatorError, match=message):
        b.run("take", *arguments(y), block=2)
    b.run("take", y, 2, 3.0, block=2)
    np.testing.assert_array_equal(b.read(y), [3, 3])


def test_a_launch_that_cuda_refuses_is_an_error(bench: Callable[..., Bench]) -> None:
    b = bench("KERNEL nothing(real* y) {}")
    for grid, block in ((1, 129), (0, 1), (1, 0), (2**31, 1)):
        with pytest.raises(DeviceError, match="__launch_bounds__ are 128"):
            b.run("nothing", None, grid=grid, block=block)
    with pytest.raises(DeviceError, match="no kernel try.something; there are nothing"):
        b.run("something", None)


@pytest.mark.parametrize("index", [-1, 5])
def test_a_write_outside_of_an_allocation_is_an_error(bench: Callable[..., Bench], index: int) -> None:
    b = bench("KERNEL stray(real* y, long long index) { y[index] = 0; }")
    y = b.array(np.zeros(5, np.float32))
    b.run("stray", y, 4, block=1)
    with pytest.raises(EmulatorError, match=r"try\.stray wrote outside of an allocation of 20 bytes"):
        b.run("stray", y, index, block=1)


def test_arrays_outside_of_allocated_memory_are_errors(bench: Callable[..., Bench]) -> None:
    b = bench("KERNEL nothing(real* y) {}")
    memory = b.driver.allocate(64)
    inside = DeviceArray(memory.pointer, (16,), np.dtype(np.float32), b.driver)
    b.run("nothing", inside)
    with pytest.raises(EmulatorError, match="not all in memory that is allocated"):
        b.run("nothing", DeviceArray(memory.pointer, (17,), np.dtype(np.float32), b.driver))
    b.driver.free(memory)
    for use in (lambda: b.run("nothing", inside), lambda: b.read(inside), lambda: b.driver.fill(inside.pointer, 0, 1)):
        with pytest.raises(EmulatorError, match="not all in memory that is allocated"):
            use()


def test_memory_runs_out_as_on_a_gpu(bench: Callable[..., Bench]) -> None:
    driver = EmulatorDriver(total_bytes=1000)
    first = driver.allocate(600)
    with pytest.raises(DeviceError, match="400 of 1000 bytes free; 401"):
        driver.allocate(401)
    driver.free(first)
    assert driver.memory() == (1000, 1000)
    assert driver.allocate(1000).pointer % 256 == 0


# ---- building ----

NOT_COMPILED = {
    "float atomics": ("KERNEL add(real* y) { atomicAdd(y, real(1)); }", "atomics are for integers"),
    "no launch bounds": ('extern "C" __global__ void plain(real* y) {}', "declare each as"),
    "C++ names": ("__global__ void __launch_bounds__(BLOCK) plain(real* y) {}", "declare each as"),
    "a mistake, with its line": ("KERNEL wrong(real* y) {\n  y[0] = nowhere;\n}", r"try\.cu:2.*nowhere"),
}


@pytest.mark.parametrize("case", NOT_COMPILED)
def test_kernels_that_break_the_rules_are_not_built(bench: Callable[..., Bench], case: str) -> None:
    kernels, message = NOT_COMPILED[case]
    with pytest.raises(BuildError, match=message):
        bench(kernels).run("any", None)


def test_a_text_is_compiled_once_and_a_changed_one_again(
    bench: Callable[..., Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compiled = []
    run = subprocess.run

    def counted(command: list[str], **options: Any) -> Any:
        compiled.append(command)
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", counted)
    bench("KERNEL nothing(real* y) {}").run("nothing", None)
    bench("KERNEL nothing(real* y) {}").run("nothing", None)
    assert len(compiled) == 1
    bench("KERNEL nothing(real* y) {}").run("nothing", None, real=np.float64)
    assert len(compiled) == 2
    (tmp_path / "common.cuh").write_text(COMMON.replace("128", "64"))
    with pytest.raises(DeviceError, match="__launch_bounds__ are 64"):
        EmulatorDriver(folder=tmp_path).launch("try", "nothing", 1, 65, None, real=np.dtype(np.float32))
    assert len(compiled) == 3


def test_without_a_compiler_the_message_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    find = builder.compiler.__wrapped__
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if name == "clang++" else None)
    assert find() == ("/bin/clang++",)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert find()[1:] == ("-m", "ziglang", "c++")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BuildError, match="pip install ziglang"):
        find()
