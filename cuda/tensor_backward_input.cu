// The gradient of a convolution's input on tensor cores; cuda/mma_backward_input.cuh.

#include "mma_backward_input.cuh"

// dy  (N, H2, W2, K)                        in
// w   (K, F_rows, F_columns, D/groups)      in
// below  (N, H, W, D)                       in: what a ReLU gave, where that is 0 dx is 0; dx may lie in its place; null: none
// dx  (N, H, W, D)                          out; 0 where no window looked; null where there are parts
// parts  (slices, N, H, W, D)               out: the sums of each slice; null where slices is 1
// stages: steps that dynamic shared memory has room for
// A thread makes 8 x 8 results. Packs need filters and maps of a group that they divide.
extern "C" __global__ void __launch_bounds__(256, TENSOR_BLOCKS_OF_256)
tensor_backward_input_128x128(
    const stored* __restrict__ dy, const stored* __restrict__ w, const stored* below, stored* dx,
    real* __restrict__ parts, CONVOLUTION, long long slices, long long stages
) {
    BACKWARD_INPUT(Products, PACKED, Warps128x128, dy);
}

extern "C" __global__ void __launch_bounds__(128, TENSOR_BLOCKS_OF_128)
tensor_backward_input_128x64(
    const stored* __restrict__ dy, const stored* __restrict__ w, const stored* below, stored* dx,
    real* __restrict__ parts, CONVOLUTION, long long slices, long long stages
) {
    BACKWARD_INPUT(Products, PACKED, Warps128x64, dy);
}

extern "C" __global__ void __launch_bounds__(32, 8)
tensor_backward_input_64x32(
    const stored* __restrict__ dy, const stored* __restrict__ w, const stored* below, stored* dx,
    real* __restrict__ parts, CONVOLUTION, long long slices, long long stages
) {
    BACKWARD_INPUT(Products, PACKED, Warps64x32, dy);
}

extern "C" __global__ void __launch_bounds__(128, 2)
tensor_backward_input_128x64_scalars(
    const stored* __restrict__ dy, const stored* __restrict__ w, const stored* below, stored* dx,
    real* __restrict__ parts, CONVOLUTION, long long slices, long long stages
) {
    BACKWARD_INPUT(Products, 1, Warps128x64, dy);
}
