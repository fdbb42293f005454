// Who touched which byte, and when: races, shared memory that nobody wrote, a __restrict__ that lies.
//
// Two accesses are ordered where a barrier of the block, or of the warp for lanes of one warp, stands between them; blocks are
// where the one that came first went through a fence and an atomic, and the other through the atomic after that.
#pragma once

#include "values.h"

constexpr u32 SEVERAL = ~0u;

// Who: a thread of the launch, its warp; when: in which phase, of which there is a new one behind every barrier of a block.
struct Access {
    u32 thread, warp;  // from 1 on; 0: nobody yet
    u32 phase, warp_phase;
};

struct Byte {
    Access written, read;
    bool read_by_blocks;  // by several, which nothing orders before a later write
    bool constant;        // read by an instruction for what no kernel writes meanwhile
    bool on_its_way;      // a copy will arrive here
};

static struct {
    bool watches;
    Access now;
    std::vector<u32> block_of_phase;
    std::vector<std::vector<Byte>> global;  // of each range of addresses
    std::vector<Byte> shared;
    // By block, up to which phase its writes are out for all; of these, what stands behind an atomic; and what of that the
    // block that runs knows, by an atomic of its own (empty: nothing).
    std::vector<u32> fenced, published, seen;
} shadow;

inline u32 block_of(const Access& access) { return shadow.block_of_phase[access.phase]; }

// Whether nothing orders that access before the one that is made now.
inline bool races(const Access& before) {
    const Access& now = shadow.now;
    if (!before.thread || before.thread == now.thread) return false;
    if (before.phase == now.phase) return before.warp != now.warp || before.warp_phase == now.warp_phase;
    const u32 block = block_of(before);
    return block != block_of(now) && (shadow.seen.empty() || before.phase > shadow.seen[block]);
}

inline void note_read(Byte& byte) {
    Access& read = byte.read;
    const Access& now = shadow.now;
    if (read.thread && block_of(read) != block_of(now)) byte.read_by_blocks = true;
    const bool beside = read.thread && read.phase == now.phase && read.thread != now.thread;
    const bool same_warp = read.warp == now.warp && read.warp_phase == now.warp_phase;
    if (beside && !(read.warp == now.warp && !same_warp)) {
        read.thread = SEVERAL;
        if (read.warp != now.warp) read.warp = SEVERAL;
    } else {
        read = now;
    }
}

// What is wrong with a load, or null.
inline const char* watch_load(Byte& byte, bool constant) {
    if (byte.on_its_way) return "reads what a copy ahead has not brought yet";
    if (constant && byte.written.thread) return "reads, as what no one writes (ld.global.nc), what this kernel has written";
    if (races(byte.written)) return "reads what another thread writes, with no barrier between (race)";
    note_read(byte);
    byte.constant |= constant;
    return nullptr;
}

inline const char* watch_store(Byte& byte) {
    if (byte.on_its_way) return "writes to where a copy ahead will arrive";
    if (byte.constant) return "writes what this kernel reads as what no one writes (ld.global.nc)";
    if (races(byte.written)) return "writes what another thread writes, with no barrier between (race)";
    if (byte.read_by_blocks || races(byte.read)) {
        return "writes what another thread reads, with no barrier between (race)";
    }
    byte.written = shadow.now;
    return nullptr;
}

// ---- what orders accesses ------------------------------------------------------------------------------------------

inline void begin_phase(u32 block) {
    shadow.now.phase = static_cast<u32>(shadow.block_of_phase.size());
    shadow.block_of_phase.push_back(block);
}

inline void begin_shadow_block(u32 block, u32 shared_bytes) {
    if (!shadow.watches) return;
    begin_phase(block);
    shadow.shared.assign(shared_bytes, Byte{});
    shadow.seen.clear();
}

inline void begin_shadow(u32 blocks, const std::vector<u64>& sizes) {
    if (!shadow.watches) return;
    shadow.block_of_phase.assign(1, ALL);  // phase 0 is before all
    shadow.global.clear();
    for (u64 size : sizes) shadow.global.emplace_back(size, Byte{});
    shadow.fenced.assign(blocks, 0);
    shadow.published.assign(blocks, 0);
}

// Barriers let one thread fence for its block: what they ordered before it is out, too.
inline void watch_fence() {
    if (shadow.watches) shadow.fenced[block_of(shadow.now)] = shadow.now.phase;
}

inline void watch_atomic() {
    if (!shadow.watches) return;
    shadow.seen = shadow.published;
    shadow.published[block_of(shadow.now)] = shadow.fenced[block_of(shadow.now)];
}
