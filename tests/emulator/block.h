// Runs the blocks of a launch: the threads of a block one after another, each to its end or to its next barrier.
//
// Kernels without barriers need one fiber for all threads of a block; a thread that waits at a barrier keeps its fiber
// and the rest go on in another one.
#pragma once

#include <string.h>

#include <string>
#include <utility>
#include <vector>

#include "fibers.h"

namespace emulator {

struct Index {
    unsigned int x = 0, y = 0, z = 0;
};

// A copy from global to shared memory that was begun and has not arrived.
struct Copy {
    void* place;
    const void* from;  // null: zeros
    int bytes;
    int group;
};

enum class State { unstarted, running, at_block_barrier, at_warp_barrier, released, ended };

struct Thread {
    State state;
    const char* site;          // where it waits
    Fiber* fiber;              // in which it waits
    unsigned int mask;         // lanes that it waits for at a warp barrier
    int source;                // lane whose value it wants from a shuffle
    unsigned long long value;  // what it gives to a shuffle, then what it gets
    void (*together)(void* const* lanes);  // what the warp does when all have come, or nothing
    void* operands;            // this thread's, for that
    std::vector<Copy> copies;  // that it began, the oldest first
    int groups;                // of copies that it ended
};

constexpr int WARP = 32;
constexpr int MOST_THREADS = 1024;

}  // namespace emulator

static emulator::Index threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {

struct Kernel {
    const char* name;
    void (*invoke)(void** arguments);
    std::string signature;
    int most_threads;
};

// ---- the block that runs ---------------------------------------------------------------------------------------

static struct {
    const Kernel* kernel;
    void** arguments;
    int threads;
    int next;                 // of `order`, the first thread that has not started
    std::vector<int> order;   // in which threads start and go on
    Thread thread[MOST_THREADS];
    int current;              // thread
    unsigned int waits;       // how often all threads that could go on had to wait
    std::string wrong;        // the first thing that a GPU would refuse
    int dynamic_bytes;        // of shared memory, as the launch said
    Fiber* running;
    Context scheduler;
    std::vector<Fiber*> idle;
} block;

__attribute__((section("emulator_shared"), used)) static char shared_memory_exists[16];
extern "C" __attribute__((visibility("hidden"))) char __start_emulator_shared[];
extern "C" __attribute__((visibility("hidden"))) char __stop_emulator_shared[];

constexpr int GUARD_BYTES = 4096;

// The dynamic shared memory of the block, behind it so many NaN bytes more.
inline char* dynamic_memory() {
    alignas(256) static char memory[256 * 1024 + GUARD_BYTES];
    return memory;
}

inline bool guard_is_whole() {
    const char* guard = dynamic_memory() + block.dynamic_bytes;
    for (int byte = 0; byte < GUARD_BYTES; ++byte) {
        if (guard[byte] != '\xFF') return false;
    }
    return true;
}

inline void enter(int thread) {
    block.current = thread;
    block.thread[thread].state = State::running;
    threadIdx.x = static_cast<unsigned int>(thread);
}

// What every fiber does: start threads while there are any. A thread that waited ends in the fiber where it waited.
inline void run_threads() {
    for (;;) {
        while (block.next < block.threads) {
            enter(block.order[block.next++]);
            block.kernel->invoke(block.arguments);
            block.thread[block.current].state = State::ended;
        }
        Fiber* self = block.running;
        block.idle.push_back(self);
        self->context.switch_to(block.scheduler);
    }
}

inline void resume(Fiber* fiber) {
    block.running = fiber;
    block.scheduler.switch_to(fiber->context);
}

inline Fiber* idle_fiber() {
    if (block.idle.empty()) return new_fiber(run_threads);
    Fiber* fiber = block.idle.back();
    block.idle.pop_back();
    return fiber;
}

__attribute__((noinline)) inline Thread& wait(State state, const char* site) {
    Thread& thread = block.thread[block.current];
    thread.state = state;
    thread.site = site;
    thread.fiber = block.running;
    thread.fiber->context.switch_to(block.scheduler);
    return thread;
}

// ---- who may go on -----------------------------------------------------------------------------------------------

inline bool same_warp_barrier(const Thread& one, const Thread& other) {
    return other.state == State::at_warp_barrier && other.mask == one.mask && !strcmp(other.site, one.site);
}

// Whether all lanes that `first`'s thread waits for wait with it. Threads that ended, or that there are not, do not count.
inline bool warp_complete(int warp, const Thread& first) {
    for (int lane = 0; lane < WARP && warp + lane < block.threads; ++lane) {
        const Thread& other = block.thread[warp + lane];
        if (first.mask >> lane & 1 && other.state != State::ended && !same_warp_barrier(first, other)) return false;
    }
    return true;
}

// Does what needs all 32 lanes of a warp.
inline void do_together(int warp, void (*work)(void* const*), const bool* takes_part) {
    void* operands[WARP];
    for (int lane = 0; lane < WARP; ++lane) {
        if (!takes_part[lane]) {
            if (block.wrong.empty()) block.wrong = "not all 32 lanes of a warp are there for what only a whole warp can do";
            return;
        }
        operands[lane] = block.thread[warp + lane].operands;
    }
    work(operands);
}

// Hands each lane the value that it asked for; NaN bytes where its source takes no part.
inline void release_warp(int warp, const Thread& model) {
    const Thread first = model;
    unsigned long long given[WARP];
    bool takes_part[WARP];
    for (int lane = 0; lane < WARP; ++lane) {
        takes_part[lane] = warp + lane < block.threads && same_warp_barrier(first, block.thread[warp + lane]);
        given[lane] = takes_part[lane] ? block.thread[warp + lane].value : ~0ull;
    }
    if (first.together) do_together(warp, first.together, takes_part);
    for (int lane = 0; lane < WARP; ++lane) {
        if (!takes_part[lane]) continue;
        Thread& thread = block.thread[warp + lane];
        thread.value = given[thread.source];
        thread.state = State::released;
    }
}

inline bool release_warps() {
    bool released = false;
    for (int thread = 0; thread < block.threads; ++thread) {
        const int warp = thread / WARP * WARP;
        if (block.thread[thread].state == State::at_warp_barrier && warp_complete(warp, block.thread[thread])) {
            release_warp(warp, block.thread[thread]);
            released = true;
        }
    }
    return released;
}

inline bool release_block() {
    for (int thread = 0; thread < block.threads; ++thread) {
        if (block.thread[thread].state != State::at_block_barrier) return false;
        if (strcmp(block.thread[thread].site, block.thread[0].site)) return false;
    }
    for (int thread = 0; thread < block.threads; ++thread) block.thread[thread].state = State::released;
    return true;
}

inline std::string where_threads_are() {
    std::vector<std::pair<std::string, std::string>> groups;
    for (int thread = 0; thread < block.threads; ++thread) {
        const Thread& one = block.thread[thread];
        const std::string place = one.state == State::ended ? "ended" : std::string("wait for ") + one.site;
        size_t group = 0;
        while (group < groups.size() && groups[group].first != place) ++group;
        if (group == groups.size()) groups.push_back({place, ""});
        groups[group].second += " " + std::to_string(thread);
    }
    std::string text;
    for (auto& group : groups) {
        if (group.second.size() > 60) group.second = group.second.substr(0, group.second.rfind(' ', 60)) + " ...";
        text += (text.empty() ? "threads" : "; threads") + group.second + " " + group.first;
    }
    return text;
}

// ---- a launch ----------------------------------------------------------------------------------------------------

enum class Order { ascending, descending, random };

struct Shuffler {
    unsigned long long state;

    unsigned long long next() {  // splitmix64
        unsigned long long z = state += 0x9E3779B97F4A7C15ull;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ z >> 27) * 0x94D049BB133111EBull;
        return z ^ z >> 31;
    }

    void arrange(std::vector<int>& items, Order order) {
        const int count = static_cast<int>(items.size());
        for (int item = 0; item < count; ++item) items[item] = order == Order::descending ? count - 1 - item : item;
        if (order != Order::random) return;
        for (int item = count - 1; item > 0; --item) std::swap(items[item], items[next() % (item + 1)]);
    }
};

// Runs one block; what is wrong with it, or nothing.
inline std::string run_block(Order order, Shuffler& shuffler) {
    asm volatile("" ::"r"(shared_memory_exists));  // else some linkers drop the section that nothing else refers to
    memset(__start_emulator_shared, 0xFF, __stop_emulator_shared - __start_emulator_shared);
    if (block.dynamic_bytes) memset(dynamic_memory(), 0xFF, block.dynamic_bytes + GUARD_BYTES);
    for (int thread = 0; thread < block.threads; ++thread) {
        block.thread[thread].state = State::unstarted;
        block.thread[thread].copies.clear();
        block.thread[thread].groups = 0;
    }
    shuffler.arrange(block.order, order);
    block.next = 0;
    block.waits = 0;
    while (block.next < block.threads) resume(idle_fiber());
    for (;;) {
        bool all_ended = true;
        for (int thread = 0; thread < block.threads; ++thread) all_ended &= block.thread[thread].state == State::ended;
        if (all_ended) return block.dynamic_bytes && !guard_is_whole() ? "writes behind its dynamic shared memory" : "";
        if (!release_warps() && !release_block()) return "not all threads reach a barrier: " + where_threads_are();
        ++block.waits;
        shuffler.arrange(block.order, order);
        for (int thread : block.order) {
            if (block.thread[thread].state != State::released) continue;
            enter(thread);
            resume(block.thread[thread].fiber);
        }
    }
}

inline std::string launch(
    const Kernel& kernel, int grid, int threads, int dynamic_bytes, void** arguments, Order order, uint64_t seed) {
    Shuffler shuffler{seed};
    std::vector<int> blocks(grid);
    shuffler.arrange(blocks, order);
    block.kernel = &kernel;
    block.arguments = arguments;
    block.threads = threads;
    block.order.resize(threads);
    block.dynamic_bytes = dynamic_bytes;
    block.wrong.clear();
    gridDim = {static_cast<unsigned int>(grid), 1, 1};
    blockDim = {static_cast<unsigned int>(threads), 1, 1};
    for (int index : blocks) {
        blockIdx.x = static_cast<unsigned int>(index);
        const std::string wrong = run_block(order, shuffler);
        const std::string& first = block.wrong.empty() ? wrong : block.wrong;
        if (!first.empty()) return "block " + std::to_string(index) + ": " + first;
    }
    return "";
}

}  // namespace emulator
