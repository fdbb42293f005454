"""Divisions by multiplication are exact, on the host's word and in the kernels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gpunet.devices.cuda.division import MOST, by, magic
from gpunet.devices.cuda.source import kernel_folder
from tests.device_arrays import new_array, read
from tests.emulator.driver import EmulatorDriver

POWERS = [2**power for power in range(31)]

DIVISORS = sorted(
    {*range(1, 1025), *POWERS, *(p - 1 for p in POWERS[1:]), *(p + 1 for p in POWERS), 224 * 64, 7**11, MOST - 1}
)
"""All small ones, and those around each power of two, where the shift changes."""


def edges(divisor: int) -> np.ndarray:
    """Where the quotient steps, at both ends and in the middle of what may be divided, and the ends themselves."""
    most = MOST // divisor
    quotients = {0, 1, 2, most // 2, most // 3, *(most - few for few in range(4))}
    steps = {quotient * divisor + few for quotient in quotients for few in (-1, 0, 1)}
    return np.array(sorted(n for n in steps | {0, 1, MOST - 2, MOST - 1} if 0 <= n < MOST), np.uint64)


def quotients(n: np.ndarray, number: int) -> np.ndarray:
    """As a GPU finds them, in 32 bits."""
    multiplier, shift = (np.uint64(part) for part in (number & 0xFFFFFFFF, number >> 32))
    total = (multiplier * n >> np.uint64(32)) + n
    assert (total < 2**32).all()  # else the sum would wrap around
    return total >> shift


def test_quotients_are_exact_wherever_they_step() -> None:
    for divisor in DIVISORS:
        n = edges(divisor)
        np.testing.assert_array_equal(quotients(n, magic(divisor)), n // np.uint64(divisor), str(divisor))


def test_quotients_are_exact_at_random(rng: np.random.Generator) -> None:
    for divisor in (2.0 ** rng.uniform(0, 31, 2000)).astype(np.int64).tolist():
        n = rng.integers(0, MOST, 2000, np.uint64)
        np.testing.assert_array_equal(quotients(n, magic(divisor)), n // np.uint64(divisor), str(divisor))


def test_a_magic_is_32_bits_of_a_multiplier_and_a_shift() -> None:
    assert magic(1) == 1
    for divisor in DIVISORS:
        assert magic(divisor) & 0xFFFFFFFF > 0 and magic(divisor) >> 32 <= 31
    assert by(7) == (7, magic(7))
    assert [magic(other) for other in (0, -3, MOST, 2**40)] == [0] * 4  # none: the kernels divide by these


KERNEL = """
// n          (count,)  in
// quotients  (count,)  out
// remainders (count,)  out
extern "C" __global__ void __launch_bounds__(BLOCK)
divide(const INDEX* n, INDEX* quotients, INDEX* remainders, long long count, long long number, long long magic) {
    const Divisor<INDEX> divisor = By{number, magic};
    for (long long i = first_item(); i < count; i += item_stride()) {
        quotients[i] = n[i] / divisor;
        remainders[i] = n[i] % divisor;
    }
}
"""


@pytest.fixture
def divide(tmp_path: Path) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Quotients and remainders, found by a kernel with indices of a type."""
    for header in kernel_folder().glob("*.cuh"):
        (tmp_path / header.name).write_bytes(header.read_bytes())
    for name, index in (("int32", "int"), ("int64", "long long")):
        (tmp_path / f"{name}.cu").write_text(KERNEL.replace("INDEX", index))

    def run(n: np.ndarray, divisor: int) -> tuple[np.ndarray, np.ndarray]:
        driver = EmulatorDriver(folder=tmp_path)
        arrays = [new_array(driver, n.shape, n.dtype, values) for values in (n, n, n)]
        driver.launch(n.dtype.name, "divide", 1, 256, *arrays, n.size, *by(divisor), real=np.dtype(np.float32))
        return read(arrays[1]), read(arrays[2])

    return run


@pytest.mark.parametrize("divisor", [1, 2, 3, 5, 7, 64, 224, 641, 25_088, 2**16 + 1, 2**30 - 1, 2**30, MOST - 1])
def test_kernels_divide_exactly(divide: Callable[..., tuple[np.ndarray, np.ndarray]], divisor: int) -> None:
    n = edges(divisor).astype(np.int32)
    for dtype in (np.int32, np.int64):
        found, rest = divide(n.astype(dtype), divisor)
        np.testing.assert_array_equal(found, n // divisor)
        np.testing.assert_array_equal(rest, n % divisor)


@pytest.mark.parametrize("divisor", [3, 2**31, 2**33 + 1])
def test_64_bits_divide_what_32_cannot_hold(divide: Callable[..., tuple[np.ndarray, np.ndarray]], divisor: int) -> None:
    n = np.array([0, 1, 2**31, 2**33, 2**40 + 5, 2**62], np.int64)
    found, rest = divide(n, divisor)
    np.testing.assert_array_equal(found, n // divisor)
    np.testing.assert_array_equal(rest, n % divisor)
