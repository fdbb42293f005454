// The gradient of a convolution's weights on tensor cores, of that behind a max-pool of 2 x 2; cuda/mma_unpool.cuh.

#include "mma_unpool.cuh"

// x         (N, H, W, D)      in
// dy        (N, H3, W3, K)    in
// switches  (N, H3, W3, ceil(K/2))    in, halves
// dw        (K, F_rows, F_columns, D/groups), or that many times `slices`: the sums of each slice    out; in and out where
//           accumulate is 1
// Otherwise as the kernels of cuda/tensor_backward_weights.cu.
extern "C" __global__ void __launch_bounds__(256, 1)
tensor_pool_backward_weights_128x128(
    const stored* __restrict__ x, const stored* __restrict__ dy, const unsigned char* __restrict__ switches,
    real* __restrict__ dw, long long accumulate, CONVOLUTION, long long H3, long long W3, long long slices, long long stages
) {
    BACKWARD_WEIGHTS(Products, PACKED, Warps128x128, PooledPlaces, GRADIENT_BEHIND_A_POOL);
}

extern "C" __global__ void __launch_bounds__(128, 2)
tensor_pool_backward_weights_128x64(
    const stored* __restrict__ x, const stored* __restrict__ dy, const unsigned char* __restrict__ switches,
    real* __restrict__ dw, long long accumulate, CONVOLUTION, long long H3, long long W3, long long slices, long long stages
) {
    BACKWARD_WEIGHTS(Products, PACKED, Warps128x64, PooledPlaces, GRADIENT_BEHIND_A_POOL);
}

extern "C" __global__ void __launch_bounds__(32, 8)
tensor_pool_backward_weights_64x32(
    const stored* __restrict__ x, const stored* __restrict__ dy, const unsigned char* __restrict__ switches,
    real* __restrict__ dw, long long accumulate, CONVOLUTION, long long H3, long long W3, long long slices, long long stages
) {
    BACKWARD_WEIGHTS(Products, PACKED, Warps64x32, PooledPlaces, GRADIENT_BEHIND_A_POOL);
}

extern "C" __global__ void __launch_bounds__(128, 2)
tensor_pool_backward_weights_128x64_scalars(
    const stored* __restrict__ x, const stored* __restrict__ dy, const unsigned char* __restrict__ switches,
    real* __restrict__ dw, long long accumulate, CONVOLUTION, long long H3, long long W3, long long slices, long long stages
) {
    BACKWARD_WEIGHTS(Products, 1, Warps128x64, PooledPlaces, GRADIENT_BEHIND_A_POOL);
}
