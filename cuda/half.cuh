// Floats of two bytes as they lie in memory. Nothing is computed in them: a value is read into a float, exactly, and a float
// is rounded to the nearest where it is stored, of two equally near the even one; NaN stays NaN. The conversions of two values
// at once are for neighbours in memory, which share a word of four bytes, the first in its lower half.
// The emulator has bodies of its own. Source: NVIDIA, "PTX ISA", cvt.

struct Float16;   // a sign, 5 bits of exponent, 10 of the number; from compute capability 7.5
struct Bfloat16;  // a sign, 8 bits of exponent, 7 of the number: the upper half of a float; from 8.0

#ifndef EMULATED

// The bits of a value of `Half` as a float.
template <typename Half>
__device__ inline float widened(unsigned short bits);

template <>
__device__ inline float widened<Float16>(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
template <>
__device__ inline float widened<Bfloat16>(unsigned short bits) { return __uint_as_float((unsigned int)bits << 16); }

// The bits of the nearest value of `Half`.
template <typename Half>
__device__ inline unsigned short narrowed(float value);

template <>
__device__ inline unsigned short narrowed<Float16>(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
template <>
__device__ inline unsigned short narrowed<Bfloat16>(float value) {
    unsigned short bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

// Those of two neighbours; one instruction does it from 8.0 on.
template <typename Half>
__device__ inline unsigned int both_narrowed(float first, float second);

template <>
__device__ inline unsigned int both_narrowed<Float16>(float first, float second) {
#if __CUDA_ARCH__ >= 800
    unsigned int bits;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first));
    return bits;
#else
    return narrowed<Float16>(first) | (unsigned int)narrowed<Float16>(second) << 16;
#endif
}
template <>
__device__ inline unsigned int both_narrowed<Bfloat16>(float first, float second) {
    unsigned int bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first));
    return bits;
}

#endif

// A value among others is a float wherever it is read: it turns into one by itself, and rounds where one is assigned to it.
#define STORED_IN_HALVES(Half)                                                                           \
    struct Half {                                                                                        \
        unsigned short bits;                                                                             \
                                                                                                         \
        Half() = default;                                                                                \
        __device__ explicit Half(float value) : bits(narrowed<Half>(value)) {}                           \
        __device__ Half& operator=(float value) { return bits = narrowed<Half>(value), *this; }          \
        __device__ operator float() const { return widened<Half>(bits); }                                \
    };

STORED_IN_HALVES(Float16)
STORED_IN_HALVES(Bfloat16)

template <typename T>
constexpr bool is_half = false;
template <>
constexpr bool is_half<Float16> = true;
template <>
constexpr bool is_half<Bfloat16> = true;
