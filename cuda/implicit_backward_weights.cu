// The gradient of a convolution's weights as a matrix product without its matrix; cuda/backward_weights.cuh.

#include "backward_weights.cuh"

// x   (N, H, W, D)      in
// dy  (N, H2, W2, K)    in
// dw  (K, F_rows, F_columns, D/groups), or that many times `slices`: the sums of each slice    out; in and out where
//     accumulate is 1
// A thread makes 8 x 8 results, of the smallest tile 8 x 4. Packs need filters and maps of a group that they divide.
extern "C" __global__ void __launch_bounds__(256, WEIGHT_BLOCKS_OF_256)
backward_weights_128x128(
    const real* __restrict__ x, const real* __restrict__ dy, real* __restrict__ dw, long long accumulate, CONVOLUTION, long long slices
) {
    __shared__ WeightStages<Tile128x128> stages;
    backward_weights_tile<WIDTH, Tile128x128>(x, dy, dw, (int)accumulate, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(128, BLOCKS_OF_128)
backward_weights_128x64(
    const real* __restrict__ x, const real* __restrict__ dy, real* __restrict__ dw, long long accumulate, CONVOLUTION, long long slices
) {
    __shared__ WeightStages<Tile128x64> stages;
    backward_weights_tile<WIDTH, Tile128x64>(x, dy, dw, (int)accumulate, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(64, BLOCKS_OF_64)
backward_weights_64x64(
    const real* __restrict__ x, const real* __restrict__ dy, real* __restrict__ dw, long long accumulate, CONVOLUTION, long long slices
) {
    __shared__ WeightStages<Tile64x64> stages;
    backward_weights_tile<WIDTH, Tile64x64>(x, dy, dw, (int)accumulate, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(32, BLOCKS_OF_32)
backward_weights_32x32(
    const real* __restrict__ x, const real* __restrict__ dy, real* __restrict__ dw, long long accumulate, CONVOLUTION, long long slices
) {
    __shared__ WeightStages<Tile32x32> stages;
    backward_weights_tile<WIDTH, Tile32x32>(x, dy, dw, (int)accumulate, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(128, 2)
backward_weights_128x64_scalars(
    const real* __restrict__ x, const real* __restrict__ dy, real* __restrict__ dw, long long accumulate, CONVOLUTION, long long slices
) {
    __shared__ WeightStages<Tile128x64> stages;
    backward_weights_tile<1, Tile128x64>(x, dy, dw, (int)accumulate, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(32, BLOCKS_OF_32)
backward_weights_32x32_scalars(
    const real* __restrict__ x, const real* __restrict__ dy, real* __restrict__ dw, long long accumulate, CONVOLUTION, long long slices
) {
    __shared__ WeightStages<Tile32x32> stages;
    backward_weights_tile<1, Tile32x32>(x, dy, dw, (int)accumulate, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}
