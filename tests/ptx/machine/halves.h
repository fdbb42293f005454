// Numbers of two bytes and of 19 bits: float16, bfloat16, tf32. Computed in float64, exactly, and rounded once.
#pragma once

#include "arithmetic.h"

// A format of `fraction` bits behind the point whose least exponent of a normal number is `least`.
template <int FRACTION, int LEAST>
struct Half {
    static constexpr int BIAS = 1 - LEAST;
    static constexpr u32 INFINITE = u32(2 * BIAS + 1) << FRACTION;
    u16 held;

    static f64 wide(u16 held) {
        const int exponent = (held & 0x7FFF) >> FRACTION;
        const int fraction = held & ((1 << FRACTION) - 1);
        f64 value;
        if (exponent == 2 * BIAS + 1) value = fraction ? NAN : INFINITY;
        else if (exponent == 0) value = ldexp(fraction, LEAST - FRACTION);
        else value = ldexp(fraction + (1 << FRACTION), exponent - BIAS - FRACTION);
        return held & 0x8000 ? -value : value;
    }

    // To the nearest, of two the even one; NaN is 0x7FFF.
    static u16 narrow(f64 value) {
        if (value != value) return 0x7FFF;
        const u16 sign = std::signbit(value) ? 0x8000 : 0;
        value = fabs(value);
        if (std::isinf(value)) return sign | INFINITE;
        int exponent = LEAST;
        if (value >= ldexp(1, LEAST)) exponent = ilogb(value);
        const f64 units = nearbyint(ldexp(value, FRACTION - exponent));  // a carry goes into the exponent by itself
        const f64 whole = units + ldexp(exponent - LEAST, FRACTION);
        return sign | u16(whole < INFINITE ? whole : INFINITE);
    }

    Half() = default;
    Half(f64 value) : held(narrow(value)) {}
    operator f64() const { return wide(held); }
};

using f16 = Half<10, -14>;
using bf16 = Half<7, -126>;

// Rounded to odd: rounding it again to a shorter format gives what rounding the exact sum once would.
inline f64 odd_sum(f64 a, f64 b) {
    const f64 sum = a + b;
    if (!std::isfinite(sum)) return sum;
    const f64 rest = sum - a, error = (a - (sum - rest)) + (b - rest);
    if (error == 0 || (bits<u64>(sum) & 1)) return sum;
    return bits<f64>(bits<u64>(sum) + ((error > 0) == (sum > 0) ? 1 : -1));
}

// Of products, which are exact in float64.
template <class H>
inline H fused_halves(H a, H b, H c) { return H(odd_sum(f64(a) * f64(b), f64(c))); }

template <class H>
inline H half_sum(H a, H b) { return H(odd_sum(f64(a), f64(b))); }

// Two halves in a register, treated alike.
template <class H>
struct Pair {
    H low, high;
};

inline u32 to_tf32(f32 x) {  // ties away from zero
    if (x != x) return 0x7FFFFFFFu;
    return std::isinf(x) ? bits<u32>(x) : (bits<u32>(x) + 0x1000u) & ~0x1FFFu;
}
