// cuda/ptx.cuh on a CPU. A copy ahead arrives as late as it may, when it is waited for: until then NaN bytes are in its
// place, so that all who look too early, or still look at what was there, see them.
#pragma once

#include <math.h>

#include <set>

#include "block.h"

#define EMULATED

namespace emulator {

inline void refuse(const std::string& what) {
    if (block.wrong.empty()) block.wrong = "thread " + std::to_string(block.current) + " " + what;
}

inline bool in_shared(const char* place, int bytes) {
    const char* dynamic = dynamic_memory();
    return (place >= __start_emulator_shared && place + bytes <= __stop_emulator_shared) ||
           (place >= dynamic && place + bytes <= dynamic + block.dynamic_bytes);
}

// A launch fails whose threads copy between other places than a GPU can; they go on without the copy.
inline bool may_copy(const void* place, const void* from, int bytes, bool inside) {
    const uintptr_t to = reinterpret_cast<uintptr_t>(place), source = reinterpret_cast<uintptr_t>(from);
    if (!in_shared(static_cast<const char*>(place), bytes)) {
        refuse("copies ahead to what is no shared memory of its block");
    } else if (to % bytes || (inside && source % bytes)) {
        const uintptr_t behind = to % bytes ? to % bytes : source % bytes;
        refuse("copies ahead " + std::to_string(bytes) + " bytes at once " + std::to_string(behind) +
               " bytes behind a multiple of that");
    } else {
        return true;
    }
    return false;
}

UNSEEN inline void arrive(const Copy& copy) {
    if (copy.from) memcpy(copy.place, copy.from, copy.bytes);
    else memset(copy.place, 0, copy.bytes);
}

}  // namespace emulator

template <typename T>
T* dynamic_shared() {
    return reinterpret_cast<T*>(emulator::dynamic_memory());
}

template <int BYTES, typename T>
AT_ITS_PLACE UNSEEN void copy_ahead(T* place, const T* from, bool inside = true) {
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "a copy moves 4, 8 or 16 bytes");
    if (!emulator::may_copy(place, from, BYTES, inside)) return;
    if (inside) emulator::moved(from, BYTES, false, __builtin_return_address(0));
    emulator::moved(place, BYTES, true, __builtin_return_address(0));
    memset(static_cast<void*>(place), 0xFF, BYTES);
    emulator::Thread& thread = emulator::block.thread[emulator::block.current];
    thread.copies.push_back({place, inside ? from : nullptr, BYTES, thread.groups});
}

inline void commit() { ++emulator::block.thread[emulator::block.current].groups; }

template <int NEWEST>
void wait_for() {
    emulator::Thread& thread = emulator::block.thread[emulator::block.current];
    size_t kept = 0;
    for (const emulator::Copy& copy : thread.copies) {
        if (copy.group < thread.groups - NEWEST) emulator::arrive(copy);
        else thread.copies[kept++] = copy;
    }
    thread.copies.resize(kept);
}

// ---- tensor cores: all lanes of a warp leave what they have, the one that comes last does the work for all --------------

namespace emulator {

// Lanes that wait for each other wait at the same place of the text.
inline const char* site_of(const char* what, const char* file, int line) {
    static std::set<std::string> known;
    return known.insert(std::string(what) + " at " + file + ":" + std::to_string(line)).first->c_str();
}

inline void together(const char* site, void (*work)(void* const*), void* operands) {
    Thread& thread = block.thread[block.current];
    thread.mask = 0xFFFFFFFFu;
    thread.source = block.current % WARP;
    thread.together = work;
    thread.operands = operands;
    wait(State::at_warp_barrier, site);
}

inline bool may_load(const void* row) {
    const uintptr_t at = reinterpret_cast<uintptr_t>(row);
    if (!in_shared(static_cast<const char*>(row), 16)) refuse("loads a matrix from what is no shared memory of its block");
    else if (at % 16) refuse("loads a row of a matrix " + std::to_string(at % 16) + " bytes behind a multiple of 16");
    else return true;
    return false;
}

struct Row {
    const char* at;
    unsigned int* into;
};

UNSEEN inline unsigned int half_at(const char* row, int number) {
    unsigned short value;
    memcpy(&value, row + 2 * number, sizeof value);
    return value;
}

template <int COUNT, bool TRANSPOSED>
void load_rows(void* const* lanes) {
    const auto of = [&](int lane) { return *static_cast<Row*>(lanes[lane]); };
    const auto half = [&](int matrix, int row, int number) { return half_at(of(8 * matrix + row).at, number); };
    for (int lane = 0; lane < WARP; ++lane) {
        for (int matrix = 0; matrix < COUNT; ++matrix) {
            const int g = lane / 4, t = lane % 4 * 2;
            of(lane).into[matrix] = TRANSPOSED ? half(matrix, t, g) | half(matrix, t + 1, g) << 16
                                               : half(matrix, g, t) | half(matrix, g, t + 1) << 16;
        }
    }
}

template <bool TRANSPOSED, int COUNT>
void load(const char* site, unsigned int (&into)[COUNT], const void* row) {
    static const char zeros[16] = {};
    const bool asked = block.current % WARP < 8 * COUNT;  // other lanes' rows are not looked at
    Row mine = {!asked || may_load(row) ? static_cast<const char*>(row) : zeros, into};
    if (asked) moved(mine.at, 16, false, site);
    together(site, load_rows<COUNT, TRANSPOSED>, &mine);
}

inline float as_float(unsigned int bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

}  // namespace emulator

struct Tf32;
struct Float16;
struct Bfloat16;

namespace emulator {

template <class T>
float value_of(unsigned int held, int part);
template <>
inline float value_of<Tf32>(unsigned int held, int) { return as_float(held & 0xFFFFE000u); }
template <>
inline float value_of<Bfloat16>(unsigned int held, int part) { return as_float(part ? held & 0xFFFF0000u : held << 16); }
template <>
inline float value_of<Float16>(unsigned int held, int part) {
    const unsigned int half = part ? held >> 16 : held & 0xFFFF, magnitude = half & 0x7FFF;
    const float value = magnitude < 0x7C00 ? as_float(magnitude << 13) * 0x1p112f : magnitude == 0x7C00 ? INFINITY : NAN;
    return half & 0x8000 ? -value : value;
}

struct Factors {
    float* sum;
    const unsigned int *a, *b;
};

// PARTS values in a register; sums in float32, in order.
template <class T, int PARTS, int DEPTH>
void multiply(void* const* lanes) {
    const auto of = [&](int lane) { return static_cast<Factors*>(lanes[lane]); };
    for (int lane = 0; lane < WARP; ++lane) {
        for (int result = 0; result < 4; ++result) {
            const int row = lane / 4 + result / 2 * 8, column = lane % 4 * 2 + result % 2;
            float& sum = of(lane)->sum[result];
            for (int k = 0; k < DEPTH; ++k) {
                const int place = k / PARTS, part = k % PARTS;
                const unsigned int a = of(row % 8 * 4 + place % 4)->a[row / 8 + place / 4 * 2];
                const unsigned int b = of(column * 4 + place % 4)->b[place / 4];
                sum += value_of<T>(a, part) * value_of<T>(b, part);
            }
        }
    }
}

}  // namespace emulator

#define SAID_WHERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

template <int COUNT>
void load_matrices(unsigned int (&into)[COUNT], const void* row, SAID_WHERE) {
    emulator::load<false>(emulator::site_of("load_matrices", file, line), into, row);
}
template <int COUNT>
void load_transposed(unsigned int (&into)[COUNT], const void* row, SAID_WHERE) {
    emulator::load<true>(emulator::site_of("load_transposed", file, line), into, row);
}

inline unsigned int to_tf32(float value) {
    unsigned int bits;
    memcpy(&bits, &value, sizeof bits);
    if (value != value) return 0x7FFFFFFFu;
    return isinf(value) ? bits : (bits + 0x1000u) & 0xFFFFE000u;
}

template <class T, int A, int B>
void multiply_add(T, float (&sum)[4], const unsigned int (&a)[A], const unsigned int (&b)[B], SAID_WHERE) {
    constexpr bool tf32 = std::is_same_v<T, Tf32>;
    static_assert(A == 2 * B && (B == 2 || (B == 1 && !tf32)), "there are products of these shapes");
    emulator::Factors mine = {sum, a, b};
    emulator::together(
        emulator::site_of("multiply_add", file, line), emulator::multiply<T, tf32 ? 1 : 2, (tf32 ? 4 : 8) * B>, &mine);
}
