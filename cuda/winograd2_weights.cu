// The gradient of the filters of Winograd's convolution F(2x2, 3x3): sums over tiles at the points, cuda/winograd_sums.cuh,
// which then go back to 3 x 3 weights.

#include "winograd_sums.cuh"

// x      (N, H, W, D)                in
// dy     (N, H2, W2, K)              in
// parts  (slices, 16, K, D)          out; sums at the points over the tiles of a slice, all but the last of `each`
// A block makes 32 x 32 sums at all points for one slice. For each step a thread brings one tile of one map of x or dy to
// the points; then it adds to 8 x 8 sums of one point.
extern "C" __global__ void __launch_bounds__(BLOCK, WINOGRAD_BLOCKS)
sum_tiles(
    const real* __restrict__ x, const real* __restrict__ dy, real* __restrict__ parts, TILES, long long each
) {
    __shared__ AtPoints shared;
    const Tiles t = TILES_OF_NUMBERS;
    const auto gradients_of = [&](int k0, int first, int last) { return MapsOfTiles<2>(dy, t, k0, t.K, first, last); };
    sum_part(x, gradients_of, parts, t, (int)each, shared);
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
        Values sums;
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
