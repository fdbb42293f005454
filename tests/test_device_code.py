"""What NVRTC really made of the kernels, executed: every op, training steps, and what it catches in broken kernels."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpunet import FC, BatchNorm, Conv, Dropout, MaxPool, Model, Net, ReLU
from gpunet.devices import open_device
from gpunet.devices.cuda.device import CudaDevice
from gpunet.devices.cuda.nvrtc import REALS
from gpunet.devices.cuda.source import compose, kernel_files
from tests.emulator.bench import Bench
from tests.emulator.driver import ORDERS, EmulatorError
from tests.op_calls import OPS, Draw
from tests.ptx.builder import ptx_of
from tests.ptx.driver import RELEASES, PtxDriver, forms
from tests.ptx.program import Assembler
from tests.ptx.text import UnknownError, parse
from tests.test_emulator import SHUFFLES, shuffle_kernels
from tests.test_ptx import double, kernels

TOLERANCE = {"float32": 2e-6, "float64": 1e-14}
"""Of the largest value: sums are fused and added in another order than NumPy's."""

ARCHITECTURES = ("61", "75", "90", "120")
"""One of each generation of PTX; what CUDA 12 alone knows, with it."""


# ---- every op ----


def device(order: str = "ascending", **options: Any) -> CudaDevice:
    return CudaDevice(PtxDriver(order, **{"watches": True, **options}))


def largest(values: np.ndarray) -> float:
    """The largest magnitude that is a number."""
    return float(np.abs(values[np.isfinite(values)]).max(initial=0))


def check_op(op: str, rng: np.random.Generator, real: str, *devices: CudaDevice) -> None:
    """A random call gives NumPy's values on devices of executed PTX, in place too, and the same bits on all."""
    case = Draw(rng, real).call(op)
    expected, tolerance = case.run(open_device("cpu")), TOLERANCE[real]
    scale = max((largest(given) for given in case.inputs if given is not None and given.dtype.kind == "f"), default=0)
    first, *others = [case.run(one, in_place) for one in devices for in_place in (None, *case.aliases)]
    for found, values in zip(first, expected, strict=True):
        if values.dtype.kind != "f":
            np.testing.assert_array_equal(found, values)
            continue
        np.testing.assert_allclose(found, values, rtol=0, atol=tolerance * max(largest(values), scale / 10))
    for other in others:
        assert [values.tobytes() for values in other] == [values.tobytes() for values in first]


@pytest.mark.parametrize("op", OPS)
def test_the_device_code_of_every_op_gives_numpys_values_without_races(op: str, rng: np.random.Generator) -> None:
    check_op(op, rng, "float32", device("random"))


@pytest.mark.slow
@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("op", OPS)
def test_so_it_does_for_every_architecture_type_and_order(
    op: str, architecture: str, real: str, rng: np.random.Generator
) -> None:
    check_op(op, rng, real, *(device(order, architecture=architecture) for order in ORDERS))


@pytest.mark.slow
@pytest.mark.parametrize("op", OPS)
def test_approximate_instructions_may_be_off_by_two_units(op: str, rng: np.random.Generator) -> None:
    for _ in range(5):
        case = Draw(rng).call(op)
        exact, rough = (case.run(device(watches=False, noise=noise)) for noise in (0, 2))
        for found, values in zip(rough, exact, strict=True):
            if values.dtype.kind == "f":
                np.testing.assert_allclose(found, values, rtol=0, atol=3e-6 * largest(values))


def test_noise_shows(bench: Callable[..., Bench]) -> None:
    """Else the tests above would prove nothing."""
    kernel = "KERNEL f(const real* x, real* y) { y[threadIdx.x] = expf(x[threadIdx.x]); }"
    x, found = np.linspace(-3, 3, 128, dtype=np.float32), []
    for noise in (0, 2):
        b = bench(kernel, driver=PtxDriver, noise=noise)
        y = b.array(x)
        b.run("f", b.array(x), y)
        found.append(b.read(y))
    assert 0 < np.abs(found[1] / found[0] - 1).max() < 3e-7


@pytest.mark.slow
@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("file", kernel_files())
def test_no_instruction_of_a_kernel_is_unknown(file: str, architecture: str, real: str) -> None:
    release = RELEASES.get(architecture, 13)
    module = parse(ptx_of(compose(file), file, real, architecture, release))
    for name, function in module.functions.items():
        if function.is_kernel:
            assert Assembler(module, forms()).assemble(name).instructions > 0


# ---- whole steps ----


@pytest.mark.parametrize("real", [pytest.param("float32"), pytest.param("float64", marks=pytest.mark.slow)])
def test_training_steps_are_numpys(real: str, rng: np.random.Generator) -> None:
    layers = [Conv(8), BatchNorm(), ReLU(), Conv(8), ReLU(), MaxPool(), Conv(6), ReLU(), FC(9), Dropout(0.5), FC(3)]
    net = Net("8x8x3", layers)
    x, labels = rng.normal(size=(3, 6, 8, 8, 3)).astype(real), rng.integers(0, 3, (3, 6))
    models = [Model(net, batch=6, device=on, dtype=real, seed=3) for on in (open_device("cpu"), device("random"))]
    losses = [[model.step(x[i], labels[i]) for i in range(3)] for model in models]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5 if real == "float32" else 1e-12)
    expected, found = (model.parameters for model in models)
    atol = (2e-5 if real == "float32" else 1e-11) * max(largest(expected[name]) for name in expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=atol)


# ---- broken kernels ----

BROKEN = {
    "a barrier is missing": (
        "__shared__ real s[BLOCK]; s[t] = x[t]; y[t] = s[(t + 1) % BLOCK];",
        "reads (shared memory that nobody wrote|what another thread writes)",
    ),
    "a barrier is missing before the next round": (
        "__shared__ real s[BLOCK]; for (int i = 0; i < 2; ++i) {"
        " s[t] = x[t]; __syncthreads(); y[t] += s[BLOCK - 1 - t]; }",
        "(reads|writes) what another thread (reads|writes)",
    ),
    "two threads write one place of shared memory": (
        "__shared__ real s[BLOCK]; s[t / 2] = x[t]; __syncthreads(); y[t] = s[t / 2];",
        "writes what another thread writes",
    ),
    "lanes of a warp count on each other": (
        "__shared__ real s[BLOCK]; s[t] = x[t]; __syncthreads(); if (t < 16) { s[t] += s[t + 8]; y[t] = s[t]; }",
        "(reads|writes) what another thread (reads|writes)",
    ),
    "nobody wrote what is read": (
        "__shared__ real s[BLOCK]; if (t < 8) s[t] = x[t]; __syncthreads(); y[t] = s[t];",
        "reads shared memory that nobody wrote",
    ),
    "a load outside": ("y[t] = x[t + (count == 1)];", "reads outside of the arrays of the launch: 4 bytes, 512 behind"),
    "a store outside": ("y[t - (count == 1)] = x[t];", "writes outside of the arrays of the launch: .* -4 behind"),
    "a __restrict__ that lies": (
        "y[t] = x[BLOCK - 1 - t];",
        "(reads, as|writes what this kernel reads as) what no one writes",
    ),
    "blocks that write the same": ("if (t == 0) y[0] = x[blockIdx.x];", "writes what another thread writes"),
    "a block that reads what another wrote": (
        "if (t == 0) y[blockIdx.x] = x[0]; if (t == 1) y[2 + blockIdx.x] = y[1 - blockIdx.x];",
        "what another thread (reads|writes)",
    ),
    "a block that comes last, without a fence": (
        "__shared__ int seen; if (t == 0) { y[blockIdx.x] = x[0]; seen = atomicAdd(counter, 1); }"
        " __syncthreads(); if (seen == 1 && t == 0) y[2] = y[0] + y[1];",
        "reads what another thread writes",
    ),
    "a pack between packs": ("*(float2*)(y + 1) = *(float2*)(x + 2);", "moves 8 bytes at once 4 bytes behind a mul"),
    "a barrier that not all reach": (
        "if (t < 64) __syncthreads(); y[t] = x[t];",
        "not all threads reach a barrier: threads 0 1 .* wait at line .*; threads .* ended",
    ),
    "a shuffle that a lane misses": (
        "if (t % 32 != 5) y[t] = __shfl_xor_sync(0xFFFFFFFFu, x[t], 1); else { __syncthreads(); y[t] = 0; }",
        "not all threads reach a barrier",
    ),
    "a division by 0": ("y[t] = x[t] + t / (int)(count - 1);", "a whole number is divided by 0"),
    "more shared memory than there is": (
        "__shared__ real s[BLOCK]; s[t + count] = x[t]; __syncthreads(); y[t] = s[t + 1 - (t > 126)];",
        "reaches behind its 512 bytes of shared memory",
    ),
}  # fmt: skip
"""By fault, what a thread t does with x (read), y (written), count (1) and a counter (0), and how it is refused."""


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_kernel_is_caught(fault: str, bench: Callable[..., Bench]) -> None:
    body, message = BROKEN[fault]
    x_is = "const real* __restrict__ x" if "__restrict__" in fault else "const real* x"
    signature = f"KERNEL broken({x_is}, real* y, long long count, int* counter)"
    b = bench(f"{signature} {{ const int t = threadIdx.x; {body} }}", driver=PtxDriver, watches=True)
    counter = b.array(np.zeros(1, np.int32))
    x, y = (b.array(np.zeros(128, np.float32)) for _ in range(2))
    with pytest.raises(EmulatorError, match=rf"try\.broken, block \d: .*{message}"):
        b.run("broken", y if "__restrict__" in fault else x, y, 1, counter, grid=2 if "block" in fault else 1)


GOOD = {
    "a tree of sums": (
        "__shared__ real s[BLOCK]; s[t] = x[t]; for (int half = BLOCK / 2; half > 0; half /= 2) {"
        " __syncthreads(); if (t < half) s[t] += s[t + half]; } if (t == 0) y[0] = s[0];"
    ),
    "lanes of a warp that wait for each other": (
        "__shared__ real s[BLOCK]; s[t] = x[t]; __syncwarp(); const real other = s[t ^ 1]; __syncwarp(); s[t] = other;"
        " y[t] = other;"
    ),
    "a block that comes last": (
        "__shared__ int seen; if (t == 0) y[blockIdx.x] = x[0]; __threadfence(); __syncthreads();"
        " if (t == 0) seen = atomicAdd(counter, 1); __syncthreads(); if (seen == 1 && t == 0) y[2] = y[0] + y[1];"
    ),
    "in place": "y[t] = y[t] + x[t]; __syncthreads(); y[BLOCK - 1 - t] += 1;",
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("what", GOOD)
def test_a_good_kernel_passes(what: str, order: str, bench: Callable[..., Bench]) -> None:
    signature = "KERNEL good(const real* x, real* y, long long count, int* counter)"
    b = bench(f"{signature} {{ const int t = threadIdx.x; {GOOD[what]} }}", order, driver=PtxDriver, watches=True)
    counter = b.array(np.zeros(1, np.int32))
    x, y = (b.array(np.zeros(128, np.float32)) for _ in range(2))
    b.run("good", x, y, 1, counter, grid=2 if "block" in what else 1)


@pytest.mark.parametrize("order", ORDERS)
def test_shuffles_move_values_between_lanes(bench: Callable[..., Bench], rng: np.random.Generator, order: str) -> None:
    b = bench(shuffle_kernels(), order, driver=PtxDriver, watches=True)
    values, thread = rng.normal(size=96), np.arange(96)
    for kind, source in SHUFFLES.items():
        for width in (32, 8):
            y = b.array(values)
            b.run(f"{kind or 'to'}_{width}", y, block=96, real=np.float64)
            np.testing.assert_array_equal(b.read(y), values[source(thread % 32, width) + thread // 32 * 32], kind)


@pytest.mark.parametrize("order", ORDERS)
def test_copies_ahead_arrive_in_shared_memory_of_the_launchs_size(bench: Callable[..., Bench], order: str) -> None:
    b = bench(kernels("wait_for<1>()", 1, 2, 4), order, driver=PtxDriver, architecture="80", watches=True)
    for count in (1, 2, 4):
        np.testing.assert_array_equal(*double(b, count))


def test_copies_that_nobody_waited_for_are_caught(bench: Callable[..., Bench]) -> None:
    text = """#include "ptx.cuh"
    KERNEL early(const real* x, real* y) {
        __shared__ real held[BLOCK];
        copy_ahead<4>(held + threadIdx.x, x + threadIdx.x);
        commit();
        WAIT
        y[threadIdx.x] = held[threadIdx.x];
    }"""
    values = np.arange(128, dtype=np.float32)
    for wait in ("", "wait_for<1>();", "wait_for<0>();"):
        b = bench(text.replace("WAIT", wait), driver=PtxDriver, architecture="80", watches=True)
        y = b.array(np.zeros_like(values))
        if wait == "wait_for<0>();":
            b.run("early", b.array(values), y)
            np.testing.assert_array_equal(b.read(y), values)
        else:
            with pytest.raises(EmulatorError, match="reads what a copy ahead has not brought yet"):
                b.run("early", b.array(values), y)


def test_an_instruction_that_is_unknown_is_refused(bench: Callable[..., Bench]) -> None:
    b = bench("KERNEL ask(real* y) { y[threadIdx.x] = clock(); }", driver=PtxDriver)
    with pytest.raises(UnknownError, match=r"line \d+: mov\.u64 %rd\d+, %clock64"):
        b.run("ask", b.array(np.zeros(128, np.float32)))
