// Winograd's convolution F(2x2, 3x3), forward, and the gradient of its input: that is a convolution of dy with every filter
// turned round. First the filters go to their values at the points, then one kernel does all the rest.

#include "winograd.cuh"

// What a block of `filters_to_points` changes: 32 maps of 8 filters, of which memory holds neighbours side by side.
constexpr int MAPS = 32, FILTERS = BLOCK / MAPS;

// w       (K, 3, 3, D)     in
// values  (16, D, K)       out; where `turned`, (16, K, D) of every filter turned round
// A block takes 32 maps of 8 filters at a time, a thread one of each, and changes rows and columns in shared memory.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
filters_to_points(const real* __restrict__ w, real* __restrict__ values, long long K, long long D, long long turned) {
    __shared__ real shared[FILTERS][MAPS + 1];
    const long long across = (D + MAPS - 1) / MAPS, parts = (K + FILTERS - 1) / FILTERS * across;
    const int map = threadIdx.x % MAPS, filter = threadIdx.x / MAPS;
    for (long long part = blockIdx.x; part < parts; part += gridDim.x) {
        const long long k0 = part / across * FILTERS, d0 = part % across * MAPS, k = k0 + filter, d = d0 + map;
        real tile[4][4] = {};
        if (k < K && d < D) {
#pragma unroll
            for (int tap = 0; tap < 9; ++tap) {
                const int from = turned ? 8 - tap : tap;
                tile[tap / 3][tap % 3] = w[(k * 9 + from) * D + d];
            }
        }
        change<3, 4>(tile, weights_to_points);
        const int row = threadIdx.x % FILTERS, column = threadIdx.x / FILTERS;  // filter and map that this thread writes
#pragma unroll
        for (int point = 0; point < POINTS; ++point) {
            const real value = tile[point / 4][point % 4];
            if (turned) {
                if (k < K && d < D) values[(point * K + k) * D + d] = value;
                continue;
            }
            __syncthreads();
            shared[filter][map] = value;
            __syncthreads();
            if (k0 + row < K && d0 + column < D) values[(point * D + d0 + column) * K + k0 + row] = shared[row][column];
        }
    }
}

// A convolution as this file takes it.
struct Plane {
    int N, H, W, D, H2, W2, K, P_top, P_left;

    __device__ int down() const { return tiles(H2, 2); }
    __device__ int across() const { return tiles(W2, 2); }
    __device__ int tiles_of_all() const { return N * down() * across(); }
};

// The values of one map of one tile of x for each thread, brought to the points.
struct InputTiles {
    const real* x;
    const Plane& p;
    int tile0;

    __device__ static int own() { return threadIdx.x / STEP; }
    __device__ Source start() const {
        const int number = tile0 + own(), l = threadIdx.x % STEP;
        const TileAt at(number, p.down(), p.across());
        const int top = 2 * at.row - p.P_top, left = 2 * at.column - p.P_left;
        const bool there = own() < PART && number < p.tiles_of_all();
        const int position = (at.image * p.H + top) * p.W + left;
        return {x + ((long long)position * p.D + l), there ? inside<4>(top, left, p.H, p.W) : 0};
    }
    __device__ void fetch(int step, Source& source, Held& held) const {
        const bool more = step * STEP + (int)(threadIdx.x % STEP) < p.D;
        load_tile<4>(source.next, more ? source.seen : 0, p.W, p.D, held);
        source.next += STEP;
    }
    __device__ void put(Held& held, Stage& stage) const {
        if (own() >= PART) return;
        change<4, 4>(held, inputs_to_points);
        const int l = threadIdx.x % STEP;
#pragma unroll
        for (int point = 0; point < POINTS; ++point) {
            stage.left[point][l][within<true>(l, own())] = held[point / 4][point % 4];
        }
    }
};

// The filters' values at the points, (16, D, K): four packs a thread, each of another point.
template <int COUNT>
struct FilterValues {
    static constexpr int PER_ROW = PART / WIDTH, APART = POINTS / 4;
    const real* values;
    const Plane& p;
    int k0;

    __device__ static int column() { return threadIdx.x % PER_ROW * WIDTH; }
    __device__ static int at() { return threadIdx.x / PER_ROW % STEP; }
    __device__ static int point() { return threadIdx.x % HALF / (PER_ROW * STEP); }
    __device__ Source start() const {
        const int k = k0 + column(), there = max(0, min(WIDTH, p.K - k));
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
            for (int lane = 0; lane < WIDTH; ++lane) held[pack][lane] = found.value[lane];
            from += (long long)APART * p.D * p.K;
        }
        source.next += (long long)STEP * p.K;
    }
    __device__ void put(Held& held, Stage& stage) const {
#pragma unroll
        for (int pack = 0; pack < 4; ++pack) {
            Pack<real, WIDTH> found;
#pragma unroll
            for (int lane = 0; lane < WIDTH; ++lane) found.value[lane] = held[pack][lane];
            store(&stage.right[point() + pack * APART][at()][column()], 0, found);
        }
    }
};

// The quarter (i, j) of the block's results goes from the points to the outputs, a tile of one filter a thread.
__device__ inline void write_outputs(
    const AtPoints& shared, const real* __restrict__ b, real* __restrict__ y, const Plane& p, int number, int k
) {
    if (number >= p.tiles_of_all() || k >= p.K) return;
    real tile[4][4];
#pragma unroll
    for (int point = 0; point < POINTS; ++point) {
        tile[point / 4][point % 4] = shared.results[point][threadIdx.x / 16][threadIdx.x % 16];
    }
    change<4, 2>(tile, points_to_outputs);
    const TileAt at(number, p.down(), p.across());
    const real bias = b ? b[k] : real(0);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            const int row = 2 * at.row + i, column = 2 * at.column + j;
            if (row < p.H2 && column < p.W2) {
                y[(long long)((at.image * p.H2 + row) * p.W2 + column) * p.K + k] = tile[i][j] + bias;
            }
        }
    }
}

template <int COUNT>
__device__ inline void convolve_part(
    const real* __restrict__ x, const real* __restrict__ values, const real* __restrict__ b, real* __restrict__ y, const Plane& p,
    AtPoints& shared
) {
    const Part part(blockIdx.x, tiles(p.K, PART), tiles(p.tiles_of_all(), PART));
    const int k0 = part.across * PART;
    real sum[2 * RUN][2 * RUN] = {};
    const InputTiles inputs = {x, p, part.down * PART};
    const FilterValues<COUNT> filters = {values, p, k0};
    multiply_points<true>(inputs, filters, tiles(p.D, STEP), shared, sum);
    __syncthreads();  // the results go where the last step was read
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
#pragma unroll
            for (int row = 0; row < RUN; ++row) {
#pragma unroll
                for (int first = 0; first < RUN; first += WIDTH) {
                    Pack<real, WIDTH> pack;
#pragma unroll
                    for (int lane = 0; lane < WIDTH; ++lane) {
                        pack.value[lane] = sum[i * RUN + row][j * RUN + first + lane];
                    }
                    store(&shared.results[own_point()][own_row() + row][own_column() + first], 0, pack);
                }
            }
            __syncthreads();
            const int tile0 = part.down * PART + i * 16 + threadIdx.x / 16;
            write_outputs(shared, b, y, p, tile0, k0 + j * 16 + threadIdx.x % 16);
            __syncthreads();
        }
    }
}

#define PLANE                                                                                                    \
    long long N, long long H, long long W, long long D, long long H2, long long W2, long long K, long long P_top, \
        long long P_left
#define PLANE_OF_NUMBERS {(int)N, (int)H, (int)W, (int)D, (int)H2, (int)W2, (int)K, (int)P_top, (int)P_left}

// x       (N, H, W, D)     in
// values  (16, D, K)       in, what filters_to_points wrote
// b       (K,)             in; null: no bias
// y       (N, H2, W2, K)   out
// A block makes 32 tiles of 32 maps of y. For each step of the sums a thread brings one tile of one map of x to the
// points; then it makes 8 x 8 results of one point. Packs need K that they divide.
extern "C" __global__ void __launch_bounds__(BLOCK, WINOGRAD_BLOCKS)
convolve(
    const real* __restrict__ x, const real* __restrict__ values, const real* __restrict__ b, real* __restrict__ y, PLANE
) {
    __shared__ AtPoints shared;
    convolve_part<WIDTH>(x, values, b, y, PLANE_OF_NUMBERS, shared);
}

extern "C" __global__ void __launch_bounds__(BLOCK)
convolve_scalars(
    const real* __restrict__ x, const real* __restrict__ values, const real* __restrict__ b, real* __restrict__ y, PLANE
) {
    __shared__ AtPoints shared;
    convolve_part<1>(x, values, b, y, PLANE_OF_NUMBERS, shared);
}
