"""The emulator runs kernels as CUDA defines them, and builds them once."""

import importlib.util
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpunet.errors import DeviceError
from tests.emulator import builder
from tests.emulator.bench import COMMON, Bench
from tests.emulator.builder import BuildError
from tests.emulator.driver import ORDERS, EmulatorDriver

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

SHUFFLES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "down": lambda lane, width: np.where(lane % width + 3 < width, lane + 3, lane),
    "up": lambda lane, width: np.where(lane % width >= 3, lane - 3, lane),
    "xor": lambda lane, width: lane ^ 5,
    "": lambda lane, width: lane // width * width + 3 % width,
}
"""From which lane a value comes, by kind of shuffle; all move by 3 or to lane 3, xor flips the bits of 5."""


def shuffle_kernels() -> str:
    """A kernel for each kind and width."""
    return "\n".join(
        f"KERNEL {kind or 'to'}_{width}(real* y) {{ const real v = y[threadIdx.x]; y[threadIdx.x] ="
        f" __shfl_{kind}{'_' if kind else ''}sync(0xFFFFFFFFu, v, {5 if kind == 'xor' else 3}, {width}); }}"
        for kind in SHUFFLES
        for width in (32, 8)
    )


@pytest.mark.parametrize("order", ORDERS)
def test_shuffles_move_values_between_lanes(bench: Callable[..., Bench], rng: np.random.Generator, order: str) -> None:
    b = bench(shuffle_kernels(), order)
    values = rng.normal(size=96)
    thread = np.arange(96)
    for kind, source in SHUFFLES.items():
        for width in (32, 8):
            y = b.array(values)
            b.run(f"{kind or 'to'}_{width}", y, block=96, real=np.float64)
            np.testing.assert_array_equal(b.read(y), values[source(thread % 32, width) + thread // 32 * 32], kind)


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
