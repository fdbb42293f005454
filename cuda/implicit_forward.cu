// Convolution as a matrix product without its matrix: y[position, filter] = sum over (f_row, f_col, d) of x * w, and the
// bias. A block makes one tile of the results of a group, for one slice of the sum.

#include "gather.cuh"

// The sum of a window in one piece, tap by tap and map by map: the values of a step may belong to several taps. Each thread
// is at a tap of its own.
struct InOnePiece {
    const Convolution& c;
    int l, d;           // place in the sum, map
    int rows, columns;  // from the first tap to this one

    __device__ InOnePiece(const Convolution& c) : c(c) {}
    __device__ void start(int step, int place) {
        l = step * DEPTH + place;
        const int tap = l / c.maps, row = tap / c.F_columns;
        d = l - tap * c.maps, rows = row * c.dilation, columns = (tap - row * c.F_columns) * c.dilation;
    }
    __device__ void next() {
        l += DEPTH;
        for (d += DEPTH; d >= c.maps; d -= c.maps) {
            columns += c.dilation;
            if (columns == c.F_columns * c.dilation) columns = 0, rows += c.dilation;
        }
    }
    __device__ bool inside() const { return l < c.length; }
    __device__ int along() const { return d; }
};

// The filters of a group as rows of a matrix, as they lie: w is (filters, length).
template <typename Stored, typename T, int COUNT>
struct FilterRows : AlongSum<Stored, T, T::N, COUNT> {
    using Share = AlongSum<Stored, T, T::N, COUNT>;
    const Stored* w;
    int filter;
    const Convolution& c;
    const InOnePiece& order;  // that of the windows, which goes on before this does

    __device__ FilterRows(const Stored* w, const Convolution& c, const InOnePiece& order, int n0)
        : w(w), filter(n0 + Share::row(0)), c(c), order(order) {}
    __device__ void next() {}
    __device__ void fetch() {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            const int row = filter + Share::row(pack) - Share::row(0);
            this->held[pack] = {};
            if (row < c.filters && order.inside()) {
                this->held[pack] = load<COUNT>(w + (apart(row, c.length) + order.l), 0);
            }
        }
    }
};

// What becomes of the results: plus the bias, where there is one, and stored. Of a slice the sums alone.
struct PlusBias {
    const real* b;
    real* y;
    const Convolution& c;

    __device__ void operator()(int slice, int position, int filter, Pack<real, RUN> run, int left) const {
#pragma unroll
        for (int lane = 0; lane < RUN; ++lane) {
            if (b && lane < left) run.value[lane] += b[filter + lane];
        }
        real* const place = y + ((long long)slice * c.positions + position) * c.K + filter;
        RunOf<WIDTH, real>{place, left, c.filters % WIDTH == 0 && aligned(y)}.store_run(run);
    }
};

// The tile of `results` that is this block's: finish(position, filter, run of results, how many of them there are).
template <int COUNT, typename T, typename Finish>
__device__ inline void forward_results(
    const real* x, const real* w, const Convolution& c, int slices, Stages<real, T>& stages, Finish finish
) {
    const Part part(blockIdx.x, tiles(c.filters, T::N), tiles(c.positions, T::M));
    const int m0 = part.down * T::M, n0 = part.across * T::N, group = part.rest % c.groups, number = part.rest / c.groups;
    const Slice slice(number, slices, tiles(c.length, DEPTH));
    UnderWindows<real, T, COUNT, InOnePiece> windows(x + group * c.maps, c.H, c.W, c.D, {c});
#pragma unroll
    for (int pack = 0; pack < windows.PACKS; ++pack) {
        const int m = m0 + windows.row(pack), line = m / c.W2, image = line / c.H2;
        if (m < c.positions) {
            const int i = line - image * c.H2, j = m - line * c.W2;
            windows.put_row(pack, image, i * c.S_rows - c.P_top, j * c.S_columns - c.P_left);
        } else {
            windows.put_nothing(pack);
        }
    }
    FilterRows<real, T, COUNT> rows(w + (long long)group * c.filters * c.length, c, windows.order, n0);
    windows.start(slice.first);
    keep(stages, m0, n0, group, number);
    real sum[T::ROWS][T::COLUMNS] = {};
    multiply<T>(windows, rows, slice.steps(), stages, sum);
    each_run<T>(sum, [&](int row, int column, const Pack<real, RUN>& run) {
        const int position = stages.kept[0] + row, filter = stages.kept[1] + column;
        if (position < c.positions && filter < c.filters) {
            finish(stages.kept[3], position, stages.kept[2] * c.filters + filter, run, c.filters - filter);
        }
    });
}

template <int COUNT, typename T>
__device__ inline void forward_tile(
    const real* x, const real* w, const real* b, real* y, const Convolution& c, int slices, Stages<real, T>& stages
) {
    const PlusBias finish = {slices == 1 ? b : nullptr, y, c};
    forward_results<COUNT>(x, w, c, slices, stages, finish);
}

// x  (N, H, W, D)                             in
// w  (K, F_rows, F_columns, D/groups)         in
// b  (K,)                                     in; null: no bias
// y  (N, H2, W2, K), or (slices, N, H2, W2, K) where there are several: the sums of each slice, without the bias    out
// A thread makes 8 x 8 results, of the smallest tile 8 x 4. Packs need maps of a group that they divide.
extern "C" __global__ void __launch_bounds__(256, BLOCKS_OF_256)
forward_128x128(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y, CONVOLUTION, long long slices
) {
    __shared__ Stages<real, Tile128x128> stages;
    forward_tile<WIDTH>(x, w, b, y, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(128, BLOCKS_OF_128)
forward_128x64(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y, CONVOLUTION, long long slices
) {
    __shared__ Stages<real, Tile128x64> stages;
    forward_tile<WIDTH>(x, w, b, y, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(64, BLOCKS_OF_64)
forward_64x64(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y, CONVOLUTION, long long slices
) {
    __shared__ Stages<real, Tile64x64> stages;
    forward_tile<WIDTH>(x, w, b, y, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(32, BLOCKS_OF_32)
forward_32x32(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y, CONVOLUTION, long long slices
) {
    __shared__ Stages<real, Tile32x32> stages;
    forward_tile<WIDTH>(x, w, b, y, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(128, 2)
forward_128x64_scalars(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y, CONVOLUTION, long long slices
) {
    __shared__ Stages<real, Tile128x64> stages;
    forward_tile<1>(x, w, b, y, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}

extern "C" __global__ void __launch_bounds__(32, BLOCKS_OF_32)
forward_32x32_scalars(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y, CONVOLUTION, long long slices
) {
    __shared__ Stages<real, Tile32x32> stages;
    forward_tile<1>(x, w, b, y, CONVOLUTION_OF_NUMBERS, (int)slices, stages);
}
