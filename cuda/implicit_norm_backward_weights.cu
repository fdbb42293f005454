// The gradient of a convolution's weights where its volume is normalized on the way; cuda/backward_weights.cuh.

#include "backward_weights.cuh"
#include "normalized.cuh"

// Beside the taps, what the normalization does to the map of each weight; a thread's own would take registers.
template <typename T>
struct NormalizedWeightStages : WeightStages<T> {
    alignas(16) real numbers[3][T::N];
};

// SeenRows of such a volume.
template <typename T, int COUNT>
struct SeenNormalizedRows : SeenRows<T, COUNT> {
    using Seen = SeenRows<T, COUNT>;
    const Normalized& norm;
    NormalizedWeightStages<T>& stages;

    __device__ SeenNormalizedRows(
        const Normalized& norm, const Convolution& c, const ByPosition<T>& order, NormalizedWeightStages<T>& stages,
        int group, int n0
    ) : Seen(norm.x, c, order, stages, group, n0), norm(norm), stages(stages) {
        static_assert(T::N <= T::THREADS, "a thread for each weight");
        if (threadIdx.x >= T::N) return;
        const int map = group * c.maps + (n0 + threadIdx.x) % c.maps;
#pragma unroll
        for (int number = 0; number < 3; ++number) {
            stages.numbers[number][threadIdx.x] = norm.table[number * norm.maps + map];
        }
    }
    template <typename Stage>
    __device__ void put(Stage& stage) {
        norm.change(this->held, this->inside, stages.numbers[0], Seen::row(), T::N);
        Seen::put(stage);
    }
};

template <int COUNT, typename T>
__device__ inline auto seen_rows(
    const Normalized& x, const Convolution& c, const ByPosition<T>& order, NormalizedWeightStages<T>& stages, int group,
    int n0
) {
    return SeenNormalizedRows<T, COUNT>(x, c, order, stages, group, n0);
}

// table  (3, D)  in, what norm_table of cuda/conv_norm.cu wrote; D the maps of all groups
// D: values from a position of x to the next; more than `groups` * `maps` where these are maps of a wider volume
// norm_least: 0 of ReLU behind the normalization, else -infinity
// All else as in cuda/implicit_backward_weights.cu.
extern "C" __global__ void __launch_bounds__(256, WEIGHT_BLOCKS_OF_256)
norm_backward_weights_128x128(
    const real* __restrict__ x, const real* __restrict__ table, const real* __restrict__ dy, real* __restrict__ dw,
    long long accumulate, CONVOLUTION, real norm_least, long long slices
) {
    __shared__ NormalizedWeightStages<Tile128x128> stages;
    const Normalized volume = NORMALIZED;
    backward_weights_tile<WIDTH, Tile128x128>(volume, dy, dw, (int)accumulate, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(128, BLOCKS_OF_128)
norm_backward_weights_128x64(
    const real* __restrict__ x, const real* __restrict__ table, const real* __restrict__ dy, real* __restrict__ dw,
    long long accumulate, CONVOLUTION, real norm_least, long long slices
) {
    __shared__ NormalizedWeightStages<Tile128x64> stages;
    const Normalized volume = NORMALIZED;
    backward_weights_tile<WIDTH, Tile128x64>(volume, dy, dw, (int)accumulate, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(64, BLOCKS_OF_64)
norm_backward_weights_64x64(
    const real* __restrict__ x, const real* __restrict__ table, const real* __restrict__ dy, real* __restrict__ dw,
    long long accumulate, CONVOLUTION, real norm_least, long long slices
) {
    __shared__ NormalizedWeightStages<Tile64x64> stages;
    const Normalized volume = NORMALIZED;
    backward_weights_tile<WIDTH, Tile64x64>(volume, dy, dw, (int)accumulate, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(32, BLOCKS_OF_32)
norm_backward_weights_32x32(
    const real* __restrict__ x, const real* __restrict__ table, const real* __restrict__ dy, real* __restrict__ dw,
    long long accumulate, CONVOLUTION, real norm_least, long long slices
) {
    __shared__ NormalizedWeightStages<Tile32x32> stages;
    const Normalized volume = NORMALIZED;
    backward_weights_tile<WIDTH, Tile32x32>(volume, dy, dw, (int)accumulate, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(128, 2)
norm_backward_weights_128x64_scalars(
    const real* __restrict__ x, const real* __restrict__ table, const real* __restrict__ dy, real* __restrict__ dw,
    long long accumulate, CONVOLUTION, real norm_least, long long slices
) {
    __shared__ NormalizedWeightStages<Tile128x64> stages;
    const Normalized volume = NORMALIZED;
    backward_weights_tile<1, Tile128x64>(volume, dy, dw, (int)accumulate, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(32, SCALARS_OF_32)
norm_backward_weights_32x32_scalars(
    const real* __restrict__ x, const real* __restrict__ table, const real* __restrict__ dy, real* __restrict__ dw,
    long long accumulate, CONVOLUTION, real norm_least, long long slices
) {
    __shared__ NormalizedWeightStages<Tile32x32> stages;
    const Normalized volume = NORMALIZED;
    backward_weights_tile<1, Tile32x32>(volume, dy, dw, (int)accumulate, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}
