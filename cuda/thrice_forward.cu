// Convolution as a matrix product on tensor cores, then the bias, and ReLU, nearly as float32 has it; cuda/mma_forward.cuh.

#include "mma_forward.cuh"

// As the kernels of cuda/tensor_forward.cu.
extern "C" __global__ void __launch_bounds__(256, 1)
thrice_forward_128x128(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y,
    real* __restrict__ parts, CONVOLUTION, long long y_row, real least, long long slices, long long stages
) {
    FORWARD(Tf32Thrice, PACKED, Warps128x128);
}

extern "C" __global__ void __launch_bounds__(128, 3)
thrice_forward_128x64(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y,
    real* __restrict__ parts, CONVOLUTION, long long y_row, real least, long long slices, long long stages
) {
    FORWARD(Tf32Thrice, PACKED, Warps128x64);
}

extern "C" __global__ void __launch_bounds__(32, 8)
thrice_forward_64x32(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y,
    real* __restrict__ parts, CONVOLUTION, long long y_row, real least, long long slices, long long stages
) {
    FORWARD(Tf32Thrice, PACKED, Warps64x32);
}

extern "C" __global__ void __launch_bounds__(128, 2)
thrice_forward_128x64_scalars(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y,
    real* __restrict__ parts, CONVOLUTION, long long y_row, real least, long long slices, long long stages
) {
    FORWARD(Tf32Thrice, 1, Warps128x64);
}
