"""What kernels move is counted by the rules of the hardware, and is as little as the table says."""

import re
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from gpunet.devices.cuda.source import compose, kernel_files
from tests.emulator.bench import Bench
from tests.emulator.builder import find_kernels
from tests.static import table
from tests.static.products import products
from tests.static.table import HALF_TRAFFIC, faults
from tests.static.traffic import ACCESS, CountingDriver, Even, Traffic, drawn, traffic, traffic_of

# ---- the rules ----


def accesses(*rows: tuple[int, int, int, int]) -> np.ndarray:
    """Of (thread, place, bytes, write), all at one instruction in global memory."""
    made = np.zeros(len(rows), ACCESS)
    for row, (thread, place, size, write) in zip(made, rows, strict=True):
        row["thread"], row["place"], row["bytes"], row["write"] = thread, place, size, write
    return made


def test_sectors_of_a_warp_are_counted() -> None:
    def sectors(stride: int, size: int) -> tuple[int, int, int]:
        found = traffic_of(accesses(*((lane, 4096 + lane * stride, size, 0) for lane in range(32))))["reads"]
        return found.requests, found.taken, found.least

    assert sectors(4, 4) == (1, 4, 4)
    assert sectors(16, 16) == (1, 16, 16)
    assert sectors(32, 16) == (1, 32, 16)
    assert sectors(12, 4) == (1, 12, 4)
    assert sectors(0, 4) == (1, 1, 1)
    assert sectors(1, 1) == (1, 1, 1)


def test_bank_conflicts_are_counted() -> None:
    def wavefronts(stride: int, size: int) -> float:
        found = accesses(*((lane, 4096 + lane * stride, size, 0) for lane in range(32)))
        found["shared"] = 1
        return traffic_of(found)["wavefronts"].ratio

    assert [wavefronts(stride, 4) for stride in (0, 4, 8, 16, 128, 132)] == [1, 1, 2, 4, 32, 1]
    assert [wavefronts(stride, 16) for stride in (16, 32)] == [1, 2]
    assert wavefronts(8, 8) == 1


def test_threads_that_skip_an_access_are_paired_again_behind_a_barrier() -> None:
    """Of 32 threads half take a step more before the barrier; behind it all access one row."""
    made = accesses(*((lane, 8192, 4, 0) for lane in range(16)), *((lane, 4096 + 4 * lane, 4, 0) for lane in range(32)))
    assert traffic_of(made)["reads"].requests == 2 and traffic_of(made)["reads"].least > 4
    made["waits"][16:] = 1
    found = traffic_of(made)["reads"]
    assert (found.requests, found.taken, found.least) == (2, 5, 5)


# ---- what the emulator notes ----

COPY = """
KERNEL copy_BYTES(const float* x, long long from, long long to, long long inside) {
    copy_ahead<BYTES>(dynamic_shared<float>() + threadIdx.x * to, x + threadIdx.x * from, inside != 0);
    commit();
    wait_for<0>();
}"""

MATRICES = """
KERNEL NAME_COUNT(float* y, long long apart, long long change) {
    unsigned int found[COUNT];
    const int row = threadIdx.x;
    NAME(found, dynamic_shared<char>() + row * apart + (change ? (row >> 1 & 3) * 16 : 0));
    if (found[0] == 1) y[0] = 0;
}"""

SIZES, COUNTS, NAMES = (4, 8, 16), (1, 2, 4), ("load_matrices", "load_transposed")

TEXT = '#include "ptx.cuh"\n' + "".join(
    [COPY.replace("BYTES", str(size)) for size in SIZES]
    + [MATRICES.replace("NAME", name).replace("COUNT", str(count)) for name in NAMES for count in COUNTS]
)


@pytest.fixture
def counted(bench: Callable[..., Bench]) -> Callable[..., dict[str, Traffic]]:
    """Runs one of these kernels on a warp and gives what was counted."""
    on = bench(TEXT, driver=CountingDriver)
    x = on.array(np.zeros(4096, np.float32))

    def count(kernel: str, *numbers: int) -> dict[str, Traffic]:
        on.run(kernel, x, *numbers, block=32, shared=16384)
        assert isinstance(on.driver, CountingDriver)
        name, found = on.driver.counted[-1]
        assert name == kernel
        return found

    return count


@pytest.mark.parametrize("size", SIZES)
def test_a_copy_ahead_is_read_and_written_as_a_whole(counted: Callable[..., dict[str, Traffic]], size: int) -> None:
    """By all threads of a warp at once: side by side, at every second place, all in one bank; and zeros."""
    values = size // 4
    for apart, worst in ((1, 1), (2, 2), (32 // values, 32 // values)):
        found = counted(f"copy_{size}", apart * values, apart * values, 1)
        assert found["reads"] == Traffic(1, size * min(apart, 32 // size), size)
        assert found["wavefronts"] == Traffic(1, values * worst, values)
    zeros = counted(f"copy_{size}", 0, values, 0)
    assert zeros["reads"] == Traffic() and zeros["wavefronts"] == Traffic(1, values, values)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", COUNTS)
def test_a_matrix_takes_a_wavefront_where_its_rows_lie_in_banks_of_their_own(
    counted: Callable[..., dict[str, Traffic]], name: str, count: int
) -> None:
    for apart, change, worst in ((16, 0, 1), (32, 0, 2), (64, 0, 4), (64, 1, 1), (128, 0, 8), (128, 1, 2), (144, 0, 1)):
        found = counted(f"{name}_{count}", apart, change)
        assert found["wavefronts"] == Traffic(1, worst * count, count), (apart, change)
        assert found["reads"] == found["writes"] == Traffic()


def test_even_draws_suit_a_gpu() -> None:
    draw = Even(np.random.default_rng(0))
    assert (
        draw.volume()[3] % 8 == 0 and draw.size(1, 600) == 600 and draw.size(1, 70) == 64 and 1 <= draw.size(1, 5) <= 5
    )


# ---- the table ----


@pytest.mark.slow
def test_traffic_is_as_little_as_the_table_says() -> None:
    moved = table.all_traffic()
    assert faults({"kernels": {}, **moved}) == []
    kept = table.read()
    assert moved == {part: kept[part] for part in moved}


QUICK = ("relu_backward_masked", "relu_mask", "max_pool_backward", "bias_backward", "softmax_forward", "augment")
"""Ops whose kernels show every kind of traffic; all of them are counted by make test-all and make static."""


def test_traffic_of_some_ops_is_as_little_as_the_table_says() -> None:
    moved, kept = traffic(drawn(QUICK)), table.read()["traffic"]
    assert faults({"kernels": {}, "traffic": moved}) == []
    shared = [kernel for kernel in moved if kernel != "max_pool_backward_i32"]
    assert {kernel: moved[kernel] for kernel in shared} == {kernel: kept[kernel] for kernel in shared}
    assert {kind for kinds in moved.values() for kind in kinds} == set(table.KINDS)


def test_traffic_on_tensor_cores_is_as_little_as_the_table_says() -> None:
    """Of the smallest tile; of all of them by make test-all and make static."""
    found = traffic(call for call in products("float16") if call.op == "conv_forward" and call.attributes["tile"] == 3)
    assert found == {"tensor_forward_64x32": {"reads": 1.0, "writes": 1.0, "wavefronts": 1.0}}
    assert table.read()[HALF_TRAFFIC]["tensor_forward_64x32"] == found["tensor_forward_64x32"]


def test_every_kernel_that_makes_products_is_counted() -> None:
    kernels = {kernel for file in kernel_files() for _, kernel in find_kernels(compose(file))}
    wanted = {kernel for kernel in kernels if table.PRODUCTS.search(kernel)}
    kept = table.read()
    assert wanted <= set(kept["traffic"])
    assert {kernel for kernel in wanted if kernel.startswith("tensor_")} <= set(kept[HALF_TRAFFIC])
    for kernel in wanted & set(kept["traffic"]):
        assert set(table.KINDS) == set(kept["traffic"][kernel]), kernel


@pytest.mark.parametrize("part, allowed", [("traffic", table.ALLOWED), (HALF_TRAFFIC, table.ALLOWED_IN_HALVES)])
def test_what_may_take_more_does(part: str, allowed: Mapping[tuple[str, str], tuple[float, str]]) -> None:
    """An exception that nothing needs any more, or that allows far more than is taken, is taken back."""
    kept = table.read()[part]
    for (names, kind), (most, reason) in allowed.items():
        worst = max((kinds[kind] for kernel, kinds in kept.items() if re.fullmatch(names, kernel) and kind in kinds))
        assert table.MOST_TRAFFIC[kind] < worst <= most <= 1.1 * worst and reason, (names, kind, worst)
