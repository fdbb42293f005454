// The gradient of a convolution's input as a matrix product without its matrix; cuda/backward_input.cuh.

#include "backward_input.cuh"

// dy  (N, H2, W2, K)                        in
// w   (K, F_rows, F_columns, D/groups)      in
// dx  (N, H, W, D), or (slices, N, H, W, D) where there are several: the sums of each slice    out; 0 where no window looked
// below  (N, H, W, D)                       in: what a ReLU gave, where that is 0 dx is 0; dx may lie in its place; null: none
// A thread makes 8 x 8 results, of the smallest tile 8 x 4. Packs need filters and maps of a group that they divide.
extern "C" __global__ void __launch_bounds__(256, BLOCKS_OF_256)
backward_input_128x128(
    const real* __restrict__ dy, const real* __restrict__ w, const real* below, real* dx,
    CONVOLUTION, long long slices
) {
    __shared__ InputStages<Tile128x128> stages;
    backward_input_tile<WIDTH, Tile128x128>(dy, w, below, dx, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(128, BLOCKS_OF_128)
backward_input_128x64(
    const real* __restrict__ dy, const real* __restrict__ w, const real* below, real* dx,
    CONVOLUTION, long long slices
) {
    __shared__ InputStages<Tile128x64> stages;
    backward_input_tile<WIDTH, Tile128x64>(dy, w, below, dx, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(64, BLOCKS_OF_64)
backward_input_64x64(
    const real* __restrict__ dy, const real* __restrict__ w, const real* below, real* dx,
    CONVOLUTION, long long slices
) {
    __shared__ InputStages<Tile64x64> stages;
    backward_input_tile<WIDTH, Tile64x64>(dy, w, below, dx, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(32, BLOCKS_OF_32)
backward_input_32x32(
    const real* __restrict__ dy, const real* __restrict__ w, const real* below, real* dx,
    CONVOLUTION, long long slices
) {
    __shared__ InputStages<Tile32x32> stages;
    backward_input_tile<WIDTH, Tile32x32>(dy, w, below, dx, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(128, 2)
backward_input_128x64_scalars(
    const real* __restrict__ dy, const real* __restrict__ w, const real* below, real* dx,
    CONVOLUTION, long long slices
) {
    __shared__ InputStages<Tile128x64> stages;
    backward_input_tile<1, Tile128x64>(dy, w, below, dx, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(32, SCALARS_OF_32)
backward_input_32x32_scalars(
    const real* __restrict__ dy, const real* __restrict__ w, const real* below, real* dx,
    CONVOLUTION, long long slices
) {
    __shared__ InputStages<Tile32x32> stages;
    backward_input_tile<1, Tile32x32>(dy, w, below, dx, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}
