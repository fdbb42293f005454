// What the machine computes on: numbers of every PTX type, warps of 32 lanes with their registers, instructions.
#pragma once

#include <stdint.h>
#include <string.h>

#include <string>
#include <vector>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef float f32;
typedef double f64;

constexpr int LANES = 32;
constexpr int MOST_WARPS = 32;  // of a block
constexpr u32 ALL = ~0u;

struct Fault {
    std::string what;
    int line = 0;  // of the PTX
};

template <class To, class From>
inline To bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "the same bits");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}

// ---- instructions ------------------------------------------------------------------------------------------------

struct Warp;
struct Instruction;
using Handler = void (*)(Warp&, const Instruction&);

enum class Kind { plain, branch, end, barrier, collective, aligned };

constexpr int MOST_OPERANDS = 16;

struct Instruction {
    Handler run;
    Kind kind;
    int guard;            // the operand of the predicate that lets a lane take part, see `at`; NOBODY: none
    bool unless;          // it does where the predicate is false
    int line;             // of the PTX
    s64 number;           // target of a branch, bytes behind an address, mask, how a predicate is combined
    int operands;
    int at[MOST_OPERANDS];    // bytes from the registers of a warp; ~bytes from the constants
    u8 size[MOST_OPERANDS];   // bytes of a lane's value there
};

constexpr int NOBODY = 0x7FFFFFFF;

// ---- warps -------------------------------------------------------------------------------------------------------

// A copy from global to shared memory that has begun and has not arrived.
struct Copy {
    u64 place, from;
    u32 bytes, read;  // the rest are zeros
    int group;
};

enum class State { running, at_block_barrier, at_warp_barrier, ended };

struct Warp {
    u32 mask;             // lanes that take part in this instruction
    u32 there;            // lanes that there are
    int number;           // of its block
    u32 phase;            // how many warp barriers it passed
    const Instruction* now;
    char* registers;
    const char* constants;
    int pc[LANES];
    State state[LANES];
    std::vector<Copy> copies[LANES];
    int groups[LANES];    // of copies that a lane ended
};

// The values of all lanes in an operand.
inline char* operand(const Warp& w, const Instruction& in, int number) {
    const int at = in.at[number];
    return at >= 0 ? w.registers + at : const_cast<char*>(w.constants) + ~at;
}

template <class T>
inline T* values(const Warp& w, const Instruction& in, int number) {
    return reinterpret_cast<T*>(operand(w, in, number));
}

// Calls body(lane) for the lanes that take part.
template <class Body>
inline void each(const Warp& w, Body body) {
    if (w.mask == ALL) {
        for (int lane = 0; lane < LANES; ++lane) body(lane);
    } else {
        for (u32 left = w.mask; left; left &= left - 1) body(__builtin_ctz(left));
    }
}

// A lane's value in an operand that may be wider than its type, and back: then it is extended.
template <class T>
inline T get(const Warp& w, const Instruction& in, int number, int lane) {
    T value;
    memcpy(&value, operand(w, in, number) + lane * in.size[number], sizeof value);
    return value;
}

template <class T>
inline void put(const Warp& w, const Instruction& in, int number, int lane, T value) {
    char* to = operand(w, in, number) + lane * in.size[number];
    if (in.size[number] == sizeof value) {
        memcpy(to, &value, sizeof value);
    } else {
        const s64 wide = static_cast<s64>(value);
        memcpy(to, &wide, in.size[number]);
    }
}
