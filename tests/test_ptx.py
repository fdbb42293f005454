"""Shared memory of the launch's size, copies that arrive late, and headers that kernel files ask for."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gpunet.devices.cuda.driver import CupyDriver
from gpunet.devices.cuda.launch import launch_blocks
from gpunet.devices.cuda.nvrtc import compile_options
from gpunet.errors import DeviceError
from tests.emulator.bench import Bench
from tests.emulator.driver import ORDERS, EmulatorDriver, EmulatorError
from tests.ptx.builder import nvrtc_of
from tests.test_compile import compile_kernels
from tests.test_cupy_driver import FakeCupy, fake_cupy, install  # noqa: F401 (a fixture)

DOUBLED = """#include "ptx.cuh"
// y = 2 * x, of `tiles` tiles of BLOCK * COUNT values; the next tile is on its way while one is worked on.
template <int COUNT>
__device__ inline void doubled(const real* x, real* y, long long tiles) {
    real* held = dynamic_shared<real>();  // two tiles
    const int values = blockDim.x * COUNT, mine = threadIdx.x * COUNT;
    const auto begin = [&](long long tile) {
        copy_ahead<COUNT * sizeof(real)>(held + tile % 2 * values + mine, x + tile * values + mine, tile < tiles);
        commit();
    };
    begin(0);
    for (long long tile = 0; tile < tiles; ++tile) {
        begin(tile + 1);
        WAIT;
        __syncthreads();
        for (int value = 0; value < COUNT; ++value) {  // those of another thread
            const int other = values - 1 - mine - value;
            y[tile * values + other] = 2 * held[tile % 2 * values + other];
        }
        __syncthreads();
    }
}
"""


def kernels(wait: str, *counts: int) -> str:
    """by_COUNT of a text that waits in this way."""
    texts = (f"KERNEL by_{n}(const real* x, real* y, long long tiles) {{ doubled<{n}>(x, y, tiles); }}" for n in counts)
    return "\n".join([DOUBLED.replace("WAIT", wait), *texts])


def double(b: Bench, count: int, real: type = np.float32, tiles: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """(y, 2 * x) of 64 threads that copy `count` values at once."""
    x = np.arange(1, 64 * count * tiles + 1).astype(real)
    y = b.array(np.zeros_like(x))
    b.run(f"by_{count}", b.array(x), y, tiles, block=64, real=real, shared=2 * 64 * count * x.itemsize)
    return b.read(y), 2 * x


@pytest.mark.parametrize("order", ORDERS)
def test_copies_that_are_waited_for_arrive_whatever_the_order(bench: Callable[..., Bench], order: str) -> None:
    for real, counts in ((np.float32, (1, 2, 4)), (np.float64, (1, 2))):
        b = bench(kernels("wait_for<1>()", *counts), order)
        for count in counts:
            np.testing.assert_array_equal(*double(b, count, real))


@pytest.mark.parametrize("wait", ["", "wait_for<2>()", "if (threadIdx.x) wait_for<0>()"])
def test_copies_that_nobody_waited_for_are_nan(bench: Callable[..., Bench], wait: str) -> None:
    found, _ = double(bench(kernels(wait, 4)), 4)
    assert np.isnan(found).any()


def test_what_was_in_the_place_of_a_copy_is_gone_at_once(bench: Callable[..., Bench]) -> None:
    b = bench(
        """#include "ptx.cuh"
        KERNEL early(const real* x, real* y) {
            __shared__ real held[4];
            held[threadIdx.x] = 1;
            copy_ahead<4>(held + threadIdx.x, x);
            commit();
            y[threadIdx.x] = held[threadIdx.x];
            wait_for<0>();
        }"""
    )
    y = b.array(np.zeros(4, np.float32))
    b.run("early", b.array(np.ones(1, np.float32)), y, block=4)
    assert np.isnan(b.read(y)).all()


def test_zeros_arrive_from_outside_and_nothing_is_read(bench: Callable[..., Bench]) -> None:
    b = bench(
        """#include "ptx.cuh"
        KERNEL edge(const real* x, real* y, long long count) {
            __shared__ real held[32];
            const int first = threadIdx.x * 4;
            copy_ahead<16>(held + first, first < count ? x + first : nullptr, first < count);
            commit();
            wait_for<0>();
            for (int i = 0; i < 4; ++i) y[first + i] = held[first + i];
        }"""
    )
    y = b.array(np.zeros(16, np.float32))
    b.run("edge", b.array(np.arange(8, dtype=np.float32)), y, 8, block=4)
    np.testing.assert_array_equal(b.read(y), [*range(8), *[0] * 8])


REFUSED = {
    "an odd place": ("copy_ahead<16>(held + 1, x);", "copies ahead 16 bytes at once 4 bytes behind a multiple of that"),
    "an odd source": ("copy_ahead<8>(held, x + 1);", "copies ahead 8 bytes at once 4 bytes behind a multiple of that"),
    "no shared memory": ("copy_ahead<4>(x + 1, x);", "to what is no shared memory of its block"),
    "too much": ("dynamic_shared<real>()[16] = 1;", "writes behind its dynamic shared memory"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_gpu_would_refuse_or_run_over_is_an_error(bench: Callable[..., Bench], case: str) -> None:
    kernel, message = REFUSED[case]
    b = bench(
        f'#include "ptx.cuh"\nKERNEL wrong(real* x) {{ alignas(16) __shared__ real held[8]; held[0] = 1; {kernel} }}'
    )
    x = b.array(np.zeros(8, np.float32))
    with pytest.raises(EmulatorError, match=f"try.wrong, block 0: .*{message}"):
        b.run("wrong", x, block=1, shared=64)


def test_dynamic_shared_memory_is_nan_in_every_block(bench: Callable[..., Bench]) -> None:
    b = bench(
        """#include "ptx.cuh"
        KERNEL look(real* y, long long count) {
            real* held = dynamic_shared<real>();
            for (int i = 0; i < count; ++i) y[blockIdx.x * count + i] = held[i], held[i] = 1;
        }"""
    )
    y = b.array(np.zeros((3, 20_000), np.float32))
    b.run("look", y, 20_000, grid=3, block=1, shared=80_000)
    assert np.isnan(b.read(y)).all()


def test_more_shared_memory_than_a_block_may_have_is_refused(bench: Callable[..., Bench]) -> None:
    b = bench("KERNEL nothing(real* y) {}")
    most = EmulatorDriver.most_shared_bytes
    b.run("nothing", None, shared=most)
    for shared in (most + 1, -1):
        with pytest.raises(DeviceError, match=rf"try.nothing cannot have {shared} bytes of dynamic shared memory"):
            b.run("nothing", None, shared=shared)


def test_recorded_and_captured_launches_keep_their_shared_memory(bench: Callable[..., Bench]) -> None:
    b = bench(kernels("wait_for<1>()", 4))
    x = np.arange(256, dtype=np.float32)
    at_x, y = b.array(x), b.array(np.zeros_like(x))
    works = b.driver.record(lambda: b.run("by_4", at_x, y, 1, block=64, shared=2048))
    b.driver.run(works)
    b.driver.copy_in(at_x.pointer, x + 1)
    b.driver.capture(works)()
    np.testing.assert_array_equal(b.read(y), 2 * x + 2)


def test_launches_by_count_hand_shared_memory_on(tmp_path: Path) -> None:
    fill = "fill(real* y, real a) { *dynamic_shared<real>() = a; *y = *dynamic_shared<real>(); }"
    b = Bench(tmp_path, f'#include "ptx.cuh"\nextern "C" __global__ void __launch_bounds__(256) {fill}')
    y = b.array(np.zeros(1, np.float32))
    launch_blocks("try", "fill", 1, y, 2.5, shared=4)
    assert b.read(y) == 2.5


# ---- on a GPU ----


def test_cuda_is_asked_once_for_more_than_every_kernel_may_have(fake_cupy: FakeCupy) -> None:  # noqa: F811
    driver, real = CupyDriver(), np.dtype(np.float32)
    for shared in (0, 48 * 1024, 64 * 1024, 64 * 1024, 60_000, 96 * 1024):
        driver.launch("relu", "relu_forward", 1, 256, 3, real=real, shared=shared)
    assert fake_cupy.shared == [0, 48 * 1024, 64 * 1024, 64 * 1024, 60_000, 96 * 1024]
    assert fake_cupy.named("funcSetAttribute") == [(1, 8, 64 * 1024), (1, 8, 96 * 1024)]


def test_a_gpu_that_has_less_shared_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeCupy(funcSetAttribute=1))
    driver = CupyDriver()
    with pytest.raises(DeviceError, match=r"give a block of relu\.relu_forward 200000 bytes of dynamic shared memory"):
        driver.prepare("relu", "relu_forward", 1, 256, 3, real=np.dtype(np.float32), shared=200_000)


GPUS: dict[str, tuple[int, bool]] = {"61": (12, False), "75": (13, False), "80": (13, True), "90": (13, True)}
"""By compute capability, with which CUDA release it is compiled for and whether copies go on by themselves there."""


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("real, counts", [("float32", (1, 2, 4)), ("float64", (1, 2))])
def test_copies_are_instructions_where_there_are_such(
    composed: Callable[..., str], gpu: str, real: str, counts: tuple[int, ...]
) -> None:
    release, ahead = GPUS[gpu]
    kernel = 'extern "C" __global__ void __launch_bounds__(64) k(const real* x, real* y, long long tiles)'
    for count in counts:
        source = composed(f"{DOUBLED.replace('WAIT', 'wait_for<1>()')}{kernel} {{ doubled<{count}>(x, y, tiles); }}")
        _, log = compile_kernels(source, release, f"sm_{gpu}", real)
        assert " 0 bytes spill stores" in log
        ptx, _ = nvrtc_of(release).compile(source, "try.cu", compile_options(real, f"compute_{gpu}"))
        size = count * (4 if real == "float32" else 8)
        assert (f"cp.async.{'cg' if size == 16 else 'ca'}.shared.global" in ptx.decode()) == ahead
        assert ("cp.async.wait_group 1" in ptx.decode()) == ahead


# ---- headers ----


def test_a_header_stands_once_where_it_is_first_asked_for(composed: Callable[..., str]) -> None:
    text = composed(
        '// first\n#include "two.cuh"\n#include "one.cuh"\nlast\n', one="ONE\n", two='#include "one.cuh"\nTWO\n'
    )
    own = text[text.index('#line 1 "try.cu"') :]
    assert own.split("\n") == [
        '#line 1 "try.cu"', "// first", '#line 1 "two.cuh"', '#line 1 "one.cuh"', "ONE", "", '#line 2 "two.cuh"', "TWO",
        "", '#line 3 "try.cu"', '#line 4 "try.cu"', "last", "", "",
    ]  # fmt: skip


def test_a_changed_header_is_another_text(composed: Callable[..., str]) -> None:
    assert composed('#include "one.cuh"\n', one="1\n") != composed('#include "one.cuh"\n', one="2\n")


def test_a_header_that_there_is_not_is_named(composed: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r'no none\.cuh in .*, which try\.cu asks for with #include "none\.cuh"'):
        composed('#include "none.cuh"\n')


def test_mistakes_behind_a_header_are_shown_where_they_are(composed: Callable[..., str]) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"try\.cu\(3\): error"):
        compile_kernels(composed('#include "ptx.cuh"\n\nnot_a_type mistake;\n'), 13, "sm_80", "float32")
    with pytest.raises(pytest.fail.Exception, match=r"one\.cuh\(2\): error"):
        compile_kernels(composed('#include "one.cuh"\n', one="\nnot_a_type mistake;\n"), 13, "sm_80", "float32")
