// What every kernel file starts with (this text is put in front of it): the number type, how threads share out the
// items, packs of values that move as one, reductions whose order never changes, and random numbers.
//
// Two types are given by the compiler's command line: REAL, in which all is computed, and STORED, as which the values of
// volumes, and filters that multiply them, lie in memory. Both are float, or both double, or STORED is one of the half types
// and REAL float. What there are few of, as the numbers of each map, and all sums, lie in memory as REAL.
#include "half.cuh"

typedef REAL real;
typedef STORED stored;

constexpr int BLOCK = 256;                   // threads of a block, in every launch
constexpr int WARP = 32;                     // threads that run as one
constexpr int RESIDENT = 3;                  // blocks that a multiprocessor must have room for: 80 registers a thread, no spills
constexpr int MOVED = 16;                    // bytes that a thread moves at once, at most
constexpr int WIDTH = MOVED / sizeof(stored);  // values of a volume in so many
constexpr long long SMALL = 1LL << 30;       // below this many values an int holds any index, one grid stride further too

// A thread takes item first_item(), then every item_stride()-th: any grid does all the work.
__device__ inline long long first_item() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline long long item_stride() { return (long long)gridDim.x * blockDim.x; }

__device__ inline long long largest(long long a, long long b) { return a > b ? a : b; }

// Whether a value is neither infinite nor NaN.
__device__ inline bool is_number(real value) { return value - value == real(0); }

// Where a pack stands. The emulator has its own definition: it refuses, as a GPU does, what is no multiple of a pack.
#ifndef PACK_AT
#define PACK_AT(...) (__VA_ARGS__)
#endif

// COUNT values side by side. Where they are no more than MOVED bytes, one instruction loads or stores them, and the address
// must be a multiple of their size.
template <typename T, int COUNT>
struct alignas(sizeof(T) * COUNT < MOVED ? sizeof(T) * COUNT : MOVED) Pack {
    T value[COUNT];
};

// What values are as long as a thread has them: those of half types are floats.
template <typename T>
struct InHand { typedef T type; };
template <>
struct InHand<Float16> { typedef float type; };
template <>
struct InHand<Bfloat16> { typedef float type; };

// The pack number `pack` of COUNT values.
template <int COUNT, typename T, typename Index>
__device__ inline auto load(const T* values, Index pack) {
    constexpr int MOST = MOVED / sizeof(T);
    Pack<typename InHand<T>::type, COUNT> held;
    if constexpr (COUNT > MOST) {
#pragma unroll
        for (int part = 0; part < COUNT / MOST; ++part) {
            const auto some = load<MOST>(values, pack * (COUNT / MOST) + part);
#pragma unroll
            for (int lane = 0; lane < MOST; ++lane) held.value[part * MOST + lane] = some.value[lane];
        }
    } else if constexpr (is_half<T> && COUNT > 1) {
        const auto words = load<COUNT / 2>(reinterpret_cast<const unsigned int*>(values), pack);
#pragma unroll
        for (int lane = 0; lane < COUNT; ++lane) {
            held.value[lane] = widened<T>((unsigned short)(words.value[lane / 2] >> lane % 2 * 16));
        }
    } else if constexpr (is_half<T>) {
        held.value[0] = values[pack];
    } else {
        held = *PACK_AT(reinterpret_cast<const Pack<T, COUNT>*>(values) + pack);
    }
    return held;
}

template <int COUNT, typename T>
__device__ inline auto load(const T* values) { return load<COUNT>(values, 0); }

template <int COUNT, typename T, typename Index>
__device__ inline void store(T* values, Index pack, const Pack<typename InHand<T>::type, COUNT>& held) {
    constexpr int MOST = MOVED / sizeof(T);
    if constexpr (COUNT > MOST) {
#pragma unroll
        for (int part = 0; part < COUNT / MOST; ++part) {
            Pack<T, MOST> some;
#pragma unroll
            for (int lane = 0; lane < MOST; ++lane) some.value[lane] = held.value[part * MOST + lane];
            store(values, pack * (COUNT / MOST) + part, some);
        }
    } else if constexpr (is_half<T> && COUNT > 1) {
        Pack<unsigned int, COUNT / 2> words;
#pragma unroll
        for (int word = 0; word < COUNT / 2; ++word) {
            words.value[word] = both_narrowed<T>(held.value[2 * word], held.value[2 * word + 1]);
        }
        store(reinterpret_cast<unsigned int*>(values), pack, words);
    } else if constexpr (is_half<T>) {
        values[pack] = held.value[0];
    } else {
        *PACK_AT(reinterpret_cast<Pack<T, COUNT>*>(values) + pack) = held;
    }
}

template <int COUNT, typename T>
__device__ inline void store(T* values, const Pack<typename InHand<T>::type, COUNT>& held) { store(values, 0, held); }

// Whether all pointers stand at multiples of 16 bytes, so that packs of any type may be used.
template <typename... T>
__device__ inline bool aligned(const T*... pointers) {
    return ((reinterpret_cast<unsigned long long>(pointers) % 16 == 0) && ...);
}

// Calls function<values of a pack, type of an index>(...), the cheapest that is right: packs need `packable`, 32-bit
// indices (a 64-bit division costs several times as much) need fewer than SMALL `values` in every tensor.
#define DISPATCH(function, packable, values, ...)                             \
    do {                                                                      \
        const bool small = (values) < SMALL;                                  \
        if ((packable) && small) function<WIDTH, int>(__VA_ARGS__);           \
        else if (packable) function<WIDTH, long long>(__VA_ARGS__);           \
        else if (small) function<1, int>(__VA_ARGS__);                        \
        else function<1, long long>(__VA_ARGS__);                             \
    } while (false)

// Calls body(item) for the first value of each pack of COUNT among `count` values, a multiple of COUNT.
template <int COUNT, typename Index, typename Body>
__device__ inline void each_pack(Index count, Body body) {
    const Index packs = count / COUNT;
    for (Index pack = first_item(); pack < packs; pack += item_stride()) body(pack * COUNT);
}

template <int COUNT>
struct Size {
    __device__ constexpr operator int() const { return COUNT; }
};

// Calls body(size, pack) for `count` values that are treated alike: packs of COUNT where all pointers are aligned, the
// values that are left one by one. Inside, load<size>(x, pack) gives the pack.
template <int COUNT = WIDTH, typename Body>
__device__ inline void elementwise(long long count, bool packable, Body body) {
    const long long packs = packable ? count / COUNT : 0;
    for (long long pack = first_item(); pack < packs; pack += item_stride()) body(Size<COUNT>(), pack);
    for (long long item = packs * COUNT + first_item(); item < count; item += item_stride()) body(Size<1>(), item);
}

// ---- divisions by numbers that are the same in a whole launch ----

// Such a number and its magic, which is made on the host: gpunet/devices/cuda/division.py.
struct By {
    long long number, magic;

    __device__ operator long long() const { return number; }
};

// What n / divisor and n % divisor take for 0 <= n < 2**31: a multiplication, an addition and a shift, where a division
// would take dozens of instructions. With 64-bit indices it is divided.
// Source: Granlund & Montgomery 1994, "Division by invariant integers using multiplication".
template <typename Index>
struct Divisor {
    Index number;
    unsigned int multiplier, shift;

    __device__ Divisor(By by)
        : number((Index)by.number), multiplier((unsigned int)by.magic), shift((unsigned int)(by.magic >> 32)) {}
    __device__ operator Index() const { return number; }
};

__device__ inline int operator/(int n, Divisor<int> by) {
    return (int)((__umulhi((unsigned int)n, by.multiplier) + (unsigned int)n) >> by.shift);
}

__device__ inline long long operator/(long long n, Divisor<long long> by) { return n / by.number; }

template <typename Index>
__device__ inline Index operator%(Index n, Divisor<Index> by) { return n - n / by * by.number; }

// Calls body(k, row, lines) for packs of COUNT of the D values of a row, from k on: the body does rows `row`, `row` + lines
// and so on, and need look only once at what is the same in all of them. Threads side by side take packs side by side.
template <int COUNT, typename Index, typename Body>
__device__ inline void each_column(Index rows, Divisor<Index> D, Body body) {
    const Index packs = rows * D / COUNT, stride = item_stride();
    const Index together = (stride < packs ? stride : packs) * COUNT / D, lines = together > 0 ? together : 1;
    const Index columns = D.number / COUNT;
    for (Index pack = first_item(); pack < lines * columns; pack += stride) {
        const Index row = pack * COUNT / D;
        body(pack * COUNT - row * D.number, row, lines);
    }
}

// ---- windows ----

// How far positions and offsets of windows reach from an image of H x W x D, and the stride itself.
__device__ inline long long reach(long long H, long long W, long long D, long long S, long long P) {
    return S + (largest(H, W) + 2 * P) * D;
}

// The windows [first, last) of one axis that cover a position, among those numbered [from, to).
template <typename Index>
struct Windows {
    Index first, last;
};

// `position` counts from the padded edge: row h stands at h + P.
template <typename Index>
__device__ inline Windows<Index> covering(Index position, Index F, Divisor<Index> S, Index from, Index to) {
    const Index first = position < F ? 0 : (position - F) / S + 1;
    const Index last = position / S + 1;
    return {first > from ? first : from, last < to ? last : to};
}

// Where a value stands in a tensor of images of H x W x D.
template <typename Index>
struct Place {
    Index n, row, column, d;
};

template <typename Index>
__device__ inline Place<Index> place_of(Index item, Divisor<Index> H, Divisor<Index> W, Divisor<Index> D) {
    const Index position = item / D, line = position / W, n = line / H;
    return {n, line - n * H.number, position - line * W.number, item - position * D.number};
}

// Calls body(h, w) for the positions inside H x W of the F x F window that begins at (top, left), in row-major order.
template <typename Index, typename Body>
__device__ inline void each_seen(Index top, Index left, Index F, Index H, Index W, Body body) {
    for (Index h = top > 0 ? top : 0; h < top + F && h < H; ++h) {
        for (Index w = left > 0 ? left : 0; w < left + F && w < W; ++w) body(h, w);
    }
}

// How many positions of an axis of `size` the window that begins at `start` sees.
template <typename Index>
__device__ inline Index seen(Index start, Index F, Index size) {
    return (start + F < size ? start + F : size) - (start > 0 ? start : 0);
}

// Calls body(i, j) for the windows, among H2 x W2, that see position (h, w), in row-major order.
template <typename Index, typename Body>
__device__ inline void each_window(Index h, Index w, Index F, Divisor<Index> S, Index P, Index H2, Index W2, Body body) {
    const Windows<Index> down = covering<Index>(h + P, F, S, 0, H2), across = covering<Index>(w + P, F, S, 0, W2);
    for (Index i = down.first; i < down.last; ++i) {
#pragma unroll 1  // mostly there are one or two
        for (Index j = across.first; j < across.last; ++j) body(i, j);
    }
}

// Whether `value` is a better maximum than `best`: greater, or the first NaN.
__device__ inline bool beats(real value, real best) { return value > best || (value != value && best == best); }

// Combines the values of all BLOCK threads whose numbers leave the same remainder by `apart` (1: all of them) in a tree
// of fixed shape, and gives each thread the result. Every thread of the block must call it; `shared` holds BLOCK values.
template <typename T, typename Combine>
__device__ inline T reduce(T value, T* shared, Combine combine, int apart = 1) {
    const int thread = threadIdx.x;
    *PACK_AT(shared + thread) = value;
    for (int half = BLOCK / 2; half >= apart; half /= 2) {
        __syncthreads();
        if (thread < half) *PACK_AT(shared + thread) = combine(*PACK_AT(shared + thread), *PACK_AT(shared + thread + half));
    }
    __syncthreads();
    const T result = *PACK_AT(shared + thread % apart);
    __syncthreads();  // nobody writes `shared` again before all have read
    return result;
}

template <typename T>
__device__ inline T reduce_sum(T value, T* shared, int apart = 1) {
    return reduce(value, shared, [](T a, T b) { return a + b; }, apart);
}

// The same for the threads of a warp, without shared memory; every thread of the warp must call it.
template <typename Combine>
__device__ inline real reduce_warp(real value, Combine combine) {
    for (int apart = WARP / 2; apart > 0; apart /= 2) {
        value = combine(value, __shfl_xor_sync(0xFFFFFFFFu, value, apart));
    }
    return value;
}

// A value and where it stands.
struct Best {
    real value;
    long long k;  // -1: none yet
};

// The better of two; of equals, and of NaNs, the first.
__device__ inline Best better(Best a, Best b) {
    if (a.k < 0 || b.k < 0) return a.k < 0 ? b : a;
    if (beats(b.value, a.value)) return b;
    return beats(a.value, b.value) || a.k < b.k ? a : b;
}

__device__ inline Best best_of_warp(Best best) {
    for (int apart = WARP / 2; apart > 0; apart /= 2) {
        const real value = __shfl_xor_sync(0xFFFFFFFFu, best.value, apart);
        best = better(best, {value, __shfl_xor_sync(0xFFFFFFFFu, best.k, apart)});
    }
    return best;
}

// The first maximum of K values, for every thread of the block; `shared` as in `reduce`.
__device__ inline Best best_of(const real* row, long long K, Best* shared) {
    Best best = {0, -1};
    for (long long k = threadIdx.x; k < K; k += BLOCK) best = better(best, {row[k], k});
    return reduce(best, shared, better);
}

// ---- random numbers: a function of where they are used ----

// Four words of 32 random bits.
struct Words {
    unsigned int a, b, c, d;
};

// The four words number `group` of a layer in a step, seed being the key: Philox 4x32 of ten rounds.
// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
__device__ inline Words random_words(long long group, long long step, long long layer, long long seed) {
    Words words = {(unsigned int)group, (unsigned int)(group >> 32), (unsigned int)step, (unsigned int)layer};
    unsigned int key0 = (unsigned int)seed, key1 = (unsigned int)(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        const unsigned long long one = 0xD2511F53ull * words.a, two = 0xCD9E8D57ull * words.c;
        words = {
            (unsigned int)(two >> 32) ^ words.b ^ key0, (unsigned int)two,
            (unsigned int)(one >> 32) ^ words.d ^ key1, (unsigned int)one
        };
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return words;
}
