// cuda/ptx.cuh on a CPU. A copy ahead arrives as late as it may, when it is waited for: until then NaN bytes are in its
// place, so that all who look too early, or still look at what was there, see them.
#pragma once

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

inline void arrive(const Copy& copy) {
    if (copy.from) memcpy(copy.place, copy.from, copy.bytes);
    else memset(copy.place, 0, copy.bytes);
}

}  // namespace emulator

template <typename T>
T* dynamic_shared() {
    return reinterpret_cast<T*>(emulator::dynamic_memory());
}

template <int BYTES, typename T>
void copy_ahead(T* place, const T* from, bool inside = true) {
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "a copy moves 4, 8 or 16 bytes");
    if (!emulator::may_copy(place, from, BYTES, inside)) return;
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
