// The gradient of a convolution's input on tensor cores, of that behind a max-pool of 2 x 2; cuda/mma_unpool.cuh.

#include "mma_unpool.cuh"

// dy        (N, H3, W3, K)                    in
// switches  (N, H3, W3, ceil(K/2))            in, halves
// w         (K, F_rows, F_columns, D/groups)  in
// dx        (N, H, W, D)                      out; 0 where no window looked; null where there are parts
// parts     (slices, N, H, W, D)              out: the sums of each slice; null where slices is 1
// Otherwise as the kernels of cuda/tensor_backward_input.cu.
extern "C" __global__ void __launch_bounds__(256, 1)
tensor_pool_backward_input_128x128(
    const stored* __restrict__ dy, const unsigned char* __restrict__ switches, const stored* __restrict__ w,
    const stored* below, stored* dx, real* __restrict__ parts, CONVOLUTION, long long H3, long long W3, long long slices,
    long long stages
) {
    BACKWARD_INPUT(Products, PACKED, Warps128x128, GRADIENT_BEHIND_A_POOL);
}

extern "C" __global__ void __launch_bounds__(128, TENSOR_BLOCKS_OF_128)
tensor_pool_backward_input_128x64(
    const stored* __restrict__ dy, const unsigned char* __restrict__ switches, const stored* __restrict__ w,
    const stored* below, stored* dx, real* __restrict__ parts, CONVOLUTION, long long H3, long long W3, long long slices,
    long long stages
) {
    BACKWARD_INPUT(Products, PACKED, Warps128x64, GRADIENT_BEHIND_A_POOL);
}

extern "C" __global__ void __launch_bounds__(32, 8)
tensor_pool_backward_input_64x32(
    const stored* __restrict__ dy, const unsigned char* __restrict__ switches, const stored* __restrict__ w,
    const stored* below, stored* dx, real* __restrict__ parts, CONVOLUTION, long long H3, long long W3, long long slices,
    long long stages
) {
    BACKWARD_INPUT(Products, PACKED, Warps64x32, GRADIENT_BEHIND_A_POOL);
}

extern "C" __global__ void __launch_bounds__(128, 2)
tensor_pool_backward_input_128x64_scalars(
    const stored* __restrict__ dy, const unsigned char* __restrict__ switches, const stored* __restrict__ w,
    const stored* below, stored* dx, real* __restrict__ parts, CONVOLUTION, long long H3, long long W3, long long slices,
    long long stages
) {
    BACKWARD_INPUT(Products, 1, Warps128x64, GRADIENT_BEHIND_A_POOL);
}
