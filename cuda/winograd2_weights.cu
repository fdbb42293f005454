// The gradient of the filters of Winograd's convolution F(2x2, 3x3), the adjoint of the convolution in its filters: tiles of
// x and of dy go to the points, are multiplied there and summed over all tiles, and the sums go back to 3 x 3 weights.

#include "winograd.cuh"

// Where the tiles of a batch stand, each with 4 x 4 values of x and 2 x 2 of dy.
struct Tiles {
    int N, H, W, D, H2, W2, K, P_top, P_left;

    __device__ int down() const { return tiles(H2, 2); }
    __device__ int across() const { return tiles(W2, 2); }
    __device__ int all() const { return N * down() * across(); }
};

// One map of a volume for each of 32 threads side by side, of a tile for each place of the sum. SIDE is 2 for dy, whose
// tiles do not overlap, and 4 for x.
template <int SIDE>
struct MapsOfTiles {
    const real* x;
    const Tiles& t;
    int map0, maps;  // first map of the block, and how many there are of all
    int first, last; // tiles of the sum

    __device__ static int map() { return threadIdx.x % PART; }
    __device__ static int place() { return threadIdx.x % HALF / PART; }
    __device__ Source start() const {
        const unsigned int there = place() < STEP && map0 + map() < maps;
        return {x + map0 + map(), there, TileAt(first + place(), t.down(), t.across())};
    }
    __device__ void fetch(int step, Source& source, Held& held) const {
        TileAt& at = source.at;
        const int H = SIDE == 2 ? t.H2 : t.H, W = SIDE == 2 ? t.W2 : t.W;
        const int top = 2 * at.row - (SIDE == 2 ? 0 : t.P_top), left = 2 * at.column - (SIDE == 2 ? 0 : t.P_left);
        const long long position = (at.image * H + top) * W + left;
        const bool there = source.seen && first + step * STEP + place() < last;
        load_tile<SIDE>(source.next + position * maps, there ? inside<SIDE>(top, left, H, W) : 0, W, maps, held);
        at.next(STEP, t.down(), t.across());
    }
    __device__ void put(Held& held, Stage& stage) const {
        if (place() >= STEP) return;
        auto& values = SIDE == 2 ? stage.left : stage.right;
        if constexpr (SIDE == 2) change<2, 4>(held, gradients_to_points);
        else change<4, 4>(held, inputs_to_points);
#pragma unroll
        for (int point = 0; point < POINTS; ++point) values[point][place()][map()] = held[point / 4][point % 4];
    }
};

// x      (N, H, W, D)                in
// dy     (N, H2, W2, K)              in
// parts  (slices, 16, K, D)          out; sums at the points over the tiles of a slice, all but the last of `each`
// A block makes 32 x 32 sums at all points for one slice. For each step a thread brings one tile of one map of x or dy to
// the points; then it adds to 8 x 8 sums of one point.
extern "C" __global__ void __launch_bounds__(BLOCK, WINOGRAD_BLOCKS)
sum_tiles(
    const real* __restrict__ x, const real* __restrict__ dy, real* __restrict__ parts, long long N, long long H, long long W,
    long long D, long long H2, long long W2, long long K, long long P_top, long long P_left, long long each
) {
    __shared__ AtPoints shared;
    const Tiles t = {(int)N, (int)H, (int)W, (int)D, (int)H2, (int)W2, (int)K, (int)P_top, (int)P_left};
    const Part part(blockIdx.x, tiles(t.D, PART), tiles(t.K, PART));
    const int k0 = part.down * PART, d0 = part.across * PART;
    const int first = part.rest * (int)each, last = min(first + (int)each, t.all());
    real sum[2 * RUN][2 * RUN] = {};
    const MapsOfTiles<2> gradients = {dy, t, k0, t.K, first, last};
    const MapsOfTiles<4> inputs = {x, t, d0, t.D, first, last};
    multiply_points<false>(gradients, inputs, tiles(last - first, STEP), shared, sum);
    real* const own = parts + (long long)(part.rest * POINTS + own_point()) * t.K * t.D;
    const bool packed = t.D % WIDTH == 0 && aligned(parts);
#pragma unroll
    for (int i = 0; i < 2 * RUN; ++i) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            const int k = k0 + own_row() + i / RUN * 16 + i % RUN, d = d0 + own_column() + j * 16;
            Pack<real, RUN> run;
#pragma unroll
            for (int lane = 0; lane < RUN; ++lane) run.value[lane] = sum[i][j * RUN + lane];
            if (k < t.K && d < t.D) RunOf<WIDTH, real>{own + ((long long)k * t.D + d), t.D - d, packed}.store_run(run);
        }
    }
}

// parts  (slices, 16, count)     in, what sum_tiles wrote; count = K*D
// dw     (K, 3, 3, D)            out; in and out where accumulate is 1
// A thread adds up the slices of the 9 weights of one filter and one map, in order, point by point.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
sums_to_weights(
    const real* __restrict__ parts, real* __restrict__ dw, long long count, long long D, long long magic_D,
    long long slices, long long accumulate
) {
    const Divisor<int> maps = By{D, magic_D};  // implicit.py sees to it that an int counts all weights
    for (long long item = first_item(); item < count; item += item_stride()) {
        Held sums;
#pragma unroll
        for (int point = 0; point < POINTS; ++point) sums[point / 4][point % 4] = parts[point * count + item];
        for (long long slice = 1; slice < slices; ++slice) {
#pragma unroll
            for (int point = 0; point < POINTS; ++point) {
                sums[point / 4][point % 4] += parts[(slice * POINTS + point) * count + item];
            }
        }
        change<4, 3>(sums, points_to_weights);
#pragma unroll
        for (int tap = 0; tap < 9; ++tap) {
            real& weight = dw[((long long)((int)item / maps) * 9 + tap) * D + (int)item % maps];
            weight = accumulate ? weight + sums[tap / 3][tap % 3] : sums[tap / 3][tap % 3];
        }
    }
}
