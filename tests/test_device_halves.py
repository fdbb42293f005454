"""Arithmetic of two-byte numbers in executed device code, bit for bit against exact fractions."""

from collections.abc import Callable
from fractions import Fraction
from math import isfinite

import numpy as np
import pytest

from tests.emulator.bench import Bench
from tests.ptx.driver import PtxDriver

FORMATS = {"f16": (10, -14), "bf16": (7, -126)}
"""Bits behind the point and the exponent of the least normal number."""

NAN = 0x7FFF


def value_of(bits: int, kind: str) -> float:
    """The number that two bytes are."""
    fraction, least = FORMATS[kind]
    magnitude, exponent = bits & 0x7FFF, (bits & 0x7FFF) >> fraction
    sign = -1.0 if bits & 0x8000 else 1.0
    if exponent == (0x7FFF >> fraction):
        return sign * float("inf") if magnitude == exponent << fraction else float("nan")
    digits = magnitude & ((1 << fraction) - 1)
    if exponent:
        return sign * (digits + (1 << fraction)) * 2.0 ** (exponent - 1 + least - fraction)
    return sign * digits * 2.0 ** (least - fraction)


def nearest(value: Fraction, kind: str) -> int:
    """The two bytes of a magnitude: the nearest, of two the even one; infinity above half a step behind the largest."""
    fraction, _ = FORMATS[kind]
    low, high = 0, (0x7FFF >> fraction) << fraction
    exact = {high: Fraction(2) * Fraction(value_of(high - (1 << fraction), kind))}
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if Fraction(value_of(middle, kind)) <= value else (low, middle)
    below, above = Fraction(value_of(low, kind)), exact.get(high) or Fraction(value_of(high, kind))
    if value - below == above - value:
        return low + low % 2
    return low if value - below < above - value else high


def expected(values: list[float], kind: str, result: float, exact: Callable[..., Fraction]) -> int | None:
    """What an operation gives: of finite numbers the exact result, rounded; None for zeros, of whatever sign."""
    if not all(map(isfinite, values)):
        return NAN if result != result else (0x8000 if result < 0 else 0) | (nearest_bits(result, kind))
    found = exact(*map(Fraction, values))
    return None if found == 0 else (0x8000 if found < 0 else 0) | nearest(abs(found), kind)


def nearest_bits(result: float, kind: str) -> int:
    """Of what came from infinities: an infinity, or a finite number that is one of the operands."""
    fraction, _ = FORMATS[kind]
    return (0x7FFF >> fraction) << fraction if not isfinite(result) else nearest(Fraction(abs(result)), kind)


OPERATIONS: dict[str, tuple[int, Callable[..., float]]] = {
    "add": (2, lambda a, b: a + b),
    "sub": (2, lambda a, b: a - b),
    "mul": (2, lambda a, b: a * b),
    "fma.rn": (3, lambda a, b, c: a * b + c),
}
"""By name, how many numbers it takes and what it does; the same on floats, for infinities, and on fractions."""


def kernel(name: str, operands: int, kind: str) -> str:
    """y = OP(a, b, c), two bytes each, and both halves of a register alike."""
    places = ", ".join(f"%{number}" for number in range(operands + 1))
    given = ", ".join(f'"h"({one}[threadIdx.x])' for one in "abc"[:operands])
    pairs = ", ".join(f'"r"(reinterpret_cast<const unsigned int*>({one})[threadIdx.x / 2])' for one in "abc"[:operands])
    return f"""
    KERNEL alone(const unsigned short* a, const unsigned short* b, const unsigned short* c, unsigned short* y) {{
        unsigned short made;
        asm("{name}.{kind} {places};" : "=h"(made) : {given});
        y[threadIdx.x] = made;
    }}
    KERNEL pairs(const unsigned short* a, const unsigned short* b, const unsigned short* c, unsigned short* y) {{
        unsigned int made;
        asm("{name}.{kind}x2 {places};" : "=r"(made) : {pairs});
        y[threadIdx.x] = (unsigned short)(made >> threadIdx.x % 2 * 16);
    }}"""


def draw(rng: np.random.Generator, kind: str) -> np.ndarray:
    """Any bits, and numbers that are alike, so that sums are near a tie or near 0."""
    fraction, least = FORMATS[kind]
    anything = rng.integers(0, 2**16, 128)
    alike = (1 - least << fraction) + rng.integers(-3 << fraction, 3 << fraction, 128) | rng.integers(0, 2, 128) << 15
    return np.where(rng.random(128) < 0.3, anything, alike).astype(np.uint16)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_halves_are_computed_exactly_and_rounded_once(
    operation: str, kind: str, bench: Callable[..., Bench], rng: np.random.Generator
) -> None:
    operands, does = OPERATIONS[operation]
    b = bench(kernel(operation, operands, kind), driver=PtxDriver, architecture="90")
    given = [draw(rng, kind) for _ in range(3)]
    arrays, y = [b.array(one) for one in given], b.array(np.zeros(128, np.uint16))
    b.run("alone", *arrays, y)
    found = b.read(y)
    b.run("pairs", *arrays, y)
    np.testing.assert_array_equal(b.read(y), found)
    for lane, made in enumerate(found.tolist()):
        values = [value_of(int(one[lane]), kind) for one in given[:operands]]
        with np.errstate(all="ignore"):
            wanted = expected(values, kind, float(does(*map(np.float64, values))), does)
        assert made & 0x7FFF == 0 if wanted is None else made == wanted, values


CONVERT = """KERNEL convert(const float* x, float* there, unsigned short* y) {
    unsigned short made;
    float back;
    asm("cvt.rn.KIND.f32 %0, %1;" : "=h"(made) : "f"(x[threadIdx.x]));
    asm("cvt.f32.KIND %0, %1;" : "=f"(back) : "h"(made));
    y[threadIdx.x] = made, there[threadIdx.x] = back;
}
KERNEL both(const float* x, unsigned int* y) {
    asm("cvt.rn.KINDx2.f32 %0, %1, %2;" : "=r"(y[threadIdx.x]) : "f"(x[threadIdx.x]), "f"(x[127 - threadIdx.x]));
}"""


@pytest.mark.parametrize("kind", FORMATS)
def test_float32_becomes_the_nearest_half_and_halves_become_what_they_are(
    kind: str, bench: Callable[..., Bench], rng: np.random.Generator
) -> None:
    x = rng.integers(0, 2**32, 128, np.uint64).astype(np.uint32).view(np.float32)
    x[:64] = 2.0 ** rng.integers(-20, 16, 64) * (1 + rng.integers(0, 2**12, 64) / 2**12)  # many ties of float16
    x[:4] = np.inf, -np.inf, np.nan, 65520
    b = bench(CONVERT.replace("KIND", kind), driver=PtxDriver, architecture="90")
    there, y, pairs = b.array(x), b.array(np.zeros(128, np.uint16)), b.array(np.zeros(128, np.uint32))
    b.run("convert", b.array(x), there, y)
    made = b.read(y).tolist()
    for value, bits, back in zip(x.tolist(), made, b.read(there).tolist(), strict=True):
        wanted = expected([value], kind, value, lambda one: one)
        assert bits == (wanted if wanted is not None else bits & 0x8000)
        assert back == value_of(bits, kind) or (back != back and bits == NAN)
    b.run("both", b.array(x), pairs)
    np.testing.assert_array_equal(b.read(pairs), np.array(made, np.uint32) << 16 | np.array(made[::-1], np.uint32))
