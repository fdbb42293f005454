// cuda/half.cuh on a CPU, by the bits: written from what the formats are, without the conversions that compilers have.
#pragma once

#include <stdint.h>
#include <string.h>

struct Float16;
struct Bfloat16;

namespace emulator {

// FRACTION bits of the number, LEAST the exponent of the smallest one that is not subnormal.
template <int FRACTION, int LEAST>
struct HalfFormat {
    static constexpr unsigned int infinity = (0x7FFFu >> FRACTION) << FRACTION;

    static float widened(unsigned short bits) {
        const unsigned int magnitude = bits & 0x7FFF;
        double value = magnitude > infinity ? NAN : INFINITY;
        if (magnitude < infinity) {
            const int exponent = magnitude >> FRACTION, fraction = magnitude & ((1 << FRACTION) - 1);
            value = exponent ? ldexp((1 << FRACTION) + fraction, exponent - 1 + LEAST - FRACTION) : ldexp(fraction, LEAST - FRACTION);
        }
        return static_cast<float>(bits & 0x8000 ? -value : value);
    }

    // In units of the last place there, which a double counts exactly; rint() takes of two equally near ones the even one.
    static unsigned short narrowed(float value) {
        if (value != value) return 0x7FFF;
        const unsigned int sign = signbit(value) ? 0x8000 : 0;
        const double size = fabs(static_cast<double>(value));
        if (isinf(size)) return static_cast<unsigned short>(sign | infinity);
        int exponent = LEAST;
        if (size >= ldexp(1, LEAST)) exponent = ilogb(size);
        const unsigned int units = static_cast<unsigned int>(rint(ldexp(size, FRACTION - exponent)));
        const unsigned int bits = units + (static_cast<unsigned int>(exponent - LEAST) << FRACTION);  // a carry goes on
        return static_cast<unsigned short>(sign | (bits < infinity ? bits : infinity));
    }
};

template <class Half>
struct FormatOf;
template <>
struct FormatOf<Float16> : HalfFormat<10, -14> {};
template <>
struct FormatOf<Bfloat16> : HalfFormat<7, -126> {};

}  // namespace emulator

template <class Half>
float widened(unsigned short bits) { return emulator::FormatOf<Half>::widened(bits); }
template <class Half>
unsigned short narrowed(float value) { return emulator::FormatOf<Half>::narrowed(value); }
template <class Half>
unsigned int both_narrowed(float first, float second) {
    return narrowed<Half>(first) | static_cast<unsigned int>(narrowed<Half>(second)) << 16;
}
