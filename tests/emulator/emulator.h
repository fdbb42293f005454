// Runs the .cu files of this project on a CPU: put before their text, it makes them plain C++17.
//
// What a GPU would forgive or hide is an error here: a barrier that not all threads of a block reach, a pack at an address
// between packs, a read of shared memory that nobody wrote (it holds NaN bytes). __shared__ works in functions that are no templates and not inline.
#pragma once

#include <math.h>
#include <string.h>

#include <string>
#include <type_traits>
#include <utility>

#include "block.h"
#include "half.h"
#ifdef EMULATOR_COUNT
#include "count.h"
#else  // nobody looks
#define UNSEEN
#define AT_ITS_PLACE
namespace emulator {
inline void moved(const void*, int, bool, const void*) {}
}  // namespace emulator
#endif
#include "ptx.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __shared__ static __attribute__((section("emulator_shared")))

#define PACK_AT(...) emulator::pack_at(__VA_ARGS__)

#define EMULATOR_TEXT_(x) #x
#define EMULATOR_TEXT(x) EMULATOR_TEXT_(x)
#define EMULATOR_SITE(name) name " at " __FILE__ ":" EMULATOR_TEXT(__LINE__)

namespace emulator {

// ---- parameters of kernels -----------------------------------------------------------------------------------------

// "f4", "i8", "u1": kind and bytes of a number, as NumPy writes them, "f2" of both half types; "p" before it for a pointer
// to such; "struct24": of so many bytes.
template <class T>
std::string describe() {
    if constexpr (std::is_pointer_v<T>) {
        return "p" + describe<std::remove_cv_t<std::remove_pointer_t<T>>>();
    } else if constexpr (std::is_void_v<T>) {
        return "v";
    } else if constexpr (sizeof(T) == 2 && std::is_convertible_v<T, float>) {
        return "f2";
    } else if constexpr (std::is_class_v<T>) {
        return "struct" + std::to_string(sizeof(T));
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

// ---- packs ---------------------------------------------------------------------------------------------------------

// The address of a pack, which one instruction moves. Where it is no multiple of the pack's size the launch fails, and
// until then the thread goes on with NaN bytes.
template <class P>
AT_ITS_PLACE P* pack_at(P* address) {
#ifdef EMULATOR_COUNT
    expect(address, sizeof(P), __builtin_return_address(0));
#endif
    unsigned long long number = reinterpret_cast<unsigned long long>(address);
    asm("" : "+r"(number));  // else the compiler might take it for granted that packs are where they must be
    if (number % sizeof(P) == 0) return address;
    refuse("moves " + std::to_string(sizeof(P)) + " bytes at once " + std::to_string(number % sizeof(P)) +
           " bytes behind a multiple of that");
    static std::remove_const_t<P> nowhere;
    memset(static_cast<void*>(&nowhere), 0xFF, sizeof(P));
    return &nowhere;
}

// ---- warps ---------------------------------------------------------------------------------------------------------

template <class T>
T shuffle(const char* site, unsigned int mask, T value, int source) {
    static_assert(std::is_arithmetic_v<T> && sizeof(T) <= 8, "shuffles move numbers");
    Thread& thread = block.thread[block.current];
    thread.mask = mask;
    thread.together = nullptr;
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

using uint3 = emulator::Index;

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

inline void __threadfence() {}  // blocks run one after the other

inline unsigned int __umulhi(unsigned int a, unsigned int b) {
    return static_cast<unsigned int>(static_cast<unsigned long long>(a) * b >> 32);
}

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

#define EMULATOR_KERNEL(name, ...)                                                                              \
    emulator::Kernel {                                                                                          \
        #name,                                                                                                  \
            [](void** arguments) {                                                                              \
                static_assert(emulator::first(__VA_ARGS__) <= emulator::MOST_THREADS, "more threads than a GPU has"); \
                emulator::call(name, arguments);                                                                \
            },                                                                                                  \
            emulator::signature_of(name), emulator::first(__VA_ARGS__)                                          \
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
        int kernel, int grid, int threads, int shared, void** arguments, int order, unsigned long long seed) {       \
        static std::string wrong;                                                                                    \
        wrong = emulator::launch(                                                                                    \
            emulator_kernels[kernel], grid, threads, shared, arguments, static_cast<emulator::Order>(order), seed);  \
        return wrong.c_str();                                                                                        \
    }                                                                                                                \
    }
