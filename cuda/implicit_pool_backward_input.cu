// The gradient of a convolution's input, of the gradient behind a max-pool of 2 x 2; cuda/backward_input.cuh.

#include "backward_input.cuh"
#include "unpool.cuh"

#if defined(__CUDA_ARCH__) && (__CUDA_ARCH__ >= 1000 || __CUDA_ARCH__ < 720)
constexpr int POOLED_BLOCKS_OF_256 = 1;  // two would spill
#else
constexpr int POOLED_BLOCKS_OF_256 = BLOCKS_OF_256;
#endif

// dy        (N, H3, W3, K)                    in
// switches  (N, H3, W3, ceil(K/2))            in
// w         (K, F_rows, F_columns, D/groups)  in
// dx        (N, H, W, D), or (slices, N, H, W, D) where there are several: the sums of each slice    out; 0 where no window
//           looked
// Otherwise as the kernels of cuda/implicit_backward_input.cu.
extern "C" __global__ void __launch_bounds__(256, POOLED_BLOCKS_OF_256)
pool_backward_input_128x128(
    const real* __restrict__ dy, const unsigned char* __restrict__ switches, const real* __restrict__ w,
    const real* below, real* dx, CONVOLUTION, long long H3, long long W3, long long slices
) {
    __shared__ PooledStages<Tile128x128> stages;
    backward_input_tile<WIDTH, Tile128x128>(BehindPool{dy, switches, (int)H3, (int)W3}, w, below, dx, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(128, BLOCKS_OF_128)
pool_backward_input_128x64(
    const real* __restrict__ dy, const unsigned char* __restrict__ switches, const real* __restrict__ w,
    const real* below, real* dx, CONVOLUTION, long long H3, long long W3, long long slices
) {
    __shared__ PooledStages<Tile128x64> stages;
    backward_input_tile<WIDTH, Tile128x64>(BehindPool{dy, switches, (int)H3, (int)W3}, w, below, dx, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(64, BLOCKS_OF_64)
pool_backward_input_64x64(
    const real* __restrict__ dy, const unsigned char* __restrict__ switches, const real* __restrict__ w,
    const real* below, real* dx, CONVOLUTION, long long H3, long long W3, long long slices
) {
    __shared__ PooledStages<Tile64x64> stages;
    backward_input_tile<WIDTH, Tile64x64>(BehindPool{dy, switches, (int)H3, (int)W3}, w, below, dx, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(32, BLOCKS_OF_32)
pool_backward_input_32x32(
    const real* __restrict__ dy, const unsigned char* __restrict__ switches, const real* __restrict__ w,
    const real* below, real* dx, CONVOLUTION, long long H3, long long W3, long long slices
) {
    __shared__ PooledStages<Tile32x32> stages;
    backward_input_tile<WIDTH, Tile32x32>(BehindPool{dy, switches, (int)H3, (int)W3}, w, below, dx, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(128, 2)
pool_backward_input_128x64_scalars(
    const real* __restrict__ dy, const unsigned char* __restrict__ switches, const real* __restrict__ w,
    const real* below, real* dx, CONVOLUTION, long long H3, long long W3, long long slices
) {
    __shared__ PooledStages<Tile128x64> stages;
    backward_input_tile<1, Tile128x64>(BehindPool{dy, switches, (int)H3, (int)W3}, w, below, dx, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(32, SCALARS_OF_32)
pool_backward_input_32x32_scalars(
    const real* __restrict__ dy, const unsigned char* __restrict__ switches, const real* __restrict__ w,
    const real* below, real* dx, CONVOLUTION, long long H3, long long W3, long long slices
) {
    __shared__ PooledStages<Tile32x32> stages;
    backward_input_tile<1, Tile32x32>(BehindPool{dy, switches, (int)H3, (int)W3}, w, below, dx, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}
