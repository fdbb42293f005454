// Convolution on tensor cores, with a max-pool of 2 x 2 and ReLU behind it, nearly as float32 has it; cuda/mma_pool.cuh.

#include "mma_pool.cuh"

// As the kernels of cuda/tensor_pool_forward.cu.
extern "C" __global__ void __launch_bounds__(256, 1)
thrice_pool_forward_128x128(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y,
    unsigned char* __restrict__ switches, CONVOLUTION, long long relu, long long slices, long long stages
) {
    POOL_FORWARD(Tf32Thrice, PACKED, Warps128x128);
}

extern "C" __global__ void __launch_bounds__(128, 3)
thrice_pool_forward_128x64(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y,
    unsigned char* __restrict__ switches, CONVOLUTION, long long relu, long long slices, long long stages
) {
    POOL_FORWARD(Tf32Thrice, PACKED, Warps128x64);
}

extern "C" __global__ void __launch_bounds__(32, 8)
thrice_pool_forward_64x32(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y,
    unsigned char* __restrict__ switches, CONVOLUTION, long long relu, long long slices, long long stages
) {
    POOL_FORWARD(Tf32Thrice, PACKED, Warps64x32);
}

extern "C" __global__ void __launch_bounds__(128, 2)
thrice_pool_forward_128x64_scalars(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y,
    unsigned char* __restrict__ switches, CONVOLUTION, long long relu, long long slices, long long stages
) {
    POOL_FORWARD(Tf32Thrice, 1, Warps128x64);
}
