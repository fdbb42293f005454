// Convolution as a matrix product without its matrix, then the bias, and ReLU; cuda/plus_bias.cuh.

#include "plus_bias.cuh"

// x  (N, H, W, D)                             in
// w  (K, F_rows, F_columns, D/groups)         in
// b  (K,)                                     in; null: no bias
// y  (N, H2, W2, K), or (slices, N, H2, W2, K) where there are several: the sums of each slice, without
//    the bias    out
// y_row: values from a position of y to the next; more than K where these are maps of a wider volume
// least: 0 of ReLU, else -infinity, as of a slice
// A thread makes 8 x 8 results, of the smallest tile 8 x 4. Packs need maps of a group that they divide.
extern "C" __global__ void __launch_bounds__(256, BLOCKS_OF_256)
forward_128x128(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y, CONVOLUTION,
    long long y_row, real least, long long slices
) {
    __shared__ Stages<real, Tile128x128> stages;
    forward_tile<WIDTH, Tile128x128>(x, w, b, y, CONVOLUTION_OF_NUMBERS, (int)y_row, least, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(128, BLOCKS_OF_128)
forward_128x64(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y, CONVOLUTION,
    long long y_row, real least, long long slices
) {
    __shared__ Stages<real, Tile128x64> stages;
    forward_tile<WIDTH, Tile128x64>(x, w, b, y, CONVOLUTION_OF_NUMBERS, (int)y_row, least, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(64, BLOCKS_OF_64)
forward_64x64(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y, CONVOLUTION,
    long long y_row, real least, long long slices
) {
    __shared__ Stages<real, Tile64x64> stages;
    forward_tile<WIDTH, Tile64x64>(x, w, b, y, CONVOLUTION_OF_NUMBERS, (int)y_row, least, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(32, BLOCKS_OF_32)
forward_32x32(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y, CONVOLUTION,
    long long y_row, real least, long long slices
) {
    __shared__ Stages<real, Tile32x32> stages;
    forward_tile<WIDTH, Tile32x32>(x, w, b, y, CONVOLUTION_OF_NUMBERS, (int)y_row, least, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(128, 2)
forward_128x64_scalars(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y, CONVOLUTION,
    long long y_row, real least, long long slices
) {
    __shared__ Stages<real, Tile128x64> stages;
    forward_tile<1, Tile128x64>(x, w, b, y, CONVOLUTION_OF_NUMBERS, (int)y_row, least, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(32, SCALARS_OF_32)
forward_32x32_scalars(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y, CONVOLUTION,
    long long y_row, real least, long long slices
) {
    __shared__ Stages<real, Tile32x32> stages;
    forward_tile<1, Tile32x32>(x, w, b, y, CONVOLUTION_OF_NUMBERS, (int)y_row, least, (int)slices, stages);
}
