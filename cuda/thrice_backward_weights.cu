// The gradient of a convolution's weights on tensor cores, nearly as float32 has it; cuda/mma_backward_weights.cuh.

#include "mma_backward_weights.cuh"

// As the kernels of cuda/tensor_backward_weights.cu.
extern "C" __global__ void __launch_bounds__(256, 1)
thrice_backward_weights_128x128(
    const real* __restrict__ x, const real* __restrict__ dy, real* __restrict__ dw, long long accumulate, CONVOLUTION,
    long long slices, long long stages
) {
    BACKWARD_WEIGHTS(Tf32Thrice, PACKED, Warps128x128, WeightPlaces, dy);
}

extern "C" __global__ void __launch_bounds__(128, 3)
thrice_backward_weights_128x64(
    const real* __restrict__ x, const real* __restrict__ dy, real* __restrict__ dw, long long accumulate, CONVOLUTION,
    long long slices, long long stages
) {
    BACKWARD_WEIGHTS(Tf32Thrice, PACKED, Warps128x64, WeightPlaces, dy);
}

extern "C" __global__ void __launch_bounds__(32, 8)
thrice_backward_weights_64x32(
    const real* __restrict__ x, const real* __restrict__ dy, real* __restrict__ dw, long long accumulate, CONVOLUTION,
    long long slices, long long stages
) {
    BACKWARD_WEIGHTS(Tf32Thrice, PACKED, Warps64x32, WeightPlaces, dy);
}

extern "C" __global__ void __launch_bounds__(128, 2)
thrice_backward_weights_128x64_scalars(
    const real* __restrict__ x, const real* __restrict__ dy, real* __restrict__ dw, long long accumulate, CONVOLUTION,
    long long slices, long long stages
) {
    BACKWARD_WEIGHTS(Tf32Thrice, 1, Warps128x64, WeightPlaces, dy);
}
