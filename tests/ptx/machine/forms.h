// Every form of instruction that the machine knows, by its name; what is not here is refused.
//
// Names are PTX's, but that bits stand for numbers where the sign makes no difference, and rounding to the nearest is not
// said of sums and products (tests/ptx/forms.py).
#pragma once

#include <utility>

#include "warps.h"

struct Form {
    const char* name;
    Handler run;
    Kind kind = Kind::plain;
};

// ---- a function of operands, lane by lane ----------------------------------------------------------------------------

template <class R, class F, class... A>
inline void map_lanes(const Warp& w, R* result, F f, const A*... given) {
    each(w, [&](int lane) { result[lane] = R(f(given[lane]...)); });
}

template <class F, class R, class... A, size_t... I>
inline void map_operands(const Warp& w, const Instruction& in, std::index_sequence<I...>) {
    map_lanes(w, values<R>(w, in, 0), F(), static_cast<const A*>(values<A>(w, in, int(I) + 1))...);
}

// R f(A...): a type for each operand.
template <class F, class R, class... A>
inline void map(Warp& w, const Instruction& in) {
    map_operands<F, R, A...>(w, in, std::index_sequence_for<A...>());
}

// Result, a and b, and perhaps a predicate with which the result is combined.
template <class F, class T>
inline void compare(Warp& w, const Instruction& in) {
    u8* result = values<u8>(w, in, 0);
    const T *a = values<T>(w, in, 1), *b = values<T>(w, in, 2);
    const u8* with = in.operands > 3 ? values<u8>(w, in, 3) : nullptr;
    each(w, [&](int lane) {
        const u8 found = F()(a[lane], b[lane]);
        result[lane] = !with             ? found
                       : in.number == 1 ? found & with[lane]
                       : in.number == 2 ? found | with[lane]
                                        : found ^ with[lane];
    });
}

template <class F, class To, class From>
inline void convert(Warp& w, const Instruction& in) {
    each(w, [&](int lane) { put<To>(w, in, 0, lane, F()(get<From>(w, in, 1, lane))); });
}

// The parts of a register side by side, and back.
template <class Whole, class Part>
inline void join(Warp& w, const Instruction& in) {
    each(w, [&](int lane) {
        Part parts[sizeof(Whole) / sizeof(Part)];
        for (int part = 0; part < in.operands - 1; ++part) parts[part] = values<Part>(w, in, part + 1)[lane];
        memcpy(values<Whole>(w, in, 0) + lane, parts, sizeof parts);
    });
}

template <class Whole, class Part>
inline void split(Warp& w, const Instruction& in) {
    each(w, [&](int lane) {
        Part parts[sizeof(Whole) / sizeof(Part)];
        memcpy(parts, values<Whole>(w, in, in.operands - 1) + lane, sizeof parts);
        for (int part = 0; part < in.operands - 1; ++part) values<Part>(w, in, part)[lane] = parts[part];
    });
}

// ---- the table -----------------------------------------------------------------------------------------------------

// A type of its own for an expression, as lambdas cannot be template arguments in C++17.
#define FUNCTION(name, parameters, ...)                                   \
    struct name {                                                         \
        template <class T>                                                \
        T operator() parameters const { return __VA_ARGS__; }             \
    };

FUNCTION(Add, (T a, T b), T(a + b))
FUNCTION(Sub, (T a, T b), T(a - b))
FUNCTION(Mul, (T a, T b), T(a * b))
FUNCTION(Mad, (T a, T b, T c), T(a * b + c))
FUNCTION(Div, (T a, T b), a / b)
FUNCTION(Quotient, (T a, T b), quotient(a, b))
FUNCTION(Remainder, (T a, T b), remainder_of(a, b))
FUNCTION(Min, (T a, T b), a < b ? a : b)
FUNCTION(Max, (T a, T b), a < b ? b : a)
FUNCTION(Least, (T a, T b), least(a, b))
FUNCTION(Greatest, (T a, T b), greatest(a, b))
FUNCTION(Neg, (T a), T(0 - unsigned_of<T>(a)))
FUNCTION(Abs, (T a), a < 0 ? T(0 - unsigned_of<T>(a)) : a)
FUNCTION(Negative, (T a), negative(a))
FUNCTION(Magnitude, (T a), magnitude(a))
FUNCTION(And, (T a, T b), T(a & b))
FUNCTION(Or, (T a, T b), T(a | b))
FUNCTION(Xor, (T a, T b), T(a ^ b))
FUNCTION(Not, (T a), T(~a))
FUNCTION(NotPredicate, (T a), T(!a))
FUNCTION(Same, (T a), a)
FUNCTION(Fused, (T a, T b, T c), fused(a, b, c))
FUNCTION(FusedHalves, (T a, T b, T c), fused_halves(a, b, c))
FUNCTION(AddHalves, (T a, T b), half_sum(a, b))
FUNCTION(SubHalves, (T a, T b), half_sum(a, T(-f64(b))))
FUNCTION(MulHalves, (T a, T b), T(f64(a) * f64(b)))
FUNCTION(LeastHalf, (T a, T b), T(least(f64(a), f64(b))))
FUNCTION(GreatestHalf, (T a, T b), T(greatest(f64(a), f64(b))))
FUNCTION(NegHalf, (T a), T(-f64(a)))
FUNCTION(AbsHalf, (T a), T(fabs(f64(a))))
FUNCTION(FusedDown, (T a, T b, T c), fused_toward(FE_DOWNWARD, a, b, c))
FUNCTION(FusedUp, (T a, T b, T c), fused_toward(FE_UPWARD, a, b, c))
FUNCTION(AddChopped, (T a, T b), sum_toward(FE_TOWARDZERO, a, b))
FUNCTION(Inverse, (T a), 1 / a)
FUNCTION(Root, (T a), std::sqrt(a))
FUNCTION(CopySign, (T a, T b), std::copysign(b, a))
FUNCTION(PowerOfTwo, (T a), power_of_two(a))
FUNCTION(RoughInverse, (T a), inverse(a))
FUNCTION(CoarseInverse, (T a), coarse_inverse(a))
FUNCTION(Logarithm, (T a), logarithm(a))
FUNCTION(InverseRoot, (T a), inverse_root(a))
FUNCTION(RoughRoot, (T a), root(a))
FUNCTION(Permute, (T a, T b, T c), permute(a, b, c))
FUNCTION(Extract, (T a, T b, T c), extract_bits(a, b, c))
FUNCTION(Dot2, (T a, T b, T c), dot2(a, b, c))
FUNCTION(Dot2High, (T a, T b, T c), dot2(a, b >> 16, c))
FUNCTION(Dot4, (T a, T b, T c), dot4(a, b, c))

struct ShiftLeft { template <class T> T operator()(T a, u32 by) const { return shift_left(a, by); } };
struct ShiftRight { template <class T> T operator()(T a, u32 by) const { return shift_right(a, by); } };
struct Insert {
    template <class T> T operator()(T a, T b, u32 first, u32 count) const { return insert_bits(a, b, first, count); }
};
struct Select { template <class T> T operator()(T a, T b, u8 first) const { return first ? a : b; } };
template <class W> struct WideMul { template <class T> W operator()(T a, T b) const { return W(a) * W(b); } };
template <class W> struct WideMad {
    template <class T> W operator()(T a, T b, W c) const { return W(unsigned_of<W>(W(a) * W(b)) + unsigned_of<W>(c)); }
};
template <class W> struct UpperMul {
    template <class T> T operator()(T a, T b) const { return T(W(a) * W(b) >> sizeof(T) * 8); }
};

#define COMPARISON(name, ...)                                             \
    struct name {                                                         \
        template <class T>                                                \
        bool operator()(T a, T b) const { return __VA_ARGS__; }           \
    };
COMPARISON(Eq, a == b)
COMPARISON(Ne, a < b || a > b)
COMPARISON(Lt, a < b)
COMPARISON(Le, a <= b)
COMPARISON(Gt, a > b)
COMPARISON(Ge, a >= b)
COMPARISON(Equ, !(a < b || a > b))
COMPARISON(Neu, !(a == b))
COMPARISON(Ltu, !(a >= b))
COMPARISON(Leu, !(a > b))
COMPARISON(Gtu, !(a <= b))
COMPARISON(Geu, !(a < b))
COMPARISON(Num, a == a && b == b)
COMPARISON(Nan, a != a || b != b)
template <class F> struct FlushedFirst { bool operator()(f32 a, f32 b) const { return F()(flush(a), flush(b)); } };

template <class To> struct Cast { template <class T> To operator()(T a) const { return To(a); } };
template <class H> struct Narrow { template <class T> u16 operator()(T a) const { return H::narrow(f64(a)); } };
template <class H> struct Wide { f32 operator()(u16 a) const { return f32(H::wide(a)); } };
struct Round { template <class T> T operator()(T a) const { return std::nearbyint(a); } };
struct Chop { template <class T> T operator()(T a) const { return std::trunc(a); } };
struct Floor { template <class T> T operator()(T a) const { return std::floor(a); } };
struct Ceil { template <class T> T operator()(T a) const { return std::ceil(a); } };
struct Saturate { f32 operator()(f32 a) const { return saturated(a); } };
struct ToTf32 { u32 operator()(f32 a) const { return to_tf32(a); } };
template <class To, class R> struct Whole { template <class T> To operator()(T a) const { return to_whole<To>(R()(a)); } };

// Both halves of a register alike; the pair of two float32, the first of which is the upper one.
template <class H, class F> struct Halves {
    template <class... P> Pair<H> operator()(P... p) const { return {F()(p.low...), F()(p.high...)}; }
};
template <class H> struct NarrowBoth { Pair<H> operator()(f32 a, f32 b) const { return {H(b), H(a)}; } };
