// Runs the .cu files of this project on a CPU: put before their text, it makes them plain C++17.
//
// Threads of a block run one after another, each to its end or to its next barrier. Kernels without barriers need one
// fiber for all their threads; a thread that waits at a barrier keeps its fiber and the rest go on in another one.
// What a GPU would forgive or hide is an error here: a barrier that not all threads of a block reach, a read of shared
// memory that nobody wrote (it holds NaN bytes). __shared__ works in functions that are no templates and not inline.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __shared__ static __attribute__((section("emulator_shared")))

#define EMULATOR_TEXT_(x) #x
#define EMULATOR_TEXT(x) EMULATOR_TEXT_(x)
#define EMULATOR_SITE(name) name " at " __FILE__ ":" EMULATOR_TEXT(__LINE__)

namespace emulator {

struct Index {
    unsigned int x = 0, y = 0, z = 0;
};

enum class State { unstarted, running, at_block_barrier, at_warp_barrier, released, ended };

struct Fiber;

struct Thread {
    State state;
    const char* site;          // where it waits
    Fiber* fiber;              // in which it waits
    unsigned int mask;         // lanes that it waits for at a warp barrier
    int source;                // lane whose value it wants from a shuffle
    unsigned long long value;  // what it gives to a shuffle, then what it gets
};

constexpr int WARP = 32;
constexpr int MOST_THREADS = 1024;
constexpr size_t STACK_BYTES = 256 * 1024;

}  // namespace emulator

static emulator::Index threadIdx, blockIdx, blockDim, gridDim;

// ---- switching between fibers: by hand on x86-64, through ucontext elsewhere (slower by its system calls) ----------

#if defined(__x86_64__) && defined(__linux__) && !defined(EMULATOR_UCONTEXT)
extern "C" __attribute__((visibility("hidden"))) void emulator_switch(void** save_stack, void* stack);
asm(R"(
.text
.hidden emulator_switch
.globl emulator_switch
.type emulator_switch, @function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulator_switch, .-emulator_switch
)");

namespace emulator {

struct Context {
    void* stack_pointer;

    void prepare(char* stack, void (*entry)()) {  // as if `entry` had been called and had switched away at once
        void** top = reinterpret_cast<void**>((reinterpret_cast<uintptr_t>(stack) + STACK_BYTES) & ~uintptr_t(15));
        top[-1] = nullptr;
        top[-2] = reinterpret_cast<void*>(entry);
        for (int saved = 3; saved <= 8; ++saved) top[-saved] = nullptr;
        stack_pointer = top - 8;
    }

    void switch_to(Context& other) {
        asm volatile("" ::: "memory");
        emulator_switch(&stack_pointer, other.stack_pointer);
        asm volatile("" ::: "memory");
    }
};

}  // namespace emulator
#else
#include <ucontext.h>

namespace emulator {

struct Context {
    ucontext_t context;

    void prepare(char* stack, void (*entry)()) {
        getcontext(&context);
        context.uc_stack.ss_sp = stack;
        context.uc_stack.ss_size = STACK_BYTES;
        context.uc_link = nullptr;
        makecontext(&context, entry, 0);
    }

    void switch_to(Context& other) { swapcontext(&context, &other.context); }
};

}  // namespace emulator
#endif

namespace emulator {

struct Fiber {
    Context context;
    char* stack;
};

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
    Fiber* running;
    Context scheduler;
    std::vector<Fiber*> idle;
} block;

__attribute__((section("emulator_shared"), used)) static char shared_memory_exists[16];
extern "C" __attribute__((visibility("hidden"))) char __start_emulator_shared[];
extern "C" __attribute__((visibility("hidden"))) char __stop_emulator_shared[];

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
    if (block.idle.empty()) {
        Fiber* fiber = new Fiber;
        fiber->stack = static_cast<char*>(malloc(STACK_BYTES));
        fiber->context.prepare(fiber->stack, run_threads);
        return fiber;
    }
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

// Hands each lane the value that it asked for; NaN bytes where its source takes no part.
inline void release_warp(int warp, const Thread& model) {
    const Thread first = model;
    unsigned long long given[WARP];
    bool takes_part[WARP];
    for (int lane = 0; lane < WARP; ++lane) {
        takes_part[lane] = warp + lane < block.threads && same_warp_barrier(first, block.thread[warp + lane]);
        given[lane] = takes_part[lane] ? block.thread[warp + lane].value : ~0ull;
    }
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
    memset(__start_emulator_shared, 0xFF, __stop_emulator_shared - __start_emulator_shared);
    for (int thread = 0; thread < block.threads; ++thread) block.thread[thread].state = State::unstarted;
    shuffler.arrange(block.order, order);
    block.next = 0;
    while (block.next < block.threads) resume(idle_fiber());
    for (;;) {
        bool all_ended = true;
        for (int thread = 0; thread < block.threads; ++thread) all_ended &= block.thread[thread].state == State::ended;
        if (all_ended) return "";
        if (!release_warps() && !release_block()) return where_threads_are();
        shuffler.arrange(block.order, order);
        for (int thread : block.order) {
            if (block.thread[thread].state != State::released) continue;
            enter(thread);
            resume(block.thread[thread].fiber);
        }
    }
}

inline std::string launch(const Kernel& kernel, int grid, int threads, void** arguments, Order order, uint64_t seed) {
    Shuffler shuffler{seed};
    std::vector<int> blocks(grid);
    shuffler.arrange(blocks, order);
    block.kernel = &kernel;
    block.arguments = arguments;
    block.threads = threads;
    block.order.resize(threads);
    gridDim = {static_cast<unsigned int>(grid), 1, 1};
    blockDim = {static_cast<unsigned int>(threads), 1, 1};
    for (int index : blocks) {
        blockIdx.x = static_cast<unsigned int>(index);
        const std::string wrong = run_block(order, shuffler);
        if (!wrong.empty()) return "block " + std::to_string(index) + ": not all threads reach a barrier: " + wrong;
    }
    return "";
}

// ---- parameters of kernels -----------------------------------------------------------------------------------------

// "f4", "i8", "u1": kind and bytes of a number, as NumPy writes them; "p" before it for a pointer to such.
template <class T>
std::string describe() {
    if constexpr (std::is_pointer_v<T>) {
        return "p" + describe<std::remove_cv_t<std::remove_pointer_t<T>>>();
    } else if constexpr (std::is_void_v<T>) {
        return "v";
    } else {
        const char* kind = std::is_floating_point_v<T> ? "f" : std::is_signed_v<T> ? "i" : std::is_unsigned_v<T> ? "u" : "?";
        return kind + std::to_string(sizeof(T));
    }
}

template <class... P>
std::string signature_of(void (*)(P...)) {
    std::string text;
    ((text += (text.empty() ? "" : " ") + describe<std::remove_cv_t<P>>()), ...);
    return text;
}

template <class... P, size_t... I>
void unpack(void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_cv_t<P>*>(arguments[I])...);
}

template <class... P>
void call(void (*kernel)(P...), void** arguments) {
    unpack(kernel, arguments, std::index_sequence_for<P...>());
}

constexpr int first(int most_threads, int = 0, int = 0) { return most_threads; }

// ---- warps ---------------------------------------------------------------------------------------------------------

template <class T>
T shuffle(const char* site, unsigned int mask, T value, int source) {
    static_assert(std::is_arithmetic_v<T> && sizeof(T) <= 8, "shuffles move numbers");
    Thread& thread = block.thread[block.current];
    thread.mask = mask;
    thread.source = source;
    memcpy(&thread.value, &value, sizeof(T));
    Thread& back = wait(State::at_warp_barrier, site);
    memcpy(&value, &back.value, sizeof(T));
    return value;
}

inline int lane() { return block.current % WARP; }
inline int segment(int width) { return lane() / width * width; }

template <class T>
T shuffle_index(const char* site, unsigned int mask, T value, int index, int width = WARP) {
    return shuffle(site, mask, value, segment(width) + (index & (width - 1)));
}

template <class T>
T shuffle_up(const char* site, unsigned int mask, T value, unsigned int delta, int width = WARP) {
    const int source = lane() - static_cast<int>(delta);
    return shuffle(site, mask, value, source < segment(width) ? lane() : source);
}

template <class T>
T shuffle_down(const char* site, unsigned int mask, T value, unsigned int delta, int width = WARP) {
    const int source = lane() + static_cast<int>(delta);
    return shuffle(site, mask, value, source >= segment(width) + width ? lane() : source);
}

template <class T>
T shuffle_xor(const char* site, unsigned int mask, T value, int lane_mask, int width = WARP) {
    const int source = lane() ^ lane_mask;
    return shuffle(site, mask, value, source >= segment(width) + width ? lane() : source);
}

struct WarpBarrier {
    const char* site;
    void operator()(unsigned int mask = 0xFFFFFFFFu) const { shuffle(site, mask, 0, lane()); }
};

template <class T>
T exchange(T* address, T value) {
    static_assert(std::is_integral_v<T>, "atomics are for integers: a sum of floats would depend on the order");
    const T old = *address;
    *address = value;
    return old;
}

}  // namespace emulator

#define __syncthreads() ((void)emulator::wait(emulator::State::at_block_barrier, EMULATOR_SITE("__syncthreads")))
#define __shfl_sync(...) emulator::shuffle_index(EMULATOR_SITE("__shfl_sync"), __VA_ARGS__)
#define __shfl_up_sync(...) emulator::shuffle_up(EMULATOR_SITE("__shfl_up_sync"), __VA_ARGS__)
#define __shfl_down_sync(...) emulator::shuffle_down(EMULATOR_SITE("__shfl_down_sync"), __VA_ARGS__)
#define __shfl_xor_sync(...) emulator::shuffle_xor(EMULATOR_SITE("__shfl_xor_sync"), __VA_ARGS__)
#define __syncwarp emulator::WarpBarrier{EMULATOR_SITE("__syncwarp")}

// ---- functions that CUDA has in the global namespace, where <math.h> has them not or not for all types --------------

using std::isfinite;
using std::isinf;
using std::isnan;

template <class A, class B>
constexpr std::common_type_t<A, B> min(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return fmin(static_cast<T>(a), static_cast<T>(b));  // ignores a NaN
    return static_cast<T>(b) < static_cast<T>(a) ? static_cast<T>(b) : static_cast<T>(a);
}

template <class A, class B>
constexpr std::common_type_t<A, B> max(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return fmax(static_cast<T>(a), static_cast<T>(b));
    return static_cast<T>(a) < static_cast<T>(b) ? static_cast<T>(b) : static_cast<T>(a);
}

template <class T>
T __ldg(const T* address) { return *address; }

inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }

template <class T>
T atomicAdd(T* address, T value) { return emulator::exchange(address, static_cast<T>(*address + value)); }
template <class T>
T atomicMax(T* address, T value) { return emulator::exchange(address, max(*address, value)); }
template <class T>
T atomicMin(T* address, T value) { return emulator::exchange(address, min(*address, value)); }
template <class T>
T atomicExch(T* address, T value) { return emulator::exchange(address, value); }
template <class T>
T atomicCAS(T* address, T compare, T value) { return emulator::exchange(address, *address == compare ? value : *address); }

// ---- what the Python side calls; `emulator_kernels` is written by the builder --------------------------------------

#define EMULATOR_KERNEL(name, ...)                                                                       \
    emulator::Kernel {                                                                                   \
        #name, [](void** arguments) { emulator::call(name, arguments); }, emulator::signature_of(name), \
            emulator::first(__VA_ARGS__)                                                                 \
    }

#define EMULATOR_EXPORTS(...)                                                                                        \
    static const emulator::Kernel emulator_kernels[] = {__VA_ARGS__};                                                \
    extern "C" {                                                                                                     \
    __attribute__((visibility("default"))) const char* emulator_signature(int kernel) {                              \
        return emulator_kernels[kernel].signature.c_str();                                                           \
    }                                                                                                                \
    __attribute__((visibility("default"))) int emulator_most_threads(int kernel) {                                   \
        return emulator_kernels[kernel].most_threads;                                                                \
    }                                                                                                                \
    __attribute__((visibility("default"))) const char* emulator_launch(                                              \
        int kernel, int grid, int threads, void** arguments, int order, unsigned long long seed) {                   \
        static std::string wrong;                                                                                    \
        wrong = emulator::launch(                                                                                    \
            emulator_kernels[kernel], grid, threads, arguments, static_cast<emulator::Order>(order), seed);          \
        return wrong.c_str();                                                                                        \
    }                                                                                                                \
    }
