// The gradient of weights on tensor cores, its volume normalized on the way, nearly as float32; cuda/mma_normalized.cuh.

#include "mma_normalized.cuh"

// table  (3, D)  in, what norm_table of cuda/conv_norm.cu wrote; D the maps of all groups
// D: values from a position of x to the next; more than `groups` * `maps` where these are maps of a wider volume
// norm_least: 0 of ReLU behind the normalization, else -infinity
// All else as in cuda/tensor_backward_weights.cu.
extern "C" __global__ void __launch_bounds__(256, 1)
thrice_norm_backward_weights_128x128(
    const real* __restrict__ x, const real* __restrict__ table, const real* __restrict__ dy, real* __restrict__ dw,
    long long accumulate, CONVOLUTION, real norm_least, long long slices, long long stages
) {
    const NormalizedStored<real> volume = NORMALIZED_STORED;
    BACKWARD_WEIGHTS_OF(Tf32Thrice, PACKED, WithNotes<Warps128x128>, NormalizedWeightPlaces, volume, dy);
}

extern "C" __global__ void __launch_bounds__(128, 3)
thrice_norm_backward_weights_128x64(
    const real* __restrict__ x, const real* __restrict__ table, const real* __restrict__ dy, real* __restrict__ dw,
    long long accumulate, CONVOLUTION, real norm_least, long long slices, long long stages
) {
    const NormalizedStored<real> volume = NORMALIZED_STORED;
    BACKWARD_WEIGHTS_OF(Tf32Thrice, PACKED, WithNotes<Warps128x64>, NormalizedWeightPlaces, volume, dy);
}

extern "C" __global__ void __launch_bounds__(32, 8)
thrice_norm_backward_weights_64x32(
    const real* __restrict__ x, const real* __restrict__ table, const real* __restrict__ dy, real* __restrict__ dw,
    long long accumulate, CONVOLUTION, real norm_least, long long slices, long long stages
) {
    const NormalizedStored<real> volume = NORMALIZED_STORED;
    BACKWARD_WEIGHTS_OF(Tf32Thrice, PACKED, WithNotes<Warps64x32>, NormalizedWeightPlaces, volume, dy);
}

extern "C" __global__ void __launch_bounds__(128, 2)
thrice_norm_backward_weights_128x64_scalars(
    const real* __restrict__ x, const real* __restrict__ table, const real* __restrict__ dy, real* __restrict__ dw,
    long long accumulate, CONVOLUTION, real norm_least, long long slices, long long stages
) {
    const NormalizedStored<real> volume = NORMALIZED_STORED;
    BACKWARD_WEIGHTS_OF(Tf32Thrice, 1, Warps128x64, NormalizedWeightPlaces, volume, dy);
}
