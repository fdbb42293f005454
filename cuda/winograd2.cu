// Winograd's convolution F(2x2, 3x3), forward, and the gradient of its input: that is a convolution of dy with every filter
// turned round. First the filters go to their values at the points, then one kernel does all the rest.

#include "winograd_convolve.cuh"

// What a block of `filters_to_points` changes: 32 maps of 8 filters, of which memory holds neighbours side by side.
constexpr int MAPS = 32, FILTERS = BLOCK / MAPS;

// w       (K, 3, 3, D)     in
// values  (16, D, K)       out; where `turned`, (16, K, D) of every filter turned round
// A block takes 32 maps of 8 filters at a time, a thread one of each, and changes rows and columns in shared memory.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
filters_to_points(const real* __restrict__ w, real* __restrict__ values, long long K, long long D, long long turned) {
    __shared__ real shared[FILTERS][MAPS + 4];
    const long long across = (D + MAPS - 1) / MAPS, parts = (K + FILTERS - 1) / FILTERS * across;
    const int map = threadIdx.x % MAPS, filter = threadIdx.x / MAPS;
    for (long long part = blockIdx.x; part < parts; part += gridDim.x) {
        const long long k0 = part / across * FILTERS, d0 = part % across * MAPS, k = k0 + filter, d = d0 + map;
        Values tile = {};
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

// x       (N, H, W, D)     in
// values  (16, D, K)       in, what filters_to_points wrote
// b       (K,)             in; null: no bias
// below   (N, H2, W2, K)   in: what a ReLU gave, where that is 0 y is 0; null: none
// y       (N, H2, W2, K)   out; may lie where `below` does
// y_row   values from a position of y to the next; more than K where these are maps of a wider volume
// relu    1: not below 0
// A block makes 32 tiles of 32 maps of y. For each step of the sums a thread brings one tile of one map of x to the
// points; then it makes 8 x 8 results of one point. Packs need K that they divide.
extern "C" __global__ void __launch_bounds__(BLOCK, WINOGRAD_BLOCKS)
convolve(
    const real* __restrict__ x, const real* __restrict__ values, const real* __restrict__ b, const real* below, real* y,
    PLANE, long long y_row, long long relu
) {
    __shared__ AtPoints shared;
    const Plane p = PLANE_OF_NUMBERS;
    convolve_part<WIDTH>(InputTiles{x, p}, values, p, shared, PlusBias{b, y, p, (int)y_row, relu != 0, below});
}

extern "C" __global__ void __launch_bounds__(BLOCK)
convolve_scalars(
    const real* __restrict__ x, const real* __restrict__ values, const real* __restrict__ b, const real* below, real* y,
    PLANE, long long y_row, long long relu
) {
    __shared__ AtPoints shared;
    const Plane p = PLANE_OF_NUMBERS;
    convolve_part<1>(InputTiles{x, p}, values, p, shared, PlusBias{b, y, p, (int)y_row, relu != 0, below});
}
