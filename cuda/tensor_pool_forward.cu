// Convolution on tensor cores, with a max-pool of 2 x 2 and ReLU behind it; cuda/mma_pool.cuh.

#include "mma_pool.cuh"

// x         (N, H, W, D)                      in
// w         (K, F_rows, F_columns, D/groups)  in
// b         (K,)                              in; null: no bias
// y         (N, H2/2, W2/2, K)                out
// switches  (N, H2/2, W2/2, ceil(K/2))        out, halves: row*2 + column of the maximum, 4 where ReLU gives 0; null: not
//                                             wanted. Where there are groups, each has an even number of filters
// H2 and W2 are even; slices is 1. Otherwise as the kernels of cuda/tensor_forward.cu.
extern "C" __global__ void __launch_bounds__(256, TENSOR_BLOCKS_OF_256)
tensor_pool_forward_128x128(
    const stored* __restrict__ x, const stored* __restrict__ w, const real* __restrict__ b, stored* __restrict__ y,
    unsigned char* __restrict__ switches, CONVOLUTION, long long relu, long long slices, long long stages
) {
    POOL_FORWARD(Products, PACKED, Warps128x128);
}

extern "C" __global__ void __launch_bounds__(128, TENSOR_BLOCKS_OF_128)
tensor_pool_forward_128x64(
    const stored* __restrict__ x, const stored* __restrict__ w, const real* __restrict__ b, stored* __restrict__ y,
    unsigned char* __restrict__ switches, CONVOLUTION, long long relu, long long slices, long long stages
) {
    POOL_FORWARD(Products, PACKED, Warps128x64);
}

extern "C" __global__ void __launch_bounds__(32, 8)
tensor_pool_forward_64x32(
    const stored* __restrict__ x, const stored* __restrict__ w, const real* __restrict__ b, stored* __restrict__ y,
    unsigned char* __restrict__ switches, CONVOLUTION, long long relu, long long slices, long long stages
) {
    POOL_FORWARD(Products, PACKED, Warps64x32);
}

extern "C" __global__ void __launch_bounds__(128, 2)
tensor_pool_forward_128x64_scalars(
    const stored* __restrict__ x, const stored* __restrict__ w, const real* __restrict__ b, stored* __restrict__ y,
    unsigned char* __restrict__ switches, CONVOLUTION, long long relu, long long slices, long long stages
) {
    POOL_FORWARD(Products, 1, Warps128x64);
}
