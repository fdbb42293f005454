// Arithmetic as the PTX ISA defines it, where C++ leaves it open or has another word.
#pragma once

#include <fenv.h>
#include <math.h>

#include <limits>
#include <type_traits>

#include "values.h"

// ---- whole numbers -----------------------------------------------------------------------------------------------

template <class T>
using unsigned_of = std::make_unsigned_t<T>;

// Divisions give what nobody may rely on where the divisor is 0: the launch fails.
template <class T>
inline T quotient(T a, T b) {
    if (b == 0) throw Fault{"a whole number is divided by 0"};
    if (std::is_signed_v<T> && b == T(-1)) return T(0 - unsigned_of<T>(a));
    return a / b;
}

template <class T>
inline T remainder_of(T a, T b) {
    if (b == 0) throw Fault{"a whole number is divided by 0"};
    if (std::is_signed_v<T> && b == T(-1)) return 0;
    return a % b;
}

template <class T>
inline T shift_left(T a, u32 by) { return by >= sizeof(T) * 8 ? 0 : T(a << by); }

template <class T>
inline T shift_right(T a, u32 by) {
    constexpr u32 width = sizeof(T) * 8;
    return T(a >> (by < width ? by : width - 1)) >> (by < width || std::is_signed_v<T> ? 0 : 1);
}

template <class T>
inline T insert_bits(T from, T into, u32 first, u32 count) {
    first &= 255, count &= 255;
    for (u32 bit = 0; bit < count && first + bit < sizeof(T) * 8 && bit < sizeof(T) * 8; ++bit) {
        into = T((into & ~(T(1) << (first + bit))) | ((from >> bit & 1) << (first + bit)));
    }
    return into;
}

inline u32 extract_bits(u32 a, u32 first, u32 count) {
    first &= 255, count &= 255;
    const u64 moved = first < 32 ? u64(a) >> first : 0;
    return u32(count < 32 ? moved & ((1ull << count) - 1) : moved);
}

inline u32 dot2(u32 a, u32 b, u32 c) { return c + (a & 0xFFFF) * (b & 0xFF) + (a >> 16) * (b >> 8 & 0xFF); }

inline u32 dot4(u32 a, u32 b, u32 c) {
    for (int byte = 0; byte < 32; byte += 8) c += (a >> byte & 0xFF) * (b >> byte & 0xFF);
    return c;
}

inline u32 permute(u32 a, u32 b, u32 selection) {
    const u64 both = u64(b) << 32 | a;
    u32 result = 0;
    for (int byte = 0; byte < 4; ++byte) {
        const u32 chosen = selection >> (4 * byte) & 15;
        u32 value = u32(both >> (8 * (chosen & 7))) & 0xFF;
        if (chosen & 8) value = value & 0x80 ? 0xFF : 0;
        result |= value << (8 * byte);
    }
    return result;
}

// The whole number that a float holds, saturated; `nan` for NaN.
template <class To, class From>
inline To to_whole(From x) {
    constexpr bool narrow = std::is_same_v<From, f32> && sizeof(To) < 8;
    if (x != x) return narrow ? To(0) : To(u64(1) << (sizeof(To) * 8 - 1));
    if (x < From(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
    if (x >= ldexp(From(1), std::numeric_limits<To>::digits)) return std::numeric_limits<To>::max();
    return To(x);
}

// ---- floats ------------------------------------------------------------------------------------------------------

inline f32 flush(f32 x) { return bits<u32>(x) & 0x7F800000u ? x : bits<f32>(bits<u32>(x) & 0x80000000u); }
inline f64 flush(f64 x) { return x; }

// A function of float32 whose arguments and result lose values below 1.2e-38, as .ftz has it.
template <class F>
struct Flushed {
    template <class... T>
    auto operator()(T... x) const { return flush(F()(flush(x)...)); }
};

inline f32 fused(f32 a, f32 b, f32 c) { return __builtin_fmaf(a, b, c); }
inline f64 fused(f64 a, f64 b, f64 c) { return __builtin_fma(a, b, c); }

template <class T>
inline T negative(T x) { return -x; }

inline f32 magnitude(f32 x) { return bits<f32>(bits<u32>(x) & 0x7FFFFFFFu); }
inline f64 magnitude(f64 x) { return fabs(x); }

// The other one where one is NaN; -0 is less than 0.
template <class T>
inline T least(T a, T b) {
    if (a != a) return b;
    if (b != b) return a;
    return a < b || (a == b && std::signbit(a)) ? a : b;
}

template <class T>
inline T greatest(T a, T b) { return a != a ? b : b != b ? a : -least(-a, -b); }

template <class F>
__attribute__((noinline)) auto rounded(int direction, F f) {
    const int before = fegetround();
    fesetround(direction);
    const auto result = f();
    fesetround(before);
    return result;
}

inline f32 fused_toward(int direction, f32 a, f32 b, f32 c) {
    volatile f32 x = a, y = b, z = c;
    return rounded(direction, [&] { volatile f32 r = fmaf(x, y, z); return f32(r); });
}

inline f32 sum_toward(int direction, f32 a, f32 b) {
    volatile f32 x = a, y = b;
    return rounded(direction, [&] { volatile f32 r = x + y; return f32(r); });
}

inline f32 saturated(f32 x) { return x > 0 ? (x > 1 ? 1.0f : x) : 0.0f; }

// ---- approximate instructions: right to the last bit, or off by up to `noise` units of it ---------------------------

static int noise;

inline f32 off(f32 x, int most) {
    if (!noise || !std::isfinite(x) || x == 0) return x;
    u32 hash = bits<u32>(x) * 2654435761u;
    hash = (hash ^ hash >> 15) * 2246822519u;
    const int units = most < noise ? most : noise;
    return bits<f32>(bits<u32>(x) + (hash >> 8) % (2 * units + 1) - units);
}

inline f32 power_of_two(f32 x) { return x == nearbyintf(x) ? f32(exp2(f64(x))) : off(f32(exp2(f64(x))), 2); }
inline f32 inverse(f32 x) { return off(f32(1 / f64(x)), 1); }
inline f32 logarithm(f32 x) { return off(f32(log2(f64(x))), 2); }
inline f32 inverse_root(f32 x) { return off(f32(1 / sqrt(f64(x))), 2); }
inline f32 root(f32 x) { return off(f32(sqrt(f64(x))), 2); }

// rcp.approx.ftz.f64: of the upper half of the bits, with a lower half of zeros.
inline f64 coarse_inverse(f64 x) {
    const auto upper = [](f64 value) {
        u64 whole = bits<u64>(value) & 0xFFFFFFFF00000000ull;
        if (!(whole & 0x7FF0000000000000ull)) whole &= 0x8000000000000000ull;
        return bits<f64>(whole);
    };
    return upper(1 / upper(x));
}
