// The gradient of a convolution's input on tensor cores, of that behind a max-pool of 2 x 2, nearly as float32 has it; cuda/mma_unpool.cuh.

#include "mma_unpool.cuh"

// As the kernels of cuda/tensor_pool_backward_input.cu.
extern "C" __global__ void __launch_bounds__(256, 1)
thrice_pool_backward_input_128x128(
    const real* __restrict__ dy, const unsigned char* __restrict__ switches, const real* __restrict__ w,
    const real* below, real* dx, real* __restrict__ parts, CONVOLUTION, long long H3, long long W3, long long slices,
    long long stages
) {
    BACKWARD_INPUT(Tf32Thrice, PACKED, Warps128x128, GRADIENT_BEHIND_A_POOL);
}

extern "C" __global__ void __launch_bounds__(128, 2)
thrice_pool_backward_input_128x64(
    const real* __restrict__ dy, const unsigned char* __restrict__ switches, const real* __restrict__ w,
    const real* below, real* dx, real* __restrict__ parts, CONVOLUTION, long long H3, long long W3, long long slices,
    long long stages
) {
    BACKWARD_INPUT(Tf32Thrice, PACKED, Warps128x64, GRADIENT_BEHIND_A_POOL);
}

extern "C" __global__ void __launch_bounds__(32, 8)
thrice_pool_backward_input_64x32(
    const real* __restrict__ dy, const unsigned char* __restrict__ switches, const real* __restrict__ w,
    const real* below, real* dx, real* __restrict__ parts, CONVOLUTION, long long H3, long long W3, long long slices,
    long long stages
) {
    BACKWARD_INPUT(Tf32Thrice, PACKED, Warps64x32, GRADIENT_BEHIND_A_POOL);
}

extern "C" __global__ void __launch_bounds__(128, 2)
thrice_pool_backward_input_128x64_scalars(
    const real* __restrict__ dy, const unsigned char* __restrict__ switches, const real* __restrict__ w,
    const real* below, real* dx, real* __restrict__ parts, CONVOLUTION, long long H3, long long W3, long long slices,
    long long stages
) {
    BACKWARD_INPUT(Tf32Thrice, 1, Warps128x64, GRADIENT_BEHIND_A_POOL);
}
