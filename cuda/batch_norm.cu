// Batch normalization: every map less its mean and divided by its deviation, both taken over all images and positions.
// Source: Ioffe & Szegedy 2015.
//
// A row holds the D values of one position of one image; where they are maps of a wider volume it begins further behind the
// one before, x_row values of x, y_row of y, dy_row of dy. Sums over rows are taken in two levels, always in the same
// order: parts of block_rows rows, then the parts.
#include "columns.cuh"
#include "normalized.cuh"
#include "table.cuh"

constexpr int ROOM = WIDTH > 4 ? 2 : RESIDENT;  // packs of halves, each with many numbers of its maps, take more registers

// The deviations of maps, by which values are divided.
template <int COUNT>
__device__ inline Pack<real, COUNT> deviations(const real* variance, real eps) {
    auto values = load<COUNT>(variance);
    for (int lane = 0; lane < COUNT; ++lane) values.value[lane] = sqrt(values.value[lane] + eps);
    return values;
}

// How many rows there are in a part.
__device__ inline real in_part(long long part, long long rows, long long block_rows) {
    const long long left = rows - part * block_rows;
    return (real)(left < block_rows ? left : block_rows);
}

// Mean and variance of map k from what its parts gave; what is summed are differences from the mean of the first part.
__device__ inline void merge_statistics(
    const stored* x, const real* partials, real* mean, real* variance, Pack<real, 1>* shared, long long k, long long rows,
    long long D, long long x_row, long long block_rows
) {
    const long long parts = (rows + block_rows - 1) / block_rows, last = k < D ? parts : 0;
    const real start = k < D ? real(x[k]) : real(0), above = k < D ? fresh(partials + k) / in_part(0, rows, block_rows) : 0;
    const auto sums = add_up<2, 1, 1>(0, last, shared, [=](long long part, Sums<2, 1>& so_far) {
        const real count = in_part(part, rows, block_rows), sum = fresh(partials + part * D + k);
        const real difference = x[part * block_rows * x_row + k] - start + (sum / count - above);
        so_far.of[0].value[0] += count * difference;
        so_far.of[1].value[0] += fresh(partials + (parts + part) * D + k) + count * difference * difference;
    });
    if (writes() && k < D) {
        const real one = sums.of[0].value[0], further = one / (real)rows;
        const real squares = sums.of[1].value[0] - one * further;
        mean[k] = start + (above + further);
        variance[k] = squares < 0 ? real(0) : squares / (real)rows;
    }
}

template <int COUNT>
__device__ inline void statistics_of_parts(
    const stored* x, int* counters, real* mean, real* variance, real* partials, Pack<real, COUNT>* shared, int& seen,
    long long rows, long long D, long long x_row, long long block_rows
) {
    const long long parts = (rows + block_rows - 1) / block_rows;
    const auto of_part = [&](long long part, long long first, long long last, long long k) {
        Pack<real, COUNT> start = {};
        if (first < last) start = load<COUNT>(x + first * x_row + k);
        const auto sums = add_up<2, COUNT>(first, last, shared, [=](long long row, Sums<2, COUNT>& so_far) {
            const auto values = load<COUNT>(x + row * x_row + k);
            for (int lane = 0; lane < COUNT; ++lane) {
                const real difference = values.value[lane] - start.value[lane];
                so_far.of[0].value[lane] += difference;
                so_far.of[1].value[lane] += difference * difference;
            }
        });
        if (!writes() || first >= last) return;
        auto squares = sums.of[1];
        for (int lane = 0; lane < COUNT; ++lane) {
            const real sum = sums.of[0].value[lane];
            squares.value[lane] -= sum * (sum / (real)(last - first));
        }
        store(partials + part * D + k, sums.of[0]);
        store(partials + (parts + part) * D + k, squares);
    };
    each_part_and_sum<COUNT>(rows, D, block_rows, counters, seen, of_part, [&](long long k) {
        merge_statistics(x, partials, mean, variance, (Pack<real, 1>*)shared, k, rows, D, x_row, block_rows);
    });
}

// x         (rows, D)      in
// counters  (D / 8,)       in and out: zeros
// mean      (D,)           out
// variance  (D,)           out: the mean square of the differences from the mean
// partials  (2*parts, D)   scratch, parts = ceil(rows / block_rows): the sums of what the rows of the parts are above the
//                          first of them, then those of the squares of what they are above their mean
// A block takes 8 packs of maps of a part; the last one of some maps puts their parts together. With differences from the
// first row the squares are not much larger than what is left of them, whatever the mean. There are few blocks: each may
// have more registers.
extern "C" __global__ void __launch_bounds__(BLOCK, 2)
batch_norm_statistics(
    const stored* __restrict__ x, int* __restrict__ counters, real* __restrict__ mean, real* __restrict__ variance,
    real* __restrict__ partials, long long rows, long long D, long long x_row, long long block_rows
) {
    __shared__ Pack<real, WIDTH> shared[BLOCK];
    __shared__ int seen;
    if (D % WIDTH == 0 && x_row % WIDTH == 0 && aligned(x, partials)) {
        statistics_of_parts<WIDTH>(x, counters, mean, variance, partials, shared, seen, rows, D, x_row, block_rows);
    } else {
        statistics_of_parts<1>(x, counters, mean, variance, partials, alone(shared), seen, rows, D, x_row, block_rows);
    }
}

// running_mean, running_variance  (D,)  in
// mean, variance                  (D,)  out: the same
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
batch_norm_recall(
    const real* __restrict__ running_mean, const real* __restrict__ running_variance, real* __restrict__ mean,
    real* __restrict__ variance, long long D
) {
    for (long long k = first_item(); k < D; k += item_stride()) {
        mean[k] = running_mean[k];
        variance[k] = running_variance[k];
    }
}

// Whether ReLU lets the gradient of such a value pass.
__device__ inline bool passes(real normal) { return !(normal <= real(0)); }  // NaN does

// What the deviations divide: scale / deviation of each map.
template <int COUNT>
__device__ inline Pack<real, COUNT> factors_of(const real* scale, const Pack<real, COUNT>& spread) {
    auto factors = load<COUNT>(scale);
    for (int lane = 0; lane < COUNT; ++lane) factors.value[lane] /= spread.value[lane];
    return factors;
}

typedef Size<1> WithRelu;  // behind the normalization; for all of a kernel, so that its loops are those of one case
typedef Size<0> WithoutRelu;

// Whether maps are whole packs, and rows begin a whole number of them apart.
__device__ inline bool packable(long long D, long long one_row, long long other_row) {
    return (D | one_row | other_row) % WIDTH == 0;
}

template <int COUNT, typename Index, typename Relu>
__device__ inline void normalize(
    const stored* x, const real* mean, const real* variance, const real* scale, const real* shift, const stored* z, stored* y,
    Index rows, Divisor<Index> D, Index x_row, Index y_row, real eps, Relu relu
) {
    each_column<COUNT>(rows, D, [=](Index k, Index row, Index lines) {
        const auto means = load<COUNT>(mean + k), shifts = load<COUNT>(shift + k);
        const auto factors = factors_of<COUNT>(scale + k, deviations<COUNT>(variance + k, eps));
        for (; row < rows; row += lines) {
            auto values = load<COUNT>(x + (row * x_row + k));
            Pack<real, COUNT> added = {};
            if (z) added = load<COUNT>(z + (row * D + k));
            for (int lane = 0; lane < COUNT; ++lane) {
                real& value = values.value[lane];
                value = normalized(value, means.value[lane], factors.value[lane], shifts.value[lane]);
                if (z) value += added.value[lane];
                if (relu && !passes(value)) value = real(0);
            }
            store(y + (row * y_row + k), values);
        }
    });
}

// x                             (rows, D)  in
// mean, variance, scale, shift  (D,)       in
// y                             (rows, D)  out; may be x
// A thread takes a pack of maps of some positions.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
batch_norm_forward(
    const stored* x, const real* __restrict__ mean, const real* __restrict__ variance, const real* __restrict__ scale,
    const real* __restrict__ shift, stored* y, long long rows, long long D, long long magic_D, long long x_row,
    long long y_row, real eps
) {
    const bool packs = packable(D, x_row, y_row) && aligned(x, mean, variance, scale, shift, y);
    const By by_D = {D, magic_D};
    const stored* z = nullptr;
    DISPATCH(
        normalize, packs, rows * largest(x_row, y_row), x, mean, variance, scale, shift, z, y, rows, by_D, x_row, y_row, eps,
        WithoutRelu()
    );
}

// z  (rows, D)  in; added to the normalized values; null: nothing is
// y  (rows, D)  out; may be x or z; what would be below 0 is 0
// All else as above.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
batch_norm_relu_forward(
    const stored* x, const real* __restrict__ mean, const real* __restrict__ variance, const real* __restrict__ scale,
    const real* __restrict__ shift, const stored* z, stored* y, long long rows, long long D, long long magic_D, long long x_row,
    long long y_row, real eps
) {
    const bool packs = packable(D, x_row, y_row) && aligned(x, mean, variance, scale, shift, z, y);
    const By by_D = {D, magic_D};
    DISPATCH(
        normalize, packs, rows * largest(x_row, y_row), x, mean, variance, scale, shift, z, y, rows, by_D, x_row, y_row, eps,
        WithRelu()
    );
}

// The gradients of scale and shift of map k from the sums of its parts.
__device__ inline void merge_gradients(
    const real* partials, real* dscale, real* dshift, Pack<real, 1>* shared, long long k, long long parts, long long D
) {
    const auto sums = add_up<2, 1, 1>(0, k < D ? parts : 0, shared, [=](long long part, Sums<2, 1>& so_far) {
        so_far.of[0].value[0] += fresh(partials + part * D + k);
        so_far.of[1].value[0] += fresh(partials + (parts + part) * D + k);
    });
    if (writes() && k < D) {
        dshift[k] = sums.of[0].value[0];
        dscale[k] = sums.of[1].value[0];
    }
}

// What the kernels of both gradients take: scale and shift where there is a ReLU behind.
struct Gradients {
    const stored *dy, *x;
    const real *mean, *variance, *scale, *shift;
    int* counters;
    real *dscale, *dshift, *partials;
    long long rows, D, dy_row, x_row, block_rows;
    real eps;
};

template <int COUNT, typename Relu>
__device__ inline void gradients_of_parts(const Gradients& of, Pack<real, COUNT>* shared, int& seen, Relu relu) {
    const stored *dy = of.dy, *x = of.x;
    const real *mean = of.mean, *variance = of.variance, *scale = of.scale, *shift = of.shift;
    real* partials = of.partials;
    const long long rows = of.rows, D = of.D, dy_row = of.dy_row, x_row = of.x_row, block_rows = of.block_rows;
    const real eps = of.eps;
    const long long parts = (rows + block_rows - 1) / block_rows;
    const auto of_part = [&](long long part, long long first, long long last, long long k) {
        Pack<real, COUNT> middle = {}, factors = {}, shifts = {};
        if (first < last) middle = load<COUNT>(mean + k);
        if (relu && first < last) {
            factors = factors_of<COUNT>(scale + k, deviations<COUNT>(variance + k, eps)), shifts = load<COUNT>(shift + k);
        }
        auto sums = add_up<2, COUNT>(first, last, shared, [=](long long row, Sums<2, COUNT>& so_far) {
            const auto gradients = load<COUNT>(dy + row * dy_row + k), values = load<COUNT>(x + row * x_row + k);
            for (int lane = 0; lane < COUNT; ++lane) {
                const real value = values.value[lane];
                real gradient = gradients.value[lane];
                if (relu && !passes(normalized(value, middle.value[lane], factors.value[lane], shifts.value[lane]))) {
                    gradient = real(0);
                }
                so_far.of[0].value[lane] += gradient;
                so_far.of[1].value[lane] += gradient * (value - middle.value[lane]);
            }
        });
        if (!writes() || first >= last) return;
        const auto spread = deviations<COUNT>(variance + k, eps);  // once more: it would take registers until here
        for (int lane = 0; lane < COUNT; ++lane) sums.of[1].value[lane] /= spread.value[lane];
        store(partials + part * D + k, sums.of[0]);
        store(partials + (parts + part) * D + k, sums.of[1]);
    };
    each_part_and_sum<COUNT>(rows, D, block_rows, of.counters, seen, of_part, [&](long long k) {
        merge_gradients(partials, of.dscale, of.dshift, (Pack<real, 1>*)shared, k, parts, D);
    });
}

// dy, x           (rows, D)      in
// mean, variance  (D,)           in
// counters        (D / 8,)       in and out: zeros
// dscale, dshift  (D,)           out
// partials        (2*parts, D)   scratch: the sums of dy over the parts, then those of dy times the normalized x
// A block takes 8 packs of maps of a part; the last one of some maps adds up their parts.
extern "C" __global__ void __launch_bounds__(BLOCK, 2)
batch_norm_backward_sums(
    const stored* __restrict__ dy, const stored* __restrict__ x, const real* __restrict__ mean,
    const real* __restrict__ variance, int* __restrict__ counters, real* __restrict__ dscale, real* __restrict__ dshift,
    real* __restrict__ partials, long long rows, long long D, long long dy_row, long long x_row, long long block_rows,
    real eps
) {
    __shared__ Pack<real, WIDTH> shared[BLOCK];
    __shared__ int seen;
    const Gradients of = {
        dy, x, mean, variance, nullptr, nullptr, counters, dscale, dshift, partials, rows, D, dy_row, x_row, block_rows, eps
    };
    if (packable(D, dy_row, x_row) && aligned(dy, x, mean, variance, partials)) {
        gradients_of_parts<WIDTH>(of, shared, seen, WithoutRelu());
    } else {
        gradients_of_parts<1>(of, alone(shared), seen, WithoutRelu());
    }
}

// scale, shift  (D,)  in; dy counts where the ReLU behind let values pass. All else as above.
extern "C" __global__ void __launch_bounds__(BLOCK, 2)
batch_norm_relu_backward_sums(
    const stored* __restrict__ dy, const stored* __restrict__ x, const real* __restrict__ mean,
    const real* __restrict__ variance, const real* __restrict__ scale, const real* __restrict__ shift,
    int* __restrict__ counters, real* __restrict__ dscale, real* __restrict__ dshift, real* __restrict__ partials,
    long long rows, long long D, long long dy_row, long long x_row, long long block_rows, real eps
) {
    __shared__ Pack<real, WIDTH> shared[BLOCK];
    __shared__ int seen;
    const Gradients of = {
        dy, x, mean, variance, scale, shift, counters, dscale, dshift, partials, rows, D, dy_row, x_row, block_rows, eps
    };
    if (packable(D, dy_row, x_row) && aligned(dy, x, mean, variance, scale, shift, partials)) {
        gradients_of_parts<WIDTH>(of, shared, seen, WithRelu());
    } else {
        gradients_of_parts<1>(of, alone(shared), seen, WithRelu());
    }
}

template <int COUNT, typename Index, typename Relu>
__device__ inline void normalize_backward(
    const stored* dy, const stored* x, const real* mean, const real* variance, const real* scale, const real* shift,
    const real* dscale, const real* dshift, stored* dx, Index rows, Divisor<Index> D, Index dy_row, Index x_row, real eps,
    real share, Relu relu
) {
    each_column<COUNT>(rows, D, [=](Index k, Index row, Index lines) {
        const auto means = load<COUNT>(mean + k);
        const auto dscales = load<COUNT>(dscale + k), dshifts = load<COUNT>(dshift + k);
        auto inverses = deviations<COUNT>(variance + k, eps), factors = load<COUNT>(scale + k);
        Pack<real, COUNT> forward = {}, shifts = {};
        if (relu) forward = factors_of<COUNT>(scale + k, inverses), shifts = load<COUNT>(shift + k);
        for (int lane = 0; lane < COUNT; ++lane) {
            inverses.value[lane] = 1 / inverses.value[lane];
            factors.value[lane] *= inverses.value[lane];
        }
        for (; row < rows; row += lines) {
            auto gradients = load<COUNT>(dy + (row * dy_row + k));
            const auto values = load<COUNT>(x + (row * x_row + k));
            for (int lane = 0; lane < COUNT; ++lane) {
                const real value = values.value[lane], mean = means.value[lane];
                if (relu && !passes(normalized(value, mean, forward.value[lane], shifts.value[lane]))) {
                    gradients.value[lane] = real(0);
                }
                const real normal = (value - mean) * inverses.value[lane];
                const real common = (dshifts.value[lane] + normal * dscales.value[lane]) * share;
                gradients.value[lane] = factors.value[lane] * (gradients.value[lane] - common);
            }
            store(dx + (row * D + k), gradients);
        }
    });
}

// dy, x                                  (rows, D)  in
// mean, variance, scale, dscale, dshift  (D,)       in
// dx                                     (rows, D)  out; may be dy or x
// share: 1 / rows. A thread takes a pack of maps of some positions.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
batch_norm_backward(
    const stored* dy, const stored* x, const real* __restrict__ mean, const real* __restrict__ variance,
    const real* __restrict__ scale, const real* __restrict__ dscale, const real* __restrict__ dshift, stored* dx,
    long long rows, long long D, long long magic_D, long long dy_row, long long x_row, real eps, real share
) {
    const bool packs = packable(D, dy_row, x_row) && aligned(dy, x, mean, variance, scale, dscale, dshift, dx);
    const By by_D = {D, magic_D};
    const real* none = nullptr;
    DISPATCH(
        normalize_backward, packs, rows * largest(dy_row, x_row), dy, x, mean, variance, scale, none, dscale, dshift, dx, rows,
        by_D, dy_row, x_row, eps, share, WithoutRelu()
    );
}

// shift  (D,)  in; dy counts where the ReLU behind let values pass. All else as above.
extern "C" __global__ void __launch_bounds__(BLOCK, ROOM)
batch_norm_relu_backward(
    const stored* dy, const stored* x, const real* __restrict__ mean, const real* __restrict__ variance,
    const real* __restrict__ scale, const real* __restrict__ shift, const real* __restrict__ dscale,
    const real* __restrict__ dshift, stored* dx, long long rows, long long D, long long magic_D, long long dy_row,
    long long x_row, real eps, real share
) {
    const bool packs = packable(D, dy_row, x_row) && aligned(dy, x, mean, variance, scale, shift, dscale, dshift, dx);
    const By by_D = {D, magic_D};
    DISPATCH(
        normalize_backward, packs, rows * largest(dy_row, x_row), dy, x, mean, variance, scale, shift, dscale, dshift, dx, rows,
        by_D, dy_row, x_row, eps, share, WithRelu()
    );
}

template <int COUNT, typename Index>
__device__ inline void normalize_backward_frozen(
    const stored* dy, const real* variance, const real* scale, stored* dx, Index rows, Divisor<Index> D, real eps
) {
    each_column<COUNT>(rows, D, [=](Index k, Index row, Index lines) {
        const auto spread = deviations<COUNT>(variance + k, eps);
        auto factors = load<COUNT>(scale + k);
        for (int lane = 0; lane < COUNT; ++lane) factors.value[lane] /= spread.value[lane];
        for (; row < rows; row += lines) {
            auto gradients = load<COUNT>(dy + (row * D + k));
            for (int lane = 0; lane < COUNT; ++lane) gradients.value[lane] *= factors.value[lane];
            store(dx + (row * D + k), gradients);
        }
    });
}

// dy               (rows, D)  in
// variance, scale  (D,)       in
// dx               (rows, D)  out; may be dy
// A thread takes a pack of maps of some positions.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
batch_norm_backward_frozen(
    const stored* dy, const real* __restrict__ variance, const real* __restrict__ scale, stored* dx, long long rows,
    long long D, long long magic_D, real eps
) {
    const bool packs = D % WIDTH == 0 && aligned(dy, variance, scale, dx);
    const By by_D = {D, magic_D};
    DISPATCH(normalize_backward_frozen, packs, rows * D, dy, variance, scale, dx, rows, by_D, eps);
}

// table    of each layer
//            mean, variance                  (D,)  in: of a batch
//            running_mean, running_variance  (D,)  in and out: kept * themselves + momentum * those of the batch
// entries  how many layers there are
// loss     (1,)  in: where it is infinite or NaN, nothing is written
// unbiased: what makes the variance of a batch an unbiased one. A thread takes a map.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
batch_norm_update(
    const Table table, long long entries, const real* __restrict__ loss, real kept, real momentum, real unbiased
) {
    if (!is_number(*loss)) return;
    typedef Entries<4> Of;
    each_share<4>(table, entries, [&](int entry, long long first, int count) {
        const real *mean = Of::array(table, entry, 0) + first, *variance = Of::array(table, entry, 1) + first;
        real* running_mean = Of::array(table, entry, 2) + first;
        real* running_variance = Of::array(table, entry, 3) + first;
        for (int k = threadIdx.x; k < count; k += BLOCK) {
            running_mean[k] = kept * running_mean[k] + momentum * mean[k];
            running_variance[k] = kept * running_variance[k] + momentum * (unbiased * variance[k]);
        }
    });
}
