// Convolution as a matrix product without its matrix; cuda/forward.cuh. Then the bias, and ReLU.

#include "forward.cuh"

// What becomes of the results: plus the bias, where there is one, not below `least`, and stored. Of a slice the sums alone.
struct PlusBias {
    const real* b;
    real* y;
    const Convolution& c;
    int row;  // values from a position of y to the next
    real least;

    __device__ void operator()(int slice, int position, int filter, Pack<real, RUN> run, int left) const {
#pragma unroll
        for (int lane = 0; lane < RUN; ++lane) {
            if (b && lane < left) run.value[lane] += b[filter + lane];
            run.value[lane] = run.value[lane] <= least ? least : run.value[lane];  // NaN stays
        }
        real* const place = y + ((long long)slice * c.positions + position) * row + filter;
        RunOf<WIDTH, real>{place, left, (c.filters | row) % WIDTH == 0 && aligned(y)}.store_run(run);
    }
};

template <int COUNT, typename T>
__device__ inline void forward_tile(
    const real* x, const real* w, const real* b, real* y, const Convolution& c, int y_row, real least, int slices,
    Stages<real, T>& stages
) {
    real sum[T::ROWS][T::COLUMNS] = {};
    forward_sums<COUNT>(x, w, c, slices, InOrder(), stages, sum);
    const PlusBias finish = {slices == 1 ? b : nullptr, y, c, y_row, least};
    each_run<T>(sum, [&](int row, int column, const Pack<real, RUN>& run) {
        const int position = stages.kept[0] + row, filter = stages.kept[1] + column;
        if (position < c.positions && filter < c.filters) {
            finish(stages.kept[3], position, stages.kept[2] * c.filters + filter, run, c.filters - filter);
        }
    });
}

// x  (N, H, W, D)                             in
// w  (K, F_rows, F_columns, D/groups)         in
// b  (K,)                                     in; null: no bias
// y  (N, H2, W2, K), or (slices, N, H2, W2, K) where there are several: the sums of each slice, without
//    the bias    out
// y_row: values from a position of y to the next; more than K where these are maps of a wider volume
// least: 0 of ReLU, else -infinity, as of a slice
// A thread makes 8 x 8 results, of the smallest tile 8 x 4. Packs need maps of a group that they divide.
extern "C" __global__ void __launch_bounds__(256, BLOCKS_OF_256)
forward_128x128(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y, CONVOLUTION,
    long long y_row, real least, long long slices
) {
    __shared__ Stages<real, Tile128x128> stages;
    forward_tile<WIDTH>(x, w, b, y, CONVOLUTION_OF_NUMBERS, (int)y_row, least, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(128, BLOCKS_OF_128)
forward_128x64(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y, CONVOLUTION,
    long long y_row, real least, long long slices
) {
    __shared__ Stages<real, Tile128x64> stages;
    forward_tile<WIDTH>(x, w, b, y, CONVOLUTION_OF_NUMBERS, (int)y_row, least, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(64, BLOCKS_OF_64)
forward_64x64(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y, CONVOLUTION,
    long long y_row, real least, long long slices
) {
    __shared__ Stages<real, Tile64x64> stages;
    forward_tile<WIDTH>(x, w, b, y, CONVOLUTION_OF_NUMBERS, (int)y_row, least, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(32, BLOCKS_OF_32)
forward_32x32(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y, CONVOLUTION,
    long long y_row, real least, long long slices
) {
    __shared__ Stages<real, Tile32x32> stages;
    forward_tile<WIDTH>(x, w, b, y, CONVOLUTION_OF_NUMBERS, (int)y_row, least, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(128, 2)
forward_128x64_scalars(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y, CONVOLUTION,
    long long y_row, real least, long long slices
) {
    __shared__ Stages<real, Tile128x64> stages;
    forward_tile<1>(x, w, b, y, CONVOLUTION_OF_NUMBERS, (int)y_row, least, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(32, SCALARS_OF_32)
forward_32x32_scalars(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y, CONVOLUTION,
    long long y_row, real least, long long slices
) {
    __shared__ Stages<real, Tile32x32> stages;
    forward_tile<1>(x, w, b, y, CONVOLUTION_OF_NUMBERS, (int)y_row, least, (int)slices, stages);
}
