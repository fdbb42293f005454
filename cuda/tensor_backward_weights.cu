// The gradient of a convolution's weights on tensor cores; cuda/mma_backward_weights.cuh.

#include "mma_backward_weights.cuh"

// x   (N, H, W, D)      in
// dy  (N, H2, W2, K)    in
// dw  (K, F_rows, F_columns, D/groups), or that many times `slices`: the sums of each slice    out; in and out where
//     accumulate is 1
// stages: steps that dynamic shared memory has room for
// A thread makes 8 x 8 results. Packs need filters and maps of a group that they divide.
extern "C" __global__ void __launch_bounds__(256, TENSOR_BLOCKS_OF_256)
tensor_backward_weights_128x128(
    const stored* __restrict__ x, const stored* __restrict__ dy, real* __restrict__ dw, long long accumulate, CONVOLUTION,
    long long slices, long long stages
) {
    BACKWARD_WEIGHTS(Products, PACKED, Warps128x128, WeightPlaces, dy);
}

extern "C" __global__ void __launch_bounds__(128, TENSOR_BLOCKS_OF_128)
tensor_backward_weights_128x64(
    const stored* __restrict__ x, const stored* __restrict__ dy, real* __restrict__ dw, long long accumulate, CONVOLUTION,
    long long slices, long long stages
) {
    BACKWARD_WEIGHTS(Products, PACKED, Warps128x64, WeightPlaces, dy);
}

extern "C" __global__ void __launch_bounds__(32, 8)
tensor_backward_weights_64x32(
    const stored* __restrict__ x, const stored* __restrict__ dy, real* __restrict__ dw, long long accumulate, CONVOLUTION,
    long long slices, long long stages
) {
    BACKWARD_WEIGHTS(Products, PACKED, Warps64x32, WeightPlaces, dy);
}

extern "C" __global__ void __launch_bounds__(128, 2)
tensor_backward_weights_128x64_scalars(
    const stored* __restrict__ x, const stored* __restrict__ dy, real* __restrict__ dw, long long accumulate, CONVOLUTION,
    long long slices, long long stages
) {
    BACKWARD_WEIGHTS(Products, 1, Warps128x64, WeightPlaces, dy);
}
