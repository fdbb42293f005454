// Convolution of a volume that is normalized on the way, as a matrix product without its matrix; then the bias.

#include "normalized.cuh"
#include "plus_bias.cuh"

// Where a window begins, and the position of the batch that this would be.
struct alignas(16) WindowAt {
    int top, left, pixel, nothing;  // four, as so many are read at once
};

// What a block has in shared memory beside the steps; a thread's own windows would take registers.
template <typename T>
struct NormalizedStages : Stages<real, T> {
    WindowAt windows[T::M];
};

// UnderWindows of such a volume.
template <typename T, int COUNT>
struct UnderNormalizedWindows : AlongSum<real, T, T::M, COUNT> {
    using Share = AlongSum<real, T, T::M, COUNT>;
    Normalized norm;
    const Convolution& c;
    int map0;
    const InOnePiece& order;
    NormalizedStages<T>& stages;
    const real* from[Share::PACKS];  // of each pack, since the last turn
    bool inside[Share::PACKS];
    int step;  // of the packs on their way, from the last turn on

    __device__ UnderNormalizedWindows(
        const Normalized& norm, const Convolution& c, int group, const InOnePiece& order, NormalizedStages<T>& stages
    ) : norm(norm), c(c), map0(group * c.maps), order(order), stages(stages) {}
    __device__ void put_row(int pack, int image, int row, int column) {
        put_window(pack, {row, column, (image * c.H + row) * c.W + column, 0});
    }
    __device__ void put_nothing(int pack) { put_window(pack, {-(1 << 30), 0, 0, 0}); }
    // One thread for all that take values of the same row.
    __device__ void put_window(int pack, const WindowAt& window) {
        if (Share::at() == 0) store_whole(&stages.windows[Share::row(pack)], window);
    }
    __device__ void turn() {
        const int pixels = order.rows * c.W + order.columns;
        const bool seen = order.inside();
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            const WindowAt first = stages.windows[Share::row(pack)];
            inside[pack] = seen && (unsigned int)(first.top + order.rows) < (unsigned int)c.H &&
                           (unsigned int)(first.left + order.columns) < (unsigned int)c.W;
            from[pack] = behind(norm.x + (map0 + order.along()), inside[pack] ? first.pixel + pixels : 0, c.D);
            this->held[pack] = {};
        }
    }
    __device__ void stop() {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) inside[pack] = false;
    }
    __device__ void fetch(int further) {
        step = further;
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            if (inside[pack]) this->held[pack] = load<COUNT>(from[pack] + further * DEPTH);
        }
    }
    template <typename Stage>
    __device__ void put(Stage& stage) {
        norm.change(this->held, inside, norm.table, map0 + order.along() + step * DEPTH, norm.maps);
        Share::put(stage);
    }
};

template <int COUNT, typename T>
__device__ inline auto windows_of(
    const Normalized& x, const Convolution& c, int group, const InOnePiece& order, NormalizedStages<T>& stages
) {
    return UnderNormalizedWindows<T, COUNT>(x, c, group, order, stages);
}

// table  (3, D)  in, what norm_table of cuda/conv_norm.cu wrote; D the maps of all groups
// D: values from a position of x to the next; more than `groups` * `maps` where these are maps of a wider volume
// norm_least: 0 of ReLU behind the normalization, else -infinity
// All else as in cuda/implicit_forward.cu, which has what comes behind the product.
extern "C" __global__ void __launch_bounds__(256, BLOCKS_OF_256)
norm_forward_128x128(
    const real* __restrict__ x, const real* __restrict__ table, const real* __restrict__ w, const real* __restrict__ b,
    real* __restrict__ y, CONVOLUTION, long long y_row, real least, real norm_least, long long slices
) {
    __shared__ NormalizedStages<Tile128x128> stages;
    const Normalized volume = NORMALIZED;
    forward_tile<WIDTH, Tile128x128>(volume, w, b, y, CONVOLUTION_OF_NUMBERS, (int)y_row, least, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(128, BLOCKS_OF_128)
norm_forward_128x64(
    const real* __restrict__ x, const real* __restrict__ table, const real* __restrict__ w, const real* __restrict__ b,
    real* __restrict__ y, CONVOLUTION, long long y_row, real least, real norm_least, long long slices
) {
    __shared__ NormalizedStages<Tile128x64> stages;
    const Normalized volume = NORMALIZED;
    forward_tile<WIDTH, Tile128x64>(volume, w, b, y, CONVOLUTION_OF_NUMBERS, (int)y_row, least, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(64, BLOCKS_OF_64)
norm_forward_64x64(
    const real* __restrict__ x, const real* __restrict__ table, const real* __restrict__ w, const real* __restrict__ b,
    real* __restrict__ y, CONVOLUTION, long long y_row, real least, real norm_least, long long slices
) {
    __shared__ NormalizedStages<Tile64x64> stages;
    const Normalized volume = NORMALIZED;
    forward_tile<WIDTH, Tile64x64>(volume, w, b, y, CONVOLUTION_OF_NUMBERS, (int)y_row, least, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(32, BLOCKS_OF_32)
norm_forward_32x32(
    const real* __restrict__ x, const real* __restrict__ table, const real* __restrict__ w, const real* __restrict__ b,
    real* __restrict__ y, CONVOLUTION, long long y_row, real least, real norm_least, long long slices
) {
    __shared__ NormalizedStages<Tile32x32> stages;
    const Normalized volume = NORMALIZED;
    forward_tile<WIDTH, Tile32x32>(volume, w, b, y, CONVOLUTION_OF_NUMBERS, (int)y_row, least, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(128, 2)
norm_forward_128x64_scalars(
    const real* __restrict__ x, const real* __restrict__ table, const real* __restrict__ w, const real* __restrict__ b,
    real* __restrict__ y, CONVOLUTION, long long y_row, real least, real norm_least, long long slices
) {
    __shared__ NormalizedStages<Tile128x64> stages;
    const Normalized volume = NORMALIZED;
    forward_tile<1, Tile128x64>(volume, w, b, y, CONVOLUTION_OF_NUMBERS, (int)y_row, least, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(32, SCALARS_OF_32)
norm_forward_32x32_scalars(
    const real* __restrict__ x, const real* __restrict__ table, const real* __restrict__ w, const real* __restrict__ b,
    real* __restrict__ y, CONVOLUTION, long long y_row, real least, real norm_least, long long slices
) {
    __shared__ NormalizedStages<Tile32x32> stages;
    const Normalized volume = NORMALIZED;
    forward_tile<1, Tile32x32>(volume, w, b, y, CONVOLUTION_OF_NUMBERS, (int)y_row, least, (int)slices, stages);
}
