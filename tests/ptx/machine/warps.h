// Instructions that a warp carries out together: shuffles, matrices of 8 x 8 from shared memory, products on tensor cores.
//
// Which lane holds which value of a matrix is the PTX ISA's: "Warp-level matrix instructions", figures of fragments.
#pragma once

#include "halves.h"
#include "memory.h"

inline void warp_barrier(Warp& w, const Instruction&) { ++w.phase; }

// ---- shuffles ----------------------------------------------------------------------------------------------------

enum class Shuffle { up, down, butterfly, index };

template <Shuffle MODE>
inline int source_of(int lane, u32 b, u32 c, bool& inside) {
    const int by = b & 31, clamp = c & 31, segment = c >> 8 & 31;
    const int most = (lane & segment) | (clamp & ~segment), least_lane = lane & segment;
    int source = 0;
    if (MODE == Shuffle::up) source = lane - by, inside = source >= most;
    if (MODE == Shuffle::down) source = lane + by, inside = source <= most;
    if (MODE == Shuffle::butterfly) source = lane ^ by, inside = source <= most;
    if (MODE == Shuffle::index) source = least_lane | (by & ~segment), inside = source <= most;
    return inside ? source : lane;
}

// Operands: result, whether the source was inside (if asked for), value, which lane, bounds. A lane that takes no part gives
// NaN bytes.
template <Shuffle MODE>
inline void shuffle(Warp& w, const Instruction& in) {
    const int first = in.operands - 4;  // of a, b, c and the mask
    u32 given[LANES];
    for (int lane = 0; lane < LANES; ++lane) given[lane] = w.mask >> lane & 1 ? values<u32>(w, in, first)[lane] : ALL;
    u32 b[LANES], c[LANES];
    memcpy(b, values<u32>(w, in, first + 1), sizeof b), memcpy(c, values<u32>(w, in, first + 2), sizeof c);
    each(w, [&](int lane) {
        bool inside = false;
        const int source = source_of<MODE>(lane, b[lane], c[lane], inside);
        values<u32>(w, in, 0)[lane] = given[source];
        if (first == 2) values<u8>(w, in, 1)[lane] = inside;
    });
}

// ---- matrices ------------------------------------------------------------------------------------------------------

// COUNT matrices of 8 rows of 16 bytes; lane 8 m + r has the address of row r of matrix m, each lane gets two halves of each.
template <int COUNT, bool TRANSPOSED>
inline void load_matrices(Warp& w, const Instruction& in) {
    u16 held[COUNT][8][8];
    for (int lane = 0; lane < 8 * COUNT; ++lane) {
        const u8* row = place<Space::shared>(lane, address_in(w, in, COUNT, lane), 16, false);
        memcpy(held[lane / 8][lane % 8], row, 16);
    }
    for (int matrix = 0; matrix < COUNT; ++matrix) {
        for (int lane = 0; lane < LANES; ++lane) {
            const int line = lane / 4, pair = lane % 4 * 2;
            const auto& from = held[matrix];
            const u32 low = TRANSPOSED ? from[pair][line] : from[line][pair];
            const u32 high = TRANSPOSED ? from[pair + 1][line] : from[line][pair + 1];
            values<u32>(w, in, matrix)[lane] = low | high << 16;
        }
    }
}

// ---- products ------------------------------------------------------------------------------------------------------

struct Tf32 {
    static constexpr int PACKED = 1;  // values in a register
    static f64 value(u32 held, int) { return bits<f32>(held & ~0x1FFFu); }  // the 13 lowest bits count for nothing
};

template <class H>
struct Packed {
    static constexpr int PACKED = 2;
    static f64 value(u32 held, int number) { return H::wide(u16(held >> 16 * number)); }
};

// d = c + a b: a is 16 x K, b K x 8, sums are float32. The order and the roundings of a sum are the hardware's: here it is
// exact and rounded once; with noise each addition is cut off, from the last one on.
inline f32 add_products(f32 c, const f64* a, const f64* b, int K) {
    if (!noise) {
        f64 sum = c;
        for (int k = 0; k < K; ++k) sum += a[k] * b[k];
        return f32(sum);
    }
    f32 sum = c;
    for (int k = K - 1; k >= 0; --k) sum = sum_toward(FE_TOWARDZERO, sum, f32(a[k] * b[k]));
    return sum;
}

// A register of a holds values side by side of a row: of rows g and g + 8 first, then those 4 registers' worth of columns on.
// A register of b holds values below each other of a column; d and c hold two neighbours of row g, then of row g + 8.
template <class T, int K>
inline void multiply_matrices(Warp& w, const Instruction& in) {
    constexpr int P = T::PACKED, DEPTH = 4 * P, A = K / P / 2, B = K / P / 4;  // columns of a step, registers
    f64 a[16][K], b[8][K];
    for (int lane = 0; lane < LANES; ++lane) {
        const int group = lane / 4, first = lane % 4 * P;
        for (int part = 0; part < P; ++part) {
            for (int held = 0; held < A; ++held) {
                const u32 value = values<u32>(w, in, 4 + held)[lane];
                a[group + held % 2 * 8][held / 2 * DEPTH + first + part] = T::value(value, part);
            }
            for (int held = 0; held < B; ++held) {
                const u32 value = values<u32>(w, in, 4 + A + held)[lane];
                b[group][held * DEPTH + first + part] = T::value(value, part);
            }
        }
    }
    for (int lane = 0; lane < LANES; ++lane) {
        for (int held = 0; held < 4; ++held) {
            const int row = lane / 4 + held / 2 * 8, column = lane % 4 * 2 + held % 2;
            const f32 c = values<f32>(w, in, 4 + A + B + held)[lane];
            values<f32>(w, in, held)[lane] = add_products(c, a[row], b[column], K);
        }
    }
}
