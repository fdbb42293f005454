// A matrix product, one tile of the results for each block: out[m, n] = sum over l of left[m, l] * right[n, l], in steps
// of DEPTH values of the sum. What the matrices are, the gatherers know; what becomes of a result, the epilogue.
//
// Every result has one accumulator and adds its products in the order of l by fused multiply-adds, so no bit depends on
// the tile. What lies outside of a matrix is 0 in both factors.
//
// Stored is the type in memory, Sum that of the arithmetic. Source: the two levels of tiles, registers ahead of shared
// memory, are those of CUTLASS ("Efficient GEMM in CUDA", NVIDIA's documentation).

constexpr int DEPTH = 8;
constexpr int RUN = 4;  // neighbouring results of a thread

// Warps down and across, each with 32 x 32*HALVES results, of which a thread has 8 x 4*HALVES: runs of 4 that lie 16 rows
// and 32 columns apart, so that no two threads of a warp read the same bank of shared memory for different values.
template <int DOWN, int ACROSS, int HALVES>
struct Tile {
    static constexpr int M = 32 * DOWN, N = 32 * HALVES * ACROSS;
    static constexpr int THREADS = 32 * DOWN * ACROSS;
    static constexpr int ROWS = 2 * RUN, COLUMNS = HALVES * RUN;

    __device__ static int row() { return threadIdx.x / 32 % DOWN * 32 + threadIdx.x % 32 / 8 * RUN; }
    __device__ static int column() { return threadIdx.x / 32 / DOWN * (32 * HALVES) + threadIdx.x % 8 * RUN; }
};

typedef Tile<4, 2, 2> Tile128x128;
typedef Tile<4, 1, 2> Tile128x64;
typedef Tile<2, 1, 2> Tile64x64;
typedef Tile<1, 1, 1> Tile32x32;

// Blocks of so many threads that a multiprocessor must have room for: a thread has 128 registers in the largest, 168 in the
// others, and 255 for sums of 8 bytes.
constexpr bool NARROW = sizeof(real) == 4;
constexpr int BLOCKS_OF_256 = NARROW ? 2 : 1, BLOCKS_OF_128 = NARROW ? 3 : 2, BLOCKS_OF_64 = NARROW ? 6 : 4;
constexpr int BLOCKS_OF_32 = NARROW ? 12 : 8, SCALARS_OF_32 = 8;  // a pack is a value there, of which a thread knows each place

// Of both matrices the values of a step, for each l those of all rows.
template <typename Sum, typename T>
struct alignas(16) Factors {
    Sum left[DEPTH][T::M + RUN], right[DEPTH][T::N + RUN];
};

// What a block has in shared memory: two steps.
template <typename Sum, typename T>
struct alignas(16) Stages {
    Factors<Sum, T> of[2];
    int last;     // the step where the sum of the block ends
    int kept[4];  // numbers of little use before the sums are complete, which would take registers until then
};

template <typename Sum, typename T>
__device__ inline void keep(Stages<Sum, T>& stages, int last, int a, int b, int c, int d) {
    if (threadIdx.x == 0) stages.last = last, stages.kept[0] = a, stages.kept[1] = b, stages.kept[2] = c, stages.kept[3] = d;
    __syncthreads();
}

__device__ inline float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
__device__ inline double multiply_add(double a, double b, double c) { return fma(a, b, c); }

// index * stride, both at least 0, by one instruction: 64-bit factors, as the compiler likes to make them, take five.
__device__ inline long long apart(int index, int stride) {
#ifdef EMULATED
    return (long long)index * stride;
#else
    long long product;
    asm("mul.wide.u32 %0, %1, %2;" : "=l"(product) : "r"(index), "r"(stride));
    return product;
#endif
}

// The value index * stride values behind `first`, both factors below 2**29: in bytes, so that one instruction does it.
template <typename T>
__device__ inline const T* behind(const T* first, int index, int stride) {
    return reinterpret_cast<const T*>(reinterpret_cast<const char*>(first) + apart(index, stride * (int)sizeof(T)));
}

// A number that stays in a register, where the compiler would work it out again and again.
__device__ inline int held_number(int number) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 1000
    asm volatile("" : "+r"(number));
#endif
    return number;
}

// The same for compilers of newer cards, which keep three counters where one would do, one for each thing it is multiplied with.
__device__ inline int counted_once(int number) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
    asm volatile("" : "+r"(number));
#endif
    return number;
}

// ---- how the threads of a block share out the values of a step: SIDE rows of a matrix, DEPTH values of each ----

// Packs of COUNT values lie along the sum: a thread takes one place in the step and some rows.
template <typename Stored, typename T, int SIDE, int COUNT>
struct AlongSum {
    static constexpr int PER_ROW = DEPTH / COUNT, PACKS = SIDE * PER_ROW / T::THREADS;
    Pack<Stored, COUNT> held[PACKS];

    __device__ static int at() { return threadIdx.x % PER_ROW * COUNT; }
    __device__ static int row(int pack) { return threadIdx.x / PER_ROW + pack * (T::THREADS / PER_ROW); }

    template <typename Sum, int PITCH>
    __device__ void put(Sum (&stage)[DEPTH][PITCH]) const {
#pragma unroll
        for (int pack = 0; pack < PACKS; ++pack) {
#pragma unroll
            for (int lane = 0; lane < COUNT; ++lane) stage[at() + lane][row(pack)] = (Sum)held[pack].value[lane];
        }
    }
};

// Packs of COUNT values lie along the side, neighbouring rows at the same place of the sum.
template <typename Stored, typename T, int SIDE, int COUNT>
struct AlongSide {
    static constexpr int PER_STEP = SIDE / COUNT, APART = T::THREADS / PER_STEP, PACKS = DEPTH / APART;
    static_assert(APART > 0 && DEPTH % APART == 0, "each thread takes as many packs");
    Pack<Stored, COUNT> held[PACKS];

    __device__ static int row() { return threadIdx.x % PER_STEP * COUNT; }
    __device__ static int at(int pack) { return threadIdx.x / PER_STEP + pack * APART; }

    template <typename Sum, int PITCH>
    __device__ void put(Sum (&stage)[DEPTH][PITCH]) const {
#pragma unroll
        for (int pack = 0; pack < PACKS; ++pack) {
            Pack<Sum, COUNT> values;
#pragma unroll
            for (int lane = 0; lane < COUNT; ++lane) values.value[lane] = (Sum)held[pack].value[lane];
            store(&stage[at(pack)][row()], 0, values);
        }
    }
};

// ---- the loop ----

// RUNS runs of 4 values, `apart` values apart.
template <int RUNS, typename Sum>
__device__ inline void read_runs(const Sum* values, int apart, Sum (&into)[RUNS * RUN]) {
#pragma unroll
    for (int run = 0; run < RUNS; ++run) {
#pragma unroll
        for (int first = 0; first < RUN; first += 16 / sizeof(Sum)) {
            const auto pack = load<16 / sizeof(Sum)>(values + run * apart + first, 0);
#pragma unroll
            for (int lane = 0; lane < 16 / sizeof(Sum); ++lane) into[run * RUN + first + lane] = pack.value[lane];
        }
    }
}

template <typename T, typename Sum>
__device__ inline void multiply_step(const Factors<Sum, T>& values, int row, int column, Sum (&sum)[T::ROWS][T::COLUMNS]) {
#pragma unroll (sizeof(Sum) == 4 ? DEPTH : 1)  // more sums of 8 bytes on their way at once would spill
    for (int l = 0; l < DEPTH; ++l) {
        Sum a[T::ROWS];
        read_runs<T::ROWS / RUN>(&values.left[l][row], 16, a);
#pragma unroll
        for (int first = 0; first < T::COLUMNS; first += RUN) {  // by halves: registers are scarce
            Sum b[RUN];
            read_runs<1>(&values.right[l][column + first / RUN * 32], 0, b);
#pragma unroll
            for (int i = 0; i < T::ROWS; ++i) {
#pragma unroll
                for (int j = 0; j < RUN; ++j) sum[i][first + j] = multiply_add(a[i], b[j], sum[i][first + j]);
            }
        }
    }
}

// Multiplies the step that stands in one stage, while the next one is on its way to the other.
template <typename T, typename Left, typename Right, typename Sum>
__device__ inline void multiply_and_fetch(
    Left& left, Right& right, int further, Stages<Sum, T>& stages, int& now, int row, int column,
    Sum (&sum)[T::ROWS][T::COLUMNS]
) {
    left.fetch(further), right.fetch(further);
    multiply_step(stages.of[now], row, column, sum);
    now ^= 1;  // was last read before the barrier of the step before
    left.put(stages.of[now].left), right.put(stages.of[now].right);
    __syncthreads();
}

// Adds the steps of a sum, from where its order stands up to `stages.last`, to those of this thread. The order knows which
// step() this is and how many go straight on from there: straight(), at least 1. skip(steps) goes on. A gatherer looks with turn() where the order stands; then fetch(further) takes
// the values of the step that is so many further, as long as these are straight on; put() writes them to shared memory.
// After stop() it takes nothing. So what a turn takes is no part of the loop that multiplies.
template <typename T, typename Order, typename Left, typename Right, typename Sum>
__device__ inline void multiply(
    Order& order, Left& left, Right& right, Stages<Sum, T>& stages, Sum (&sum)[T::ROWS][T::COLUMNS]
) {
    if (order.step() >= stages.last) return;
    const int row = held_number(T::row()), column = held_number(T::column());
    left.turn(), right.turn();
    left.fetch(0), right.fetch(0);
    left.put(stages.of[0].left), right.put(stages.of[0].right);
    __syncthreads();
    for (int now = 0, next = 1;;) {
        const int missing = stages.last - order.step(), end = missing > 0 ? min(order.straight(), missing) : 1;
        for (; next < end; ++next) multiply_and_fetch<T>(left, right, next, stages, now, row, column, sum);
        order.skip(next), next = 0;
        if (order.step() < stages.last) left.turn(), right.turn();
        else if (order.step() == stages.last) left.stop(), right.stop();  // all are there; the last one is yet to be multiplied
        else return;
    }
}

// Calls epilogue(row, column, values) for each run of 4 results of this thread, row and column within the tile.
template <typename T, typename Sum, typename Epilogue>
__device__ inline void each_run(const Sum (&sum)[T::ROWS][T::COLUMNS], Epilogue epilogue) {
#pragma unroll
    for (int i = 0; i < T::ROWS; ++i) {
#pragma unroll
        for (int j = 0; j < T::COLUMNS; j += RUN) {
            Pack<Sum, RUN> run;
#pragma unroll
            for (int lane = 0; lane < RUN; ++lane) run.value[lane] = sum[i][j + lane];
            epilogue(T::row() + i / RUN * 16 + i % RUN, T::column() + j / RUN * 32, run);
        }
    }
}

// Where a run of results stands in memory, the first `left` of it: as packs of COUNT where they may be used.
template <int COUNT, typename Stored>
struct RunOf {
    Stored* values;
    int left;
    bool packed;

    template <typename Sum>
    __device__ void add_to(Pack<Sum, RUN>& run) const {
#pragma unroll
        for (int first = 0; first < RUN; first += COUNT) {
            if (packed && first < left) {
                const auto pack = load<COUNT>(values + first, 0);
#pragma unroll
                for (int lane = 0; lane < COUNT; ++lane) run.value[first + lane] += (Sum)pack.value[lane];
            }
#pragma unroll
            for (int lane = first; lane < first + COUNT; ++lane) {
                if (!packed && lane < left) run.value[lane] += (Sum)values[lane];
            }
        }
    }
    // 0 instead where what stands at `below`, which may be the same place, is 0 or less; NaN there lets through.
    __device__ void store_above(const Stored* below, const Pack<Stored, RUN>& run) const {
#pragma unroll
        for (int first = 0; first < RUN; first += COUNT) {
            if (packed && first < left) {
                auto pack = load<COUNT>(below + first);
#pragma unroll
                for (int lane = 0; lane < COUNT; ++lane) {
                    pack.value[lane] = pack.value[lane] <= Stored(0) ? Stored(0) : run.value[first + lane];
                }
                store(values + first, 0, pack);
            }
#pragma unroll
            for (int lane = first; lane < first + COUNT; ++lane) {
                if (!packed && lane < left) values[lane] = below[lane] <= Stored(0) ? Stored(0) : run.value[lane];
            }
        }
    }
    template <typename Sum>
    __device__ void store_run(const Pack<Sum, RUN>& run) const {
#pragma unroll
        for (int first = 0; first < RUN; first += COUNT) {
            Pack<Stored, COUNT> pack;
#pragma unroll
            for (int lane = 0; lane < COUNT; ++lane) pack.value[lane] = (Stored)run.value[first + lane];
            if (packed && first < left) store(values + first, 0, pack);
#pragma unroll
            for (int lane = 0; lane < COUNT; ++lane) {
                if (!packed && first + lane < left) values[first + lane] = pack.value[lane];
            }
        }
    }
};

// ---- which part of the work a block does ----

// Tiles across come first, then tiles down, then whatever else there is.
struct Part {
    int across, down;
    unsigned int rest;

    __device__ Part(unsigned int number, unsigned int tiles_across, unsigned int tiles_down)
        : across(number % tiles_across), down(number / tiles_across % tiles_down),
          rest(number / tiles_across / tiles_down) {}
};

// The steps [first, last) of slice number `slice`: all but the last ones have as many.
struct Slice {
    int first, last;

    __device__ Slice(int slice, int slices, int steps) {
        const int each = (steps + slices - 1) / slices;
        first = slice * each < steps ? slice * each : steps;
        last = first + each < steps ? first + each : steps;
    }
    __device__ int steps() const { return last - first; }
};

__device__ inline int tiles(int size, int tile) { return (size + tile - 1) / tile; }
