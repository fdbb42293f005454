// The gradient of a convolution's weights, of the gradient behind a max-pool of 2 x 2; cuda/backward_weights.cuh.

#include "backward_weights.cuh"
#include "unpool.cuh"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
constexpr int POOLED_BLOCKS_OF_256 = 1;  // two would spill
#else
constexpr int POOLED_BLOCKS_OF_256 = BLOCKS_OF_256;
#endif

// x         (N, H, W, D)    in
// dy        (N, H3, W3, K)  in
// switches  (N, H3, W3, ceil(K/2))  in
// dw        (K, F_rows, F_columns, D/groups), or that many times `slices`: the sums of each slice    out; in and out where
//           accumulate is 1
// Otherwise as the kernels of cuda/implicit_backward_weights.cu.
extern "C" __global__ void __launch_bounds__(256, POOLED_BLOCKS_OF_256)
pool_backward_weights_128x128(
    const real* __restrict__ x, const real* __restrict__ dy, const unsigned char* __restrict__ switches, real* __restrict__ dw,
    long long accumulate, CONVOLUTION, long long H3, long long W3, long long slices
) {
    __shared__ PooledWeightStages<Tile128x128> stages;
    backward_weights_tile<WIDTH, Tile128x128>(
        x, BehindPool{dy, switches, (int)H3, (int)W3}, dw, (int)accumulate, CONVOLUTION_OF_NUMBERS, (int)slices, stages
    );
}

extern "C" __global__ void __launch_bounds__(128, BLOCKS_OF_128)
pool_backward_weights_128x64(
    const real* __restrict__ x, const real* __restrict__ dy, const unsigned char* __restrict__ switches, real* __restrict__ dw,
    long long accumulate, CONVOLUTION, long long H3, long long W3, long long slices
) {
    __shared__ PooledWeightStages<Tile128x64> stages;
    backward_weights_tile<WIDTH, Tile128x64>(
        x, BehindPool{dy, switches, (int)H3, (int)W3}, dw, (int)accumulate, CONVOLUTION_OF_NUMBERS, (int)slices, stages
    );
}

extern "C" __global__ void __launch_bounds__(64, BLOCKS_OF_64)
pool_backward_weights_64x64(
    const real* __restrict__ x, const real* __restrict__ dy, const unsigned char* __restrict__ switches, real* __restrict__ dw,
    long long accumulate, CONVOLUTION, long long H3, long long W3, long long slices
) {
    __shared__ PooledWeightStages<Tile64x64> stages;
    backward_weights_tile<WIDTH, Tile64x64>(
        x, BehindPool{dy, switches, (int)H3, (int)W3}, dw, (int)accumulate, CONVOLUTION_OF_NUMBERS, (int)slices, stages
    );
}

extern "C" __global__ void __launch_bounds__(32, BLOCKS_OF_32)
pool_backward_weights_32x32(
    const real* __restrict__ x, const real* __restrict__ dy, const unsigned char* __restrict__ switches, real* __restrict__ dw,
    long long accumulate, CONVOLUTION, long long H3, long long W3, long long slices
) {
    __shared__ PooledWeightStages<Tile32x32> stages;
    backward_weights_tile<WIDTH, Tile32x32>(
        x, BehindPool{dy, switches, (int)H3, (int)W3}, dw, (int)accumulate, CONVOLUTION_OF_NUMBERS, (int)slices, stages
    );
}

extern "C" __global__ void __launch_bounds__(128, 2)
pool_backward_weights_128x64_scalars(
    const real* __restrict__ x, const real* __restrict__ dy, const unsigned char* __restrict__ switches, real* __restrict__ dw,
    long long accumulate, CONVOLUTION, long long H3, long long W3, long long slices
) {
    __shared__ PooledWeightStages<Tile128x64> stages;
    backward_weights_tile<1, Tile128x64>(
        x, BehindPool{dy, switches, (int)H3, (int)W3}, dw, (int)accumulate, CONVOLUTION_OF_NUMBERS, (int)slices, stages
    );
}

extern "C" __global__ void __launch_bounds__(32, BLOCKS_OF_32)
pool_backward_weights_32x32_scalars(
    const real* __restrict__ x, const real* __restrict__ dy, const unsigned char* __restrict__ switches, real* __restrict__ dw,
    long long accumulate, CONVOLUTION, long long H3, long long W3, long long slices
) {
    __shared__ PooledWeightStages<Tile32x32> stages;
    backward_weights_tile<1, Tile32x32>(
        x, BehindPool{dy, switches, (int)H3, (int)W3}, dw, (int)accumulate, CONVOLUTION_OF_NUMBERS, (int)slices, stages
    );
}
