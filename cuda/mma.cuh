// A matrix product on tensor cores, one tile of the results for each block: out[m, n] = sum over l of left[m, l] * right[n, l],
// in steps of 64 bytes of each row. What the matrices are, the gatherers know; what becomes of a result, the epilogue.
//
// Three things stand apart: how values are stored (Stored: float, or a half type), what the tensor cores make of them (Math:
// Tf32Once, Tf32Thrice, Halves), and where they are from (a gatherer). Sums are float32. A warp makes 64 x 32 results whatever
// the tile, its instructions add the products in the order of l: no bit depends on the tile.
//
// Some steps ahead are on their way to shared memory while one is multiplied. There 16 bytes, a chunk, are what a thread moves
// and what an instruction reads of a row; chunks change places so that the eight of a wavefront lie in banks of their own.
// Source: the stages and the swizzle are those of CUTLASS ("Efficient GEMM in CUDA", NVIDIA's documentation); the fragments
// are those of the PTX ISA, "Warp-level matrix instructions".

#include "gather.cuh"
#include "ptx.cuh"
#include "tensor_types.cuh"

constexpr int STEP_BYTES = 64, CHUNK_BYTES = 16;

// Values of a row in a step.
template <typename Stored>
constexpr int STEP_OF = STEP_BYTES / (int)sizeof(Stored);

// Where copies go on beside the arithmetic; elsewhere values wait in registers until the step before is multiplied.
#if defined(EMULATED) || __CUDA_ARCH__ >= 800
constexpr bool COPIES_AHEAD = true;
#else
constexpr bool COPIES_AHEAD = false;
#endif

// Warps down and across, each with 64 x 32 results: 4 x 4 products of 16 x 8, of each of which a thread has four.
template <int DOWN, int ACROSS>
struct WarpTile {
    static constexpr int M = 64 * DOWN, N = 32 * ACROSS, THREADS = 32 * DOWN * ACROSS;
    static constexpr int STAGE_BYTES = (M + N) * STEP_BYTES;

    __device__ static int row() { return threadIdx.x / 32 % DOWN * 64; }
    __device__ static int column() { return threadIdx.x / 32 / DOWN * 32; }
};

typedef WarpTile<2, 4> Warps128x128;
typedef WarpTile<2, 2> Warps128x64;
typedef WarpTile<1, 1> Warps64x32;

// Blocks of so many threads that a multiprocessor must have room for; where values wait in registers there are fewer.
constexpr int TENSOR_BLOCKS_OF_256 = COPIES_AHEAD ? 2 : 1, TENSOR_BLOCKS_OF_128 = COPIES_AHEAD ? 3 : 2;

// The sums of a thread: [down][across][row and column of it].
typedef float Sums[4][4][4];

__device__ inline unsigned int bits_of(float value) {
    unsigned int bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

__device__ inline float float_of(unsigned int bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// ---- how the values of a step lie in shared memory, and what a warp reads there ----

// Rows of 64 bytes along the sum. Rows are kept in the order in which products want them, "slots", so that the results of a
// thread stand side by side: windows of 4 rows, and two runs of 4 columns. The runs of the four threads that have a row fill sectors.
struct AlongSums {
    __device__ static int place(int slot, int chunk) { return slot * STEP_BYTES + (chunk ^ (slot >> 1 & 3)) * CHUNK_BYTES; }

    // The row of a slot of the left matrix, and the column of one of the right matrix.
    __device__ static int row_of(int slot) {
        return slot / 64 * 64 + slot / 32 % 2 * 32 + slot % 8 * 4 + slot / 16 % 2 * 2 + slot / 8 % 2;
    }
    __device__ static int column_of(int slot) {
        return slot / 32 * 32 + slot % 2 * 16 + slot % 8 / 2 * 4 + slot / 8 % 4;
    }

    // Where a lane reads of the rows, and of the columns, from this one on.
    __device__ static int first_of_rows(int row) {
        const int lane = threadIdx.x % 32;
        return place(row + lane % 16, lane / 16);
    }
    __device__ static int first_of_columns(int column) {
        const int lane = threadIdx.x % 32;
        return place(column + lane / 16 * 8 + lane % 8, lane / 8 % 2);
    }
    // Of the left matrix what 4 products side by side need of two chunks of the step. Slots go on by eights, and two chunks by
    // half a row: neither changes how chunks have changed places.
    __device__ static void read_rows(const unsigned char* values, int first, int two, unsigned int (&a)[4][4]) {
        const unsigned char* const from = values + (first ^ two * 2 * CHUNK_BYTES);
#pragma unroll
        for (int i = 0; i < 4; ++i) load_matrices(a[i], from + i * 16 * STEP_BYTES);
    }
    __device__ static void read_columns(const unsigned char* values, int first, int two, unsigned int (&b)[4][2]) {
        const unsigned char* const from = values + (first ^ two * 2 * CHUNK_BYTES);
#pragma unroll
        for (int j = 0; j < 4; j += 2) {
            unsigned int both[4];
            load_matrices(both, from + j * 8 * STEP_BYTES);
            b[j][0] = both[0], b[j][1] = both[1], b[j + 1][0] = both[2], b[j + 1][1] = both[3];
        }
    }
    // The row of a result of this thread, and of its first or second run there the first column, and the results.
    __device__ static int row(int i, int lower) { return i / 2 * 32 + threadIdx.x % 32 / 4 * 4 + i % 2 * 2 + lower; }
    __device__ static int column(int second) { return second * 16 + threadIdx.x % 4 * 4; }
    __device__ static Pack<float, 4> run(const float (&across)[4][4], int lower, int second) {
        Pack<float, 4> run;
#pragma unroll
        for (int j = 0; j < 4; ++j) run.value[j] = across[j][lower * 2 + second];
        return run;
    }
};

// For each place of the sum the values of all rows. Of floats a thread reads four rows at once.
template <typename Stored, int SIDE>
struct AlongSides {
    static_assert(sizeof(Stored) == 4, "halves have a layout of their own");
    static constexpr int CHUNKS = SIDE * (int)sizeof(Stored) / CHUNK_BYTES;

    __device__ static int place(int l, int chunk) { return (l * CHUNKS + (chunk ^ (l & 3) * 2)) * CHUNK_BYTES; }
    __device__ static int first_of_rows(int row) { return place(threadIdx.x % 4, row / 4 + threadIdx.x % 32 / 4); }
    // Two threads that read in one wavefront read an even and an odd chunk, as places of the sum change places by twos; and a thread
    // and the next but one such chunks as fill a sector.
    __device__ static int first_of_columns(int column) {
        const int g = threadIdx.x % 32 / 4;
        return place(threadIdx.x % 4, column / 4 + g / 4 * 4 + (g / 2 % 2 ^ g % 2 * 3));
    }
    // Places of the sum go on by fours, and rows by eight chunks: neither changes how chunks have changed places.
    __device__ static Pack<float, 4> read(const unsigned char* from, int l, int chunk) {
        return load<4>(reinterpret_cast<const float*>(from + (l * CHUNKS + chunk) * CHUNK_BYTES));
    }
    __device__ static void read_rows(const unsigned char* values, int first, int two, unsigned int (&a)[4][4]) {
#pragma unroll
        for (int part = 0; part < 4; ++part) {
            const auto found = read(values + first, two * 8 + part % 2 * 4, part / 2 * 8);
#pragma unroll
            for (int at = 0; at < 4; ++at) a[part / 2 * 2 + at / 2][part % 2 * 2 + at % 2] = bits_of(found.value[at]);
        }
    }
    __device__ static void read_columns(const unsigned char* values, int first, int two, unsigned int (&b)[4][2]) {
#pragma unroll
        for (int later = 0; later < 2; ++later) {
            const auto found = read(values + first, two * 8 + later * 4, 0);
#pragma unroll
            for (int j = 0; j < 4; ++j) b[j][later] = bits_of(found.value[j]);
        }
    }
    __device__ static int row(int i, int lower) { return AlongSums::row(i, lower); }
    __device__ static int column(int second) {
        const int t = threadIdx.x % 4;
        return t / 2 * 16 + (t % 2 ^ second * 3) * 4;
    }
    __device__ static Pack<float, 4> run(const float (&across)[4][4], int lower, int second) {
        return AlongSums::run(across, lower, second);
    }
};

// Halves side by side are of neighbouring rows: the instruction that reads them turns them.
template <typename Stored, int SIDE>
struct HalvesAlongSides {
    static constexpr int CHUNKS = SIDE * (int)sizeof(Stored) / CHUNK_BYTES;

    __device__ static int place(int l, int chunk) {
        return (l * CHUNKS + (chunk ^ (CHUNKS >= 8 ? l & 7 : l >> 1 & 3))) * CHUNK_BYTES;
    }
    __device__ static int first_of_rows(int row) {
        const int lane = threadIdx.x % 32;
        return place(lane / 16 * 8 + lane % 8, row / 8 + lane / 8 % 2);
    }
    __device__ static int first_of_columns(int column) {
        const int lane = threadIdx.x % 32;
        return place(lane / 8 % 2 * 8 + lane % 8, column / 8 + lane / 16);
    }
    // Places of the sum go on by sixteens; chunks by twos, which have changed places with others among eight or four.
    __device__ static void read_rows(const unsigned char* values, int first, int two, unsigned int (&a)[4][4]) {
        const unsigned char* const from = values + two * 16 * CHUNKS * CHUNK_BYTES;
#pragma unroll
        for (int i = 0; i < 4; ++i) load_transposed(a[i], from + (first ^ i * 2 * CHUNK_BYTES));
    }
    __device__ static void read_columns(const unsigned char* values, int first, int two, unsigned int (&b)[4][2]) {
        const unsigned char* const from = values + two * 16 * CHUNKS * CHUNK_BYTES;
#pragma unroll
        for (int j = 0; j < 4; j += 2) {
            unsigned int both[4];
            load_transposed(both, from + (first ^ j * CHUNK_BYTES));
            b[j][0] = both[0], b[j][1] = both[1], b[j + 1][0] = both[2], b[j + 1][1] = both[3];
        }
    }
    __device__ static int row(int i, int lower) { return i * 16 + lower * 8 + threadIdx.x % 32 / 4; }
    __device__ static int column(int second) {
        const int t = threadIdx.x % 4;
        return second * 16 + t % 2 * 8 + t / 2 * 4;
    }
    // Of two products side by side a thread has two columns of each, and the next thread the next two: each gives the other what
    // makes a run of four. All lanes of a warp come here together.
    __device__ static Pack<float, 4> run(const float (&across)[4][4], int lower, int second) {
        const bool odd = threadIdx.x % 2;
        Pack<float, 4> run;
#pragma unroll
        for (int at = 0; at < 2; ++at) {
            const float first = across[second * 2][lower * 2 + at], next = across[second * 2 + 1][lower * 2 + at];
            const float others = __shfl_xor_sync(0xFFFFFFFFu, odd ? first : next, 1);
            run.value[at] = odd ? others : first;
            run.value[2 + at] = odd ? next : others;
        }
        return run;
    }
};

template <typename Stored, int SIDE, bool HALVES = is_half<Stored>>
struct SidesOf {
    typedef AlongSides<Stored, SIDE> Layout;
};
template <typename Stored, int SIDE>
struct SidesOf<Stored, SIDE, true> {
    typedef HalvesAlongSides<Stored, SIDE> Layout;
};

// ---- what is multiplied ----

// float32 as tf32, whose 13 lowest bits count for nothing. What is cut off would make all sums smaller; to make up for that takes
// one instruction, where the nearest tf32 takes three: off by at most 0.7 units of the last place, what is a tf32 stays as it is,
// and NaN and infinities do.
struct Tf32Once {
    __device__ static unsigned int nearly(unsigned int bits) { return bits_of(float_of(bits) * 1.000338f); }
    __device__ static void multiply(Sums& sums, unsigned int (&a)[4][4], unsigned int (&b)[4][2]) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
            for (int at = 0; at < 4; ++at) a[i][at] = nearly(a[i][at]);
        }
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            b[j][0] = nearly(b[j][0]), b[j][1] = nearly(b[j][1]);
#pragma unroll
            for (int i = 0; i < 4; ++i) multiply_add(Tf32(), sums[i][j], a[i], b[j]);
        }
    }
};

// float32 as the sum of two of tf32, of whose four products all but the smallest are added: nearly float32. An infinity becomes
// NaN, as what is left of it is none.
struct Tf32Thrice {
    __device__ static unsigned int rest_of(unsigned int bits) {
        return bits_of(float_of(bits) - float_of(bits & 0xFFFFE000u));
    }
    __device__ static void multiply(Sums& sums, unsigned int (&a)[4][4], unsigned int (&b)[4][2]) {
        unsigned int a_rest[4][4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
            for (int at = 0; at < 4; ++at) a_rest[i][at] = rest_of(a[i][at]);
        }
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const unsigned int b_rest[2] = {rest_of(b[j][0]), rest_of(b[j][1])};
#pragma unroll
            for (int i = 0; i < 4; ++i) multiply_add(Tf32(), sums[i][j], a_rest[i], b[j]);
#pragma unroll
            for (int i = 0; i < 4; ++i) multiply_add(Tf32(), sums[i][j], a[i], b_rest);
#pragma unroll
            for (int i = 0; i < 4; ++i) multiply_add(Tf32(), sums[i][j], a[i], b[j]);
        }
    }
};

// Halves as they are: from 8.0 the two chunks at once, before one after the other.
template <typename Kind>
struct Halves {
    __device__ static void multiply(Sums& sums, unsigned int (&a)[4][4], unsigned int (&b)[4][2]) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                if constexpr (COPIES_AHEAD) {
                    multiply_add(Kind(), sums[i][j], a[i], b[j]);
                } else {
                    multiply_add(Kind(), sums[i][j], {a[i][0], a[i][1]}, {b[j][0]});
                    multiply_add(Kind(), sums[i][j], {a[i][2], a[i][3]}, {b[j][1]});
                }
            }
        }
    }
};

template <typename Stored>
struct ProductsOf {
    typedef Halves<Stored> Math;
};
template <>
struct ProductsOf<float> {
    typedef Tf32Once Math;
};

typedef typename ProductsOf<stored>::Math Products;

constexpr int PACKED = CHUNK_BYTES / sizeof(stored);

// ---- how values get to shared memory ----

// BYTES of memory, whatever they mean, in words.
template <int BYTES>
using RawBytes = Pack<unsigned int, BYTES / 4>;

template <int BYTES>
__device__ inline RawBytes<BYTES> words_at(const void* place) {
    return load<BYTES / 4>(static_cast<const unsigned int*>(place));
}

// PACKS packs of COUNT values of a thread, each from global memory to a place in shared memory, or zeros.
template <typename Stored, int COUNT, int PACKS>
struct Mover {
    static constexpr int BYTES = COUNT * (int)sizeof(Stored);
    static constexpr bool HOLDS = !COPIES_AHEAD && COUNT > 1;
    RawBytes<HOLDS ? BYTES : 4> held[HOLDS ? PACKS : 1];

    __device__ void begin(int pack, unsigned char* place, const Stored* from, bool inside) {
        if constexpr (HOLDS) {
            held[pack] = {};
            if (inside) held[pack] = words_at<BYTES>(from);
        } else if constexpr (BYTES >= 4) {
            copy_ahead<BYTES>(
                reinterpret_cast<unsigned int*>(place), reinterpret_cast<const unsigned int*>(from), inside
            );
        } else {
            Stored value = {};
            if (inside) value = *from;
            *reinterpret_cast<Stored*>(place) = value;
        }
    }
    __device__ void end(int pack, unsigned char* place) {
        if constexpr (HOLDS) store(reinterpret_cast<unsigned int*>(place), held[pack]);
    }
};

// What a gatherer may still do to the values of a step that it has brought itself, when they have arrived: nothing, mostly.
struct LeftAlone {
    __device__ void settle(unsigned char*) {}
};

// Packs of COUNT values along the sum: a thread takes one place in the step and some slots of SIDE.
template <typename Stored, typename T, int SIDE, int COUNT>
struct SumPacks : LeftAlone {
    typedef AlongSums Layout;
    static constexpr int PER_ROW = STEP_OF<Stored> / COUNT, APART = T::THREADS / PER_ROW, PACKS = SIDE / APART;
    static_assert(APART > 0 && SIDE % APART == 0, "each thread takes as many packs");

    __device__ static int at() { return threadIdx.x % PER_ROW * COUNT; }
    __device__ static int slot(int pack) { return threadIdx.x / PER_ROW + pack * APART; }
    // Eights of slots do not change how chunks have changed places.
    __device__ static int place(int pack) {
        const int byte = at() * (int)sizeof(Stored), eights = APART % 8 == 0 ? pack : 0;
        return Layout::place(slot(pack - eights), byte / CHUNK_BYTES) + byte % CHUNK_BYTES + eights * APART * STEP_BYTES;
    }
};

// Packs of COUNT values along the side: a thread takes some rows side by side and some places in the step.
template <typename Stored, typename T, int SIDE, int COUNT>
struct SidePacks : LeftAlone {
    typedef typename SidesOf<Stored, SIDE>::Layout Layout;
    static constexpr int PER_STEP = SIDE / COUNT, APART = T::THREADS / PER_STEP, PACKS = STEP_OF<Stored> / APART;
    static_assert(APART > 0 && STEP_OF<Stored> % APART == 0, "each thread takes as many packs");

    __device__ static int row() { return threadIdx.x % PER_STEP * COUNT; }
    __device__ static int at(int pack) { return threadIdx.x / PER_STEP + pack * APART; }
    // Eights of places do not change how chunks have changed places.
    __device__ static int place(int pack) {
        const int byte = row() * (int)sizeof(Stored), eights = APART % 8 == 0 ? pack : 0;
        const int further = eights * APART * Layout::CHUNKS * CHUNK_BYTES;
        return Layout::place(at(pack - eights), byte / CHUNK_BYTES) + byte % CHUNK_BYTES + further;
    }
};

// ---- the loop ----

// Takes the steps of a sum one after the other, from where its order stands. The order knows how many go straight on from there:
// straight(), at least 1; skip(steps) goes on. A gatherer looks with turn() where the order stands; then begin(further, values)
// has the values of the step that is so many further on their way, and finish(values) puts those there that wait in registers;
// settle(values) may change those that this thread has brought when they are there, before others see them.
template <typename Order, typename Left, typename Right>
struct Ahead {
    Order& order;
    Left& left;
    Right& right;
    int further, end;

    __device__ Ahead(Order& order, Left& left, Right& right) : order(order), left(left), right(right), further(0), end(0) {}
    __device__ void begin(unsigned char* left_values, unsigned char* right_values) {
        if (further == end) {
            order.skip(end);
            further = 0, end = order.straight();
            left.turn(), right.turn();
        }
        left.begin(further, left_values), right.begin(further, right_values);
        ++further;
    }
};

// All copies of this thread but those of the newest `stages` - 2 steps have arrived.
__device__ inline void arrived(int stages) {
    if (stages == 2) wait_for<0>();
    else if (stages == 3) wait_for<1>();
    else wait_for<2>();
}

// Adds `steps` steps of a sum to those of this thread. `stages`, 2 to 4, have room in dynamic shared memory.
template <typename T, typename Math, typename Order, typename Left, typename Right>
__device__ inline void multiply_on_tensor_cores(
    Order& order, Left& left, Right& right, int steps, int stages, Sums& sums
) {
    unsigned char* const values = dynamic_shared<unsigned char>();
    constexpr int RIGHT = T::M * STEP_BYTES;
    Ahead<Order, Left, Right> ahead(order, left, right);
    for (int step = 0; step < stages - 1; ++step) {
        unsigned char* const coming = values + step * T::STAGE_BYTES;
        if (step < steps) {
            __syncthreads();  // a turn may change what the step before was found by
            ahead.begin(coming, coming + RIGHT);
            left.finish(coming), right.finish(coming + RIGHT);
        }
        commit();
    }
    const int row = held_number(Left::Layout::first_of_rows(T::row()));
    const int column = held_number(Right::Layout::first_of_columns(T::column()));
    unsigned char *now = values, *coming = values + (stages - 1) * T::STAGE_BYTES;
    for (int step = 0; step < steps; ++step) {
        arrived(stages);
        left.settle(now), right.settle(now + RIGHT);
        __syncthreads();
        const bool more = step + stages - 1 < steps;
        if (more) ahead.begin(coming, coming + RIGHT);  // there stood what was multiplied before the barrier
        commit();
#pragma unroll
        for (int two = 0; two < 2; ++two) {
            unsigned int a[4][4], b[4][2];
            Left::Layout::read_rows(now, row, two, a);
            Right::Layout::read_columns(now + RIGHT, column, two, b);
            Math::multiply(sums, a, b);
        }
        if (more) left.finish(coming), right.finish(coming + RIGHT);
        coming = now;
        now += T::STAGE_BYTES;
        if (now == values + stages * T::STAGE_BYTES) now = values;
    }
}
