// Memory as a kernel sees it: the arrays that it was given, the shared memory of its block, its parameters.
//
// Every access must lie in one of these and be aligned; see shadow.h for what is watched beside.
#pragma once

#include <algorithm>

#include "shadow.h"

struct Range {
    u64 first, after;
};

constexpr u64 SHARED_WINDOW = 1ull << 60;  // where shared memory begins among generic addresses

static struct {
    std::vector<Range> arrays;
    size_t last;                  // array, as the next access is mostly there, too
    std::vector<u8> parameters;
    std::vector<u8> shared;       // 16 bytes more than that: it begins at `shared_start`
    u8* shared_start;
    u32 shared_bytes;
    u32 block, threads;
    std::vector<int> lanes;       // in which order the lanes of a warp come where they write
    const Warp* warp;             // that runs
} memory;

enum class Space { global, shared, parameters, generic };

inline std::string where(int lane) {
    const u32 thread = memory.warp->number * LANES + lane;
    return "thread " + std::to_string(thread);
}

[[noreturn]] inline void refuse(int lane, const std::string& what) { throw Fault{where(lane) + " " + what}; }

// How far a place is from an array, 0 inside.
inline u64 distance(const Range& range, u64 address) {
    return address < range.first ? range.first - address : address >= range.after ? address - range.after + 1 : 0;
}

[[noreturn]] inline void refuse_place(int lane, const std::string& what, u64 address, u32 size) {
    std::string text = what + ": " + std::to_string(size) + " bytes";
    const auto nearest = std::min_element(memory.arrays.begin(), memory.arrays.end(), [&](const Range& a, const Range& b) {
        return distance(a, address) < distance(b, address);
    });
    if (nearest != memory.arrays.end()) {
        text += ", " + std::to_string(s64(address - nearest->first)) + " behind the beginning of an array of " +
                std::to_string(nearest->after - nearest->first);
    }
    refuse(lane, text);
}

inline void now_is(int lane) {
    const Warp& warp = *memory.warp;
    shadow.now.thread = memory.block * memory.threads + warp.number * LANES + lane + 1;
    shadow.now.warp = memory.block * MOST_WARPS + warp.number + 1;
    shadow.now.warp_phase = warp.phase;
}

inline void watch(int lane, Byte* bytes, u32 size, bool writes, bool constant) {
    now_is(lane);
    for (u32 byte = 0; byte < size; ++byte) {
        const char* wrong = writes ? watch_store(bytes[byte]) : watch_load(bytes[byte], constant);
        if (wrong) refuse(lane, wrong);
    }
}

inline size_t array_of(int lane, u64 address, u32 size, bool writes) {
    const auto inside = [&](const Range& range) { return range.first <= address && address + size <= range.after; };
    if (memory.last < memory.arrays.size() && inside(memory.arrays[memory.last])) return memory.last;
    for (size_t array = 0; array < memory.arrays.size(); ++array) {
        if (inside(memory.arrays[array])) return memory.last = array;
    }
    refuse_place(lane, std::string(writes ? "writes" : "reads") + " outside of the arrays of the launch", address, size);
}

inline void check_aligned(int lane, u64 address, u32 size) {
    if (address % size) {
        refuse(lane, "moves " + std::to_string(size) + " bytes at once " + std::to_string(address % size) +
                         " bytes behind a multiple of that");
    }
}

inline u8* global_at(int lane, u64 address, u32 size, bool writes, bool constant = false) {
    const size_t array = array_of(lane, address, size, writes);
    if (shadow.watches) {
        watch(lane, shadow.global[array].data() + (address - memory.arrays[array].first), size, writes, constant);
    }
    return reinterpret_cast<u8*>(address);
}

inline Byte* shared_bytes_at(int lane, u64 address, u32 size) {
    if (address + size > memory.shared_bytes) {
        refuse(lane, "reaches behind its " + std::to_string(memory.shared_bytes) + " bytes of shared memory: " +
                         std::to_string(size) + " at " + std::to_string(address));
    }
    return shadow.watches ? shadow.shared.data() + address : nullptr;
}

inline u8* shared_at(int lane, u64 address, u32 size, bool writes) {
    if (Byte* bytes = shared_bytes_at(lane, address, size)) {
        for (u32 byte = 0; byte < size; ++byte) {
            if (!writes && !bytes[byte].written.thread && !bytes[byte].on_its_way) {
                refuse(lane, "reads shared memory that nobody wrote");
            }
        }
        watch(lane, bytes, size, writes, false);
    }
    return memory.shared_start + address;
}

// The place of an access that is allowed; throws Fault for any other.
template <Space SPACE>
inline u8* place(int lane, u64 address, u32 size, bool writes, bool constant = false) {
    check_aligned(lane, address, size);
    if constexpr (SPACE == Space::global) return global_at(lane, address, size, writes, constant);
    if constexpr (SPACE == Space::shared) return shared_at(lane, address & 0xFFFFFFFF, size, writes);
    if constexpr (SPACE == Space::generic) {
        if (address >= SHARED_WINDOW) return shared_at(lane, address - SHARED_WINDOW, size, writes);
        return global_at(lane, address, size, writes);
    }
    if (writes || address + size > memory.parameters.size()) refuse(lane, "reaches behind its parameters");
    return memory.parameters.data() + address;
}

// ---- instructions --------------------------------------------------------------------------------------------------

// An operand that is an address of 4 or 8 bytes, and what stands behind it in the brackets.
inline u64 address_in(const Warp& w, const Instruction& in, int number, int lane) {
    return (in.size[number] == 4 ? get<u32>(w, in, number, lane) : get<u64>(w, in, number, lane)) + in.number;
}

// The address is the last operand; those before it get the values. A value is extended to a wider register.
template <Space SPACE, class T, bool CONSTANT = false>
inline void load(Warp& w, const Instruction& in) {
    const int count = in.operands - 1;
    each(w, [&](int lane) {
        const u8* from = place<SPACE>(lane, address_in(w, in, count, lane), sizeof(T) * count, false, CONSTANT);
        for (int number = 0; number < count; ++number) {
            T value;
            memcpy(&value, from + number * sizeof(T), sizeof value);
            put(w, in, number, lane, value);
        }
    });
}

// The address is the first operand; of a wider register the low bytes are stored.
template <Space SPACE, class T>
inline void store(Warp& w, const Instruction& in) {
    const int count = in.operands - 1;
    for (int lane : memory.lanes) {
        if (!(w.mask >> lane & 1)) continue;
        u8* to = place<SPACE>(lane, address_in(w, in, 0, lane), sizeof(T) * count, true);
        for (int number = 0; number < count; ++number) {
            const T value = get<T>(w, in, number + 1, lane);
            memcpy(to + number * sizeof(T), &value, sizeof value);
        }
    }
}

// Operands: what was there, address, value. It orders blocks and is no race with itself.
template <class T>
inline void atomic_add(Warp& w, const Instruction& in) {
    for (int lane : memory.lanes) {
        if (!(w.mask >> lane & 1)) continue;
        const u64 address = address_in(w, in, 1, lane);
        check_aligned(lane, address, sizeof(T));
        array_of(lane, address, sizeof(T), true);
        now_is(lane);
        watch_atomic();
        T before;
        memcpy(&before, reinterpret_cast<u8*>(address), sizeof before);
        const T after = before + get<T>(w, in, 2, lane);
        memcpy(reinterpret_cast<u8*>(address), &after, sizeof after);
        put(w, in, 0, lane, before);
    }
}

inline void fence(Warp&, const Instruction&) { watch_fence(); }

// ---- copies from global to shared memory that arrive when they are waited for, and NaN bytes until then ---------------

inline void mark_copy(Byte* bytes, u32 size, bool on_its_way) {
    for (u32 byte = 0; bytes && byte < size; ++byte) bytes[byte].on_its_way = on_its_way;
}

// Operands: where to, where from, bytes, and bytes that are read where there are fewer; the others are zeros.
inline void copy_ahead(Warp& w, const Instruction& in) {
    each(w, [&](int lane) {
        const u64 to_place = get<u32>(w, in, 0, lane) + u64(in.number), from = get<u64>(w, in, 1, lane);
        const u32 bytes = get<u32>(w, in, 2, lane), read = in.operands > 3 ? get<u32>(w, in, 3, lane) : bytes;
        const Copy copy = {to_place, from, bytes, read, w.groups[lane]};
        if (copy.read > copy.bytes) refuse(lane, "copies ahead more bytes than there is room for");
        u8* to = place<Space::shared>(lane, copy.place, copy.bytes, true);
        check_aligned(lane, copy.from, copy.bytes);
        if (copy.read) global_at(lane, copy.from, copy.read, false);
        memset(to, 0xFF, copy.bytes);
        mark_copy(shared_bytes_at(lane, copy.place, copy.bytes), copy.bytes, true);
        w.copies[lane].push_back(copy);
    });
}

inline void arrive(int lane, const Copy& copy) {
    mark_copy(shared_bytes_at(lane, copy.place, copy.bytes), copy.bytes, false);
    u8* to = place<Space::shared>(lane, copy.place, copy.bytes, true);
    memset(to, 0, copy.bytes);
    if (copy.read) memcpy(to, global_at(lane, copy.from, copy.read, false), copy.read);
}

inline void end_group(Warp& w, const Instruction&) {
    each(w, [&](int lane) { ++w.groups[lane]; });
}

// All groups but the newest `kept` ones.
inline void wait_for_copies(Warp& w, int kept) {
    each(w, [&](int lane) {
        std::vector<Copy>& copies = w.copies[lane];
        const auto late = std::stable_partition(copies.begin(), copies.end(), [&](const Copy& copy) {
            return copy.group < w.groups[lane] - kept;
        });
        for (auto copy = copies.begin(); copy != late; ++copy) arrive(lane, *copy);
        copies.erase(copies.begin(), late);
    });
}

inline void wait_for_groups(Warp& w, const Instruction& in) { wait_for_copies(w, get<u32>(w, in, 0, 0)); }

inline void wait_for_all(Warp& w, const Instruction&) { wait_for_copies(w, -1); }
