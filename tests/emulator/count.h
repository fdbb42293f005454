// Notes every access that kernels make to global and shared memory. The kernels are compiled with -fsanitize=thread, which
// calls a function before each load and store; here are bodies of ours for them, nothing of that library is linked.
//
// A pack is one access, whatever the compiler makes of it: pack_at announces it, and its parts are not noted again. A copy ahead
// is two, noted when it is begun: of 4, 8 or 16 bytes read, where it is inside, and as many written to shared memory. Matrices
// are read row by row, 16 bytes by each lane that says where one begins: the eight rows of a matrix are one wavefront at best,
// so four matrices take four. What ptx.h does in the names of those instructions is not seen.
#pragma once

#include <stdint.h>
#include <stdlib.h>

#include "block.h"

#define UNSEEN __attribute__((no_sanitize_thread))
#define AT_ITS_PLACE __attribute__((noinline))  // so that it returns to a place of its own for each use in the text

namespace emulator {

constexpr unsigned int COUNTED_BLOCKS = 4;  // the first ones: all are alike

// tests/static/traffic.py reads these.
struct Access {
    uint64_t place;   // address
    uint64_t site;    // instruction
    uint32_t thread;  // block * MOST_THREADS + thread
    uint32_t waits;   // that its block had behind it
    uint16_t bytes;
    uint8_t write, shared;
    uint32_t unused;
};

struct Expected {
    uint64_t place, site;
    uint32_t thread;
    int bytes, left;  // left: bytes whose access is still to come
};

static struct {
    bool on;
    int ranges;
    const uint64_t *firsts, *lasts;  // of global memory
    Access* accesses;
    uint64_t count, room;
    Expected expected[64];
    int next;
} counter;

UNSEEN inline uint32_t thread_number() { return blockIdx.x * MOST_THREADS + block.current; }

UNSEEN inline bool is_shared(uint64_t place) {
    const uint64_t dynamic = reinterpret_cast<uint64_t>(dynamic_memory());
    return (place >= reinterpret_cast<uint64_t>(__start_emulator_shared) &&
            place < reinterpret_cast<uint64_t>(__stop_emulator_shared)) ||
           (place >= dynamic && place < dynamic + block.dynamic_bytes);
}

UNSEEN inline bool is_global(uint64_t place) {
    for (int range = 0; range < counter.ranges; ++range) {
        if (place >= counter.firsts[range] && place < counter.lasts[range]) return true;
    }
    return false;
}

UNSEEN inline void note(uint64_t place, uint64_t site, int bytes, bool write, bool shared) {
    if (counter.count == counter.room) {
        counter.room = counter.room ? 2 * counter.room : 1 << 16;
        counter.accesses = static_cast<Access*>(realloc(counter.accesses, counter.room * sizeof(Access)));
    }
    counter.accesses[counter.count++] = {
        place, site, thread_number(), block.waits, static_cast<uint16_t>(bytes), static_cast<uint8_t>(write),
        static_cast<uint8_t>(shared), 0};
}

UNSEEN inline void expect(const void* address, int bytes, const void* site) {
    if (!counter.on) return;
    counter.expected[counter.next++ % 64] = {
        reinterpret_cast<uint64_t>(address), reinterpret_cast<uint64_t>(site), thread_number(), bytes, bytes};
}

// What an instruction moves as a whole, there where C++ has no word for it.
UNSEEN inline void moved(const void* address, int bytes, bool write, const void* site) {
    if (!counter.on || blockIdx.x >= COUNTED_BLOCKS) return;
    const uint64_t place = reinterpret_cast<uint64_t>(address);
    const bool shared = is_shared(place);
    if (shared || is_global(place)) note(place, reinterpret_cast<uint64_t>(site), bytes, write, shared);
}

UNSEEN inline void accessed(const void* address, int bytes, bool write, const void* site) {
    if (!counter.on) return;
    if (blockIdx.x >= COUNTED_BLOCKS) return;
    const uint64_t place = reinterpret_cast<uint64_t>(address);
    const bool shared = is_shared(place);
    if (!shared && !is_global(place)) return;
    for (Expected& pack : counter.expected) {
        if (!pack.left || pack.thread != thread_number()) continue;
        if (place < pack.place || place + bytes > pack.place + pack.bytes) continue;
        if (pack.left == pack.bytes) note(pack.place, pack.site, pack.bytes, write, shared);
        pack.left -= bytes < pack.left ? bytes : pack.left;
        return;
    }
    note(place, reinterpret_cast<uint64_t>(site), bytes, write, shared);
}

}  // namespace emulator

#define EMULATOR_SEEN(n)                                                                                             \
    UNSEEN void __tsan_read##n(void* p) { emulator::accessed(p, n, false, __builtin_return_address(0)); }            \
    UNSEEN void __tsan_write##n(void* p) { emulator::accessed(p, n, true, __builtin_return_address(0)); }            \
    UNSEEN void __tsan_unaligned_read##n(void* p) { emulator::accessed(p, n, false, __builtin_return_address(0)); }  \
    UNSEEN void __tsan_unaligned_write##n(void* p) { emulator::accessed(p, n, true, __builtin_return_address(0)); }

extern "C" {
EMULATOR_SEEN(1)
EMULATOR_SEEN(2)
EMULATOR_SEEN(4)
EMULATOR_SEEN(8)
EMULATOR_SEEN(16)
UNSEEN void __tsan_read_range(void* p, unsigned long n) { emulator::accessed(p, n, false, __builtin_return_address(0)); }
UNSEEN void __tsan_write_range(void* p, unsigned long n) { emulator::accessed(p, n, true, __builtin_return_address(0)); }
UNSEEN void __tsan_func_entry(void*) {}
UNSEEN void __tsan_func_exit() {}
UNSEEN void __tsan_init() {}
UNSEEN void __tsan_vptr_update(void**, void*) {}
UNSEEN void __tsan_vptr_read(void**) {}
UNSEEN unsigned char __tsan_atomic8_load(const volatile unsigned char* p, int) { return *p; }  // guards of statics

__attribute__((visibility("default"))) UNSEEN void emulator_count(int ranges, const uint64_t* firsts, const uint64_t* lasts) {
    emulator::counter.on = true;
    emulator::counter.count = 0;
    emulator::counter.ranges = ranges;
    emulator::counter.firsts = firsts;
    emulator::counter.lasts = lasts;
    for (emulator::Expected& pack : emulator::counter.expected) pack.left = 0;
}

__attribute__((visibility("default"))) UNSEEN uint64_t emulator_counted(emulator::Access** accesses) {
    emulator::counter.on = false;
    *accesses = emulator::counter.accesses;
    return emulator::counter.count;
}
}
