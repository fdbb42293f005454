// A convolution as a matrix product without its matrix, then the bias, and ReLU.

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

template <int COUNT, typename T, typename Volume, typename Shared>
__device__ inline void forward_tile(
    Volume x, const real* w, const real* b, real* y, const Convolution& c, int y_row, real least, int slices,
    Shared& stages
) {
    real sum[T::ROWS][T::COLUMNS] = {};
    forward_sums<COUNT, T>(x, w, c, slices, InOrder(), stages, sum);
    const PlusBias finish = {slices == 1 ? b : nullptr, y, c, y_row, least};
    each_run<T>(sum, [&](int row, int column, const Pack<real, RUN>& run) {
        const int position = stages.kept[0] + row, filter = stages.kept[1] + column;
        if (position < c.positions && filter < c.filters) {
            finish(stages.kept[3], position, stages.kept[2] * c.filters + filter, run, c.filters - filter);
        }
    });
}
