// Winograd's convolution F(2x2, 3x3): 2 x 2 outputs from the 4 x 4 inputs under them by 16 products in place of 36. Inputs
// and filters are known by their values at 16 points; at each point there is a matrix product of its own; what comes of
// them goes back to outputs. The matrices are those of gpunet.program.winograd for m = 2.
//
// A block makes 32 x 32 results at all 16 points: 16 threads a point, each with 8 x 8 accumulators. Values at points never
// go through memory but for the filters'. Every accumulator adds up in one order, so no bit depends on grid, card or run.
// Source: Lavin & Gray 2015, "Fast algorithms for convolutional neural networks".

#include "tile.cuh"

constexpr int POINTS = 16;
constexpr int PART = 32;                 // results of a block along each side
constexpr int STEP = 16 / sizeof(real);  // values of each sum that a step multiplies: 4 floats
constexpr int HALF = BLOCK / 2;          // threads that bring the values of the left factor, and of the right one
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
constexpr int AT_ONCE = NARROW ? 2 : 1;  // places of a sum that are multiplied in one piece: more would spill
#else
constexpr int AT_ONCE = NARROW ? STEP : 1;
#endif
constexpr int WINOGRAD_BLOCKS = NARROW ? 2 : 1;  // that a multiprocessor must have room for: 128 registers a thread

// Of both factors the values at all points for one step of the sums.
struct Stage {
    real left[POINTS][STEP][PART], right[POINTS][STEP][PART];
};

// What a block has in shared memory: two steps; in the end as many rows of its results as find room there.
constexpr int AT_A_TIME = 4 * STEP;
union alignas(16) AtPoints {
    Stage stages[2];
    real results[POINTS][AT_A_TIME][PART];
};

// What a thread has on its way to shared memory: of one step a tile, and which of it is there; or packs; behind a pool the
// switches, too. What a gatherer does not look at again takes no registers.
typedef real Values[4][4];
struct Held {
    Values tile;
    int switches[4][4];
    unsigned int seen;
};

// ---- to the points and back; each along one axis ----

// Of four inputs.
__device__ inline void inputs_to_points(real& a, real& b, real& c, real& d) {
    const real first = c - a, last = d - b, sum = b + c;
    c = c - b, a = first, b = sum, d = last;
}

// Of three weights, in `a` to `c`.
__device__ inline void weights_to_points(real& a, real& b, real& c, real& d) {
    const real ends = real(0.5) * (a + c), middle = real(0.5) * b;
    d = c, a = -a, b = ends + middle, c = ends - middle;
}

// Of two gradients of outputs, in `a` and `b`.
__device__ inline void gradients_to_points(real& a, real& b, real& c, real& d) {
    d = b, b = a + d, c = a - d;
}

// To two outputs, in `a` and `b`.
__device__ inline void points_to_outputs(real& a, real& b, real& c, real& d) {
    a = a + b + c, b = b - c + d;
}

// To the gradients of three weights, in `a` to `c`.
__device__ inline void points_to_weights(real& a, real& b, real& c, real& d) {
    const real sum = real(0.5) * (b + c);
    a = sum - a, b = real(0.5) * (b - c), c = sum + d;
}

// Applies one of these to the first COLUMNS columns of a tile, then to its first ROWS rows.
template <int COLUMNS, int ROWS, typename Change>
__device__ inline void change(Values& tile, Change one) {
#pragma unroll
    for (int column = 0; column < COLUMNS; ++column) {
        one(tile[0][column], tile[1][column], tile[2][column], tile[3][column]);
    }
#pragma unroll
    for (int row = 0; row < ROWS; ++row) one(tile[row][0], tile[row][1], tile[row][2], tile[row][3]);
}

// ---- the tiles of a volume ----

// blockIdx.x, read anew each time that it is asked for: what follows from it takes no registers in between.
__device__ inline unsigned int this_block() {
#ifdef EMULATED
    return blockIdx.x;
#else
    unsigned int number;
    asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(number));
    return number;
#endif
}

// Which 2 x 2 tile of the outputs of a batch, among down x across of each image.
struct TileAt {
    int image, row, column;

    __device__ TileAt() : image(0), row(0), column(0) {}
    __device__ TileAt(int number, int down, int across)
        : image(number / across / down), row(number / across % down), column(number % across) {}
    __device__ int top(int P) const { return 2 * row - P; }
    __device__ int left(int P) const { return 2 * column - P; }
    __device__ void next(int tiles, int down, int across) {
        for (column += tiles; column >= across; column -= across) {
            if (++row == down) row = 0, ++image;
        }
    }
};

// From where a thread brings its values, whichever they are: registers are scarce, and a thread brings one kind alone.
struct Source {
    const real* next;   // of the next step
    unsigned int seen;  // which of the values are there at all, of a tile a bit for each; or in how many steps there are any
    TileAt at;          // of the next step, where it is another one in each
    long long place;    // of the next step, in the place of `next` where two volumes are read
};

// Which of SIDE x SIDE positions from (top, left) on are inside of H x W, a bit for each.
template <int SIDE>
__device__ inline unsigned int inside(int top, int left, int H, int W) {
    unsigned int columns = 0, seen = 0;
#pragma unroll
    for (int at = 0; at < SIDE; ++at) {
        if ((unsigned int)(left + at) < (unsigned int)W) columns |= 1u << at;
    }
#pragma unroll
    for (int at = 0; at < SIDE; ++at) {
        if ((unsigned int)(top + at) < (unsigned int)H) seen |= columns << (SIDE * at);
    }
    return seen;
}

// Loads SIDE x SIDE values of one map of a volume of rows of W positions, D values apart; 0 where a bit of `seen` is not
// set.
template <int SIDE, typename Stored, typename Value>
__device__ inline void load_tile(const Stored* first, unsigned int seen, int W, int D, Value (&tile)[4][4]) {
#pragma unroll
    for (int row = 0; row < SIDE; ++row) {
#pragma unroll
        for (int column = 0; column < SIDE; ++column) {
            tile[row][column] = 0;
            if (seen & 1u << (SIDE * row + column)) tile[row][column] = first[apart(column, D)];
        }
        first += apart(W, D);
    }
}

// ---- the products ----

// Where value number `side` of place `l` of a step stands in a row of shared memory. Neighbouring threads write
// neighbouring places of the sum: so that they find banks of their own, each place has its runs in another order.
template <bool TURNED>
__device__ inline int within(int l, int side) {
    return TURNED ? side ^ (l * 2 * RUN) : side;
}

// The same of the run `run` of a thread, whose first is `own`: only what `own` counts is left to be turned by the thread.
template <bool TURNED>
__device__ inline int run_within(int l, int own, int run) {
    const int turns = l * 2 * RUN;
    return TURNED ? (own ^ turns % 16) + (run * 16 ^ turns / 16 * 16) : own + run * 16;
}

// The point of this thread, and the first of its results down and across; the others are in runs of 4, 16 apart.
__device__ inline int own_point() { return threadIdx.x / 16; }
__device__ inline int own_row() { return threadIdx.x / 4 % 4 * RUN; }
__device__ inline int own_column() { return threadIdx.x % 4 * RUN; }

template <bool TURNED>
__device__ inline void multiply_step(const Stage& values, real (&sum)[2 * RUN][2 * RUN]) {
    const auto& left = values.left[own_point()];
    const auto& right = values.right[own_point()];
#pragma unroll AT_ONCE
    for (int l = 0; l < STEP; ++l) {
        real a[2][RUN];
        read_runs<1>(&left[l][run_within<TURNED>(l, own_row(), 0)], 0, a[0]);
        read_runs<1>(&left[l][run_within<TURNED>(l, own_row(), 1)], 0, a[1]);
#pragma unroll
        for (int first = 0; first < 2 * RUN; first += RUN) {
            real b[RUN];
            read_runs<1>(&right[l][own_column() + first / RUN * 16], 0, b);
#pragma unroll
            for (int i = 0; i < 2 * RUN; ++i) {
#pragma unroll
                for (int j = 0; j < RUN; ++j) {
                    sum[i][first + j] = multiply_add(a[i / RUN][i % RUN], b[j], sum[i][first + j]);
                }
            }
        }
    }
}

template <typename Left, typename Right>
__device__ inline void fetch_step(const Left& left, const Right& right, int step, Source& source, Held& held) {
    if (threadIdx.x < HALF) left.fetch(step, source, held);
    else right.fetch(step, source, held);
}

// Adds `steps` steps to the sums of this thread. A gatherer has start(), where a thread begins; fetch(step, source,
// held), which goes on; and put(step, source, held, stage), which takes what was fetched for that step. `left` is that of the
// first half of the threads, `right` of the others. While a step is multiplied, the next one is on its way.
template <bool TURNED, typename Left, typename Right>
__device__ inline void multiply_points(
    const Left& left, const Right& right, int steps, AtPoints& shared, real (&sum)[2 * RUN][2 * RUN]
) {
    if (steps <= 0) return;
    Source source = threadIdx.x < HALF ? left.start() : right.start();
    Held held;
    fetch_step(left, right, 0, source, held);
    for (int step = 0;; ++step) {
        Stage& stage = shared.stages[step & 1];  // last read before the barrier of the step before
        if (threadIdx.x < HALF) left.put(step, source, held, stage);
        else right.put(step, source, held, stage);
        __syncthreads();
        const bool more = step + 1 < steps;
        if (more) fetch_step(left, right, step + 1, source, held);
        multiply_step<TURNED>(stage, sum);
        if (!more) return;
    }
}
