// The gradient of a convolution's input on tensor cores, nearly as float32 has it; cuda/mma_backward_input.cuh.

#include "mma_backward_input.cuh"

// As the kernels of cuda/tensor_backward_input.cu.
extern "C" __global__ void __launch_bounds__(256, 1)
thrice_backward_input_128x128(
    const real* __restrict__ dy, const real* __restrict__ w, const real* below, real* dx,
    real* __restrict__ parts, CONVOLUTION, long long slices, long long stages
) {
    BACKWARD_INPUT(Tf32Thrice, PACKED, Warps128x128, dy);
}

extern "C" __global__ void __launch_bounds__(128, 3)
thrice_backward_input_128x64(
    const real* __restrict__ dy, const real* __restrict__ w, const real* below, real* dx,
    real* __restrict__ parts, CONVOLUTION, long long slices, long long stages
) {
    BACKWARD_INPUT(Tf32Thrice, PACKED, Warps128x64, dy);
}

extern "C" __global__ void __launch_bounds__(32, 8)
thrice_backward_input_64x32(
    const real* __restrict__ dy, const real* __restrict__ w, const real* below, real* dx,
    real* __restrict__ parts, CONVOLUTION, long long slices, long long stages
) {
    BACKWARD_INPUT(Tf32Thrice, PACKED, Warps64x32, dy);
}

extern "C" __global__ void __launch_bounds__(128, 2)
thrice_backward_input_128x64_scalars(
    const real* __restrict__ dy, const real* __restrict__ w, const real* below, real* dx,
    real* __restrict__ parts, CONVOLUTION, long long slices, long long stages
) {
    BACKWARD_INPUT(Tf32Thrice, 1, Warps128x64, dy);
}
