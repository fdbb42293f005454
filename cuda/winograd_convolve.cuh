// A convolution of a volume x in Winograd's way, for the kernels of cuda/winograd2*.cu: a block makes 32 tiles of 32 maps of
// what comes of it. How a thread brings a tile of x, the first gatherer knows; what becomes of a tile of results, the
// epilogue.

#include "winograd.cuh"

// A convolution as these kernels take it.
struct Plane {
    int N, H, W, D, H2, W2, K, P_top, P_left;

    __device__ int down() const { return tiles(H2, 2); }
    __device__ int across() const { return tiles(W2, 2); }
    __device__ int tiles_of_all() const { return N * down() * across(); }
    __device__ Part part() const { return Part(this_block(), tiles(K, PART), tiles(tiles_of_all(), PART)); }
};

#define PLANE                                                                                                    \
    long long N, long long H, long long W, long long D, long long H2, long long W2, long long K, long long P_top, \
        long long P_left
#define PLANE_OF_NUMBERS {(int)N, (int)H, (int)W, (int)D, (int)H2, (int)W2, (int)K, (int)P_top, (int)P_left}

// The tile of one map that a thread brings for each step, and where its inputs begin.
struct OwnTile {
    TileAt at;
    int top, left;
    bool there;  // not behind the last

    __device__ static int place() { return threadIdx.x / STEP; }
    __device__ static int map() { return threadIdx.x % STEP; }
    __device__ static bool inside(int step, const Plane& p) { return step * STEP + map() < p.D; }

    __device__ OwnTile(const Plane& p) {
        const int number = p.part().down * PART + place();
        at = TileAt(number, p.down(), p.across()), top = at.top(p.P_top), left = at.left(p.P_left);
        there = place() < PART && number < p.tiles_of_all();
    }
};

// Brings a tile to the points, to where this thread's stands in the stage.
__device__ inline void put_tile(Values& tile, Stage& stage) {
    if (OwnTile::place() >= PART) return;
    change<4, 4>(tile, inputs_to_points);
    const int l = OwnTile::map();
#pragma unroll
    for (int point = 0; point < POINTS; ++point) {
        stage.left[point][l][within<true>(l, OwnTile::place())] = tile[point / 4][point % 4];
    }
}

// Tiles of a volume that lies as it is.
struct InputTiles {
    const real* x;
    const Plane& p;

    __device__ Source start() const {
        const OwnTile own(p);
        const int position = (own.at.image * p.H + own.top) * p.W + own.left;
        return {x + ((long long)position * p.D + OwnTile::map()), own.there ? inside<4>(own.top, own.left, p.H, p.W) : 0};
    }
    __device__ void fetch(int step, Source& source, Held& held) const {
        load_tile<4>(source.next, OwnTile::inside(step, p) ? source.seen : 0, p.W, p.D, held.tile);
        source.next += STEP;
    }
    __device__ void put(int, const Source&, Held& held, Stage& stage) const { put_tile(held.tile, stage); }
};

// The filters' values at the points, (16, D, K): four packs a thread, each of another point.
template <int COUNT>
struct FilterValues {
    static constexpr int PER_ROW = PART / WIDTH, APART = POINTS / 4;
    const real* values;
    const Plane& p;

    __device__ static int column() { return threadIdx.x % PER_ROW * WIDTH; }
    __device__ static int at() { return threadIdx.x / PER_ROW % STEP; }
    __device__ static int point() { return threadIdx.x % HALF / (PER_ROW * STEP); }
    __device__ Source start() const {
        const int k = p.part().across * PART + column(), there = max(0, min(WIDTH, p.K - k));
        const long long place = (long long)(point() * p.D + at()) * p.K + k;
        return {values + place, (unsigned int)there};
    }
    __device__ void fetch(int step, Source& source, Held& held) const {
        const unsigned int seen = step * STEP + at() < p.D ? source.seen : 0;
        const real* from = source.next;
#pragma unroll
        for (int pack = 0; pack < 4; ++pack) {
            Pack<real, WIDTH> found = {};
            if constexpr (COUNT == WIDTH) {
                if (seen) found = load<WIDTH>(from, 0);
            } else {
#pragma unroll
                for (int lane = 0; lane < WIDTH; ++lane) {
                    if (lane < seen) found.value[lane] = from[lane];
                }
            }
#pragma unroll
            for (int lane = 0; lane < WIDTH; ++lane) held.tile[pack][lane] = found.value[lane];
            from += (long long)APART * p.D * p.K;
        }
        source.next += (long long)STEP * p.K;
    }
    __device__ void put(int, const Source&, Held& held, Stage& stage) const {
#pragma unroll
        for (int pack = 0; pack < 4; ++pack) {
            Pack<real, WIDTH> found;
#pragma unroll
            for (int lane = 0; lane < WIDTH; ++lane) found.value[lane] = held.tile[pack][lane];
            store(&stage.right[point() + pack * APART][at()][column()], 0, found);
        }
    }
};

// Where a result stands in a row of shared memory: rows that neighbouring threads write at once find banks of their own.
__device__ inline int turned(int row, int column) { return column ^ row / RUN % 2 * 16; }

// Rows [first, first + AT_A_TIME) of the results of all threads, from the accumulators to shared memory.
__device__ inline void show_results(const real (&sum)[2 * RUN][2 * RUN], int first, AtPoints& shared) {
#pragma unroll
    for (int i = 0; i < 2 * RUN; ++i) {
        const int row = own_row() + i / RUN * 16 + i % RUN - first;
        if (row < 0 || row >= AT_A_TIME) continue;
#pragma unroll
        for (int j = 0; j < 2 * RUN; j += WIDTH) {
            Pack<real, WIDTH> pack;
#pragma unroll
            for (int lane = 0; lane < WIDTH; ++lane) pack.value[lane] = sum[i][j + lane];
            store(&shared.results[own_point()][row][turned(row, own_column() + j / RUN * 16 + j % RUN)], 0, pack);
        }
    }
}

// Calls finish(at, k, tile) for each tile of results of a filter, by the threads of a warp for neighbouring filters, also for those
// behind the last one.
template <int COUNT, typename Tiles, typename Finish>
__device__ inline void convolve_part(
    const Tiles& inputs, const real* values, const Plane& p, AtPoints& shared, const Finish& finish
) {
    real sum[2 * RUN][2 * RUN] = {};
    multiply_points<true>(inputs, FilterValues<COUNT>{values, p}, tiles(p.D, STEP), shared, sum);
    const Part part = p.part();
    const int k = part.across * PART + threadIdx.x % PART;
#pragma unroll
    for (int first = 0; first < PART; first += AT_A_TIME) {
        __syncthreads();  // what stood there has been read
        show_results(sum, first, shared);
        __syncthreads();
#pragma unroll
        for (int row = threadIdx.x / PART; row < AT_A_TIME; row += BLOCK / PART) {
            const int number = part.down * PART + first + row;
            if (number >= p.tiles_of_all()) continue;
            Values tile;
#pragma unroll
            for (int point = 0; point < POINTS; ++point) {
                tile[point / 4][point % 4] = shared.results[point][row][turned(row, threadIdx.x % PART)];
            }
            change<4, 2>(tile, points_to_outputs);
            finish(TileAt(number, p.down(), p.across()), k, tile);
        }
    }
}

// What becomes of a tile: plus the bias, where there is one; where `relu`, not below 0; 0 where what a ReLU gave `below` is
// 0 or less; and stored, but for what is outside.
struct PlusBias {
    const real* b;
    real* y;
    const Plane& p;
    int y_row;  // values from a position to the next
    bool relu;
    const real* below = nullptr;  // as y, which may lie in its place

    __device__ void operator()(const TileAt& at, int k, const Values& tile) const {
        const real bias = b && k < p.K ? b[k] : real(0);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                const int row = 2 * at.row + i, column = 2 * at.column + j;
                const real value = tile[i][j] + bias;
                if (row < p.H2 && column < p.W2 && k < p.K) {
                    const long long place = (long long)((at.image * p.H2 + row) * p.W2 + column) * y_row + k;
                    const bool cut = (relu && value <= real(0)) || (below && below[place] <= real(0));
                    y[place] = cut ? real(0) : value;  // NaN stays
                }
            }
        }
    }
};
