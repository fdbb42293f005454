// Convolution as a matrix product on tensor cores, then the bias, and ReLU; cuda/mma_forward.cuh.

#include "mma_forward.cuh"

// x  (N, H, W, D)                             in
// w  (K, F_rows, F_columns, D/groups)         in
// b  (K,)                                     in; null: no bias
// y  (N, H2, W2, K)                           out; null where there are parts
// parts  (slices, N, H2, W2, K)               out: the sums of each slice, without the bias; null where slices is 1
// y_row: values from a position of y to the next; more than K where these are maps of a wider volume
// least: 0 of ReLU, else -infinity, as of a slice
// stages: steps that dynamic shared memory has room for
// A thread makes 8 x 8 results. Packs need maps of a group that they divide.
extern "C" __global__ void __launch_bounds__(256, TENSOR_BLOCKS_OF_256)
tensor_forward_128x128(
    const stored* __restrict__ x, const stored* __restrict__ w, const real* __restrict__ b, stored* __restrict__ y,
    real* __restrict__ parts, CONVOLUTION, long long y_row, real least, long long slices, long long stages
) {
    FORWARD(Products, PACKED, Warps128x128);
}

extern "C" __global__ void __launch_bounds__(128, TENSOR_BLOCKS_OF_128)
tensor_forward_128x64(
    const stored* __restrict__ x, const stored* __restrict__ w, const real* __restrict__ b, stored* __restrict__ y,
    real* __restrict__ parts, CONVOLUTION, long long y_row, real least, long long slices, long long stages
) {
    FORWARD(Products, PACKED, Warps128x64);
}

extern "C" __global__ void __launch_bounds__(32, 8)
tensor_forward_64x32(
    const stored* __restrict__ x, const stored* __restrict__ w, const real* __restrict__ b, stored* __restrict__ y,
    real* __restrict__ parts, CONVOLUTION, long long y_row, real least, long long slices, long long stages
) {
    FORWARD(Products, PACKED, Warps64x32);
}

extern "C" __global__ void __launch_bounds__(128, 2)
tensor_forward_128x64_scalars(
    const stored* __restrict__ x, const stored* __restrict__ w, const real* __restrict__ b, stored* __restrict__ y,
    real* __restrict__ parts, CONVOLUTION, long long y_row, real least, long long slices, long long stages
) {
    FORWARD(Products, 1, Warps128x64);
}
