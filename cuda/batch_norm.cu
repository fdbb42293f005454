// Batch normalization: every map less its mean and divided by its deviation, both taken over all images and positions.
// Source: Ioffe & Szegedy 2015.
//
// A row holds the D values of one position of one image. Sums over rows are taken in two levels, always in the same
// order: parts of block_rows rows, then the parts.
#include "columns.cuh"

// The deviations of maps, by which values are divided.
template <int COUNT>
__device__ inline Pack<real, COUNT> deviations(const real* variance, real eps) {
    auto values = load<COUNT>(variance);
    for (int lane = 0; lane < COUNT; ++lane) values.value[lane] = sqrt(values.value[lane] + eps);
    return values;
}

template <int COUNT>
__device__ inline void statistics_of_parts(
    const real* x, real* partials, Pack<real, COUNT>* shared, long long rows, long long D, long long block_rows
) {
    const long long parts = (rows + block_rows - 1) / block_rows;
    each_part<COUNT>(rows, D, block_rows, [&](long long part, long long first, long long last, long long k) {
        Pack<real, COUNT> start = {};
        if (first < last) start = load<COUNT>(x + first * D + k);
        const auto sums = add_up<2, COUNT>(first, last, shared, [=](long long row, Sums<2, COUNT>& so_far) {
            const auto values = load<COUNT>(x + row * D + k);
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
    });
}

// x         (rows, D)      in
// partials  (2*parts, D)   out, parts = ceil(rows / block_rows): the sums of what the rows of the parts are above the
//                          first of them, then those of the squares of what they are above their mean
// A block takes 8 packs of maps of a part. With differences from the first row the squares are not much larger than what
// is left of them, whatever the mean.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
batch_norm_parts(
    const real* __restrict__ x, real* __restrict__ partials, long long rows, long long D, long long block_rows
) {
    __shared__ Pack<real, WIDTH> shared[BLOCK];
    if (D % WIDTH == 0 && aligned(x, partials)) {
        statistics_of_parts<WIDTH>(x, partials, shared, rows, D, block_rows);
    } else {
        statistics_of_parts<1>(x, partials, alone(shared), rows, D, block_rows);
    }
}

// Calls body(parts, k) for the maps that a block takes, SIDE at a time; with no parts where there is no map k.
template <typename Body>
__device__ inline void each_few(long long parts, long long D, Body body) {
    each_part<1>(parts, D, parts, [=](long long, long long, long long last, long long k) { body(last, k); });
}

// How many rows there are in a part.
__device__ inline real in_part(long long part, long long rows, long long block_rows) {
    const long long left = rows - part * block_rows;
    return (real)(left < block_rows ? left : block_rows);
}

// x         (rows, D)      in
// partials  (2*parts, D)   in: what batch_norm_parts wrote
// mean      (D,)           out
// variance  (D,)           out: the mean square of the differences from the mean
// A block takes 8 maps; what it sums are differences from the mean of the first part. There are few such blocks: each may
// have more registers.
extern "C" __global__ void __launch_bounds__(BLOCK, 2)
batch_norm_merge(
    const real* __restrict__ x, const real* __restrict__ partials, real* __restrict__ mean, real* __restrict__ variance,
    long long rows, long long D, long long block_rows
) {
    __shared__ Pack<real, 1> shared[BLOCK];
    const long long parts = (rows + block_rows - 1) / block_rows;
    each_few(parts, D, [&](long long last, long long k) {
        const real start = k < D ? x[k] : 0, above = k < D ? partials[k] / in_part(0, rows, block_rows) : 0;
        const auto sums = add_up<2, 1, 1>(0, last, shared, [=](long long part, Sums<2, 1>& so_far) {
            const real count = in_part(part, rows, block_rows);
            const real difference = x[part * block_rows * D + k] - start + (partials[part * D + k] / count - above);
            so_far.of[0].value[0] += count * difference;
            so_far.of[1].value[0] += partials[(parts + part) * D + k] + count * difference * difference;
        });
        if (writes() && k < D) {
            const real one = sums.of[0].value[0], further = one / (real)rows;
            const real squares = sums.of[1].value[0] - one * further;
            mean[k] = start + (above + further);
            variance[k] = squares < 0 ? real(0) : squares / (real)rows;
        }
    });
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

template <int COUNT, typename Index>
__device__ inline void normalize(
    const real* x, const real* mean, const real* variance, const real* scale, const real* shift, real* y, Index rows,
    Divisor<Index> D, real eps
) {
    each_column<COUNT>(rows, D, [=](Index k, Index row, Index lines) {
        const auto means = load<COUNT>(mean + k), shifts = load<COUNT>(shift + k);
        const auto spread = deviations<COUNT>(variance + k, eps);
        auto factors = load<COUNT>(scale + k);
        for (int lane = 0; lane < COUNT; ++lane) factors.value[lane] /= spread.value[lane];
        for (; row < rows; row += lines) {
            auto values = load<COUNT>(x + (row * D + k));
            for (int lane = 0; lane < COUNT; ++lane) {
                const real above = values.value[lane] - means.value[lane];
                values.value[lane] = above * factors.value[lane] + shifts.value[lane];
            }
            store(y + (row * D + k), values);
        }
    });
}

// x                             (rows, D)  in
// mean, variance, scale, shift  (D,)       in
// y                             (rows, D)  out; may be x
// A thread takes a pack of maps of some positions.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
batch_norm_forward(
    const real* x, const real* __restrict__ mean, const real* __restrict__ variance, const real* __restrict__ scale,
    const real* __restrict__ shift, real* y, long long rows, long long D, long long magic_D, real eps
) {
    const bool packs = D % WIDTH == 0 && aligned(x, mean, variance, scale, shift, y);
    const By by_D = {D, magic_D};
    DISPATCH(normalize, packs, rows * D, x, mean, variance, scale, shift, y, rows, by_D, eps);
}

template <int COUNT>
__device__ inline void gradients_of_parts(
    const real* dy, const real* x, const real* mean, const real* variance, real* partials, Pack<real, COUNT>* shared, long long rows,
    long long D, long long block_rows, real eps
) {
    const long long parts = (rows + block_rows - 1) / block_rows;
    each_part<COUNT>(rows, D, block_rows, [&](long long part, long long first, long long last, long long k) {
        Pack<real, COUNT> middle = {};
        if (first < last) middle = load<COUNT>(mean + k);
        auto sums = add_up<2, COUNT>(first, last, shared, [=](long long row, Sums<2, COUNT>& so_far) {
            const auto gradients = load<COUNT>(dy + row * D + k), values = load<COUNT>(x + row * D + k);
            for (int lane = 0; lane < COUNT; ++lane) {
                so_far.of[0].value[lane] += gradients.value[lane];
                so_far.of[1].value[lane] += gradients.value[lane] * (values.value[lane] - middle.value[lane]);
            }
        });
        if (!writes() || first >= last) return;
        const auto spread = deviations<COUNT>(variance + k, eps);
        for (int lane = 0; lane < COUNT; ++lane) sums.of[1].value[lane] /= spread.value[lane];
        store(partials + part * D + k, sums.of[0]);
        store(partials + (parts + part) * D + k, sums.of[1]);
    });
}

// dy, x           (rows, D)      in
// mean, variance  (D,)           in
// partials        (2*parts, D)   out: the sums of dy over the parts, then those of dy times the normalized x
// A block takes 8 packs of maps of a part.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
batch_norm_backward_parts(
    const real* __restrict__ dy, const real* __restrict__ x, const real* __restrict__ mean,
    const real* __restrict__ variance, real* __restrict__ partials, long long rows, long long D, long long block_rows,
    real eps
) {
    __shared__ Pack<real, WIDTH> shared[BLOCK];
    if (D % WIDTH == 0 && aligned(dy, x, mean, variance, partials)) {
        gradients_of_parts<WIDTH>(dy, x, mean, variance, partials, shared, rows, D, block_rows, eps);
    } else {
        gradients_of_parts<1>(dy, x, mean, variance, partials, alone(shared), rows, D, block_rows, eps);
    }
}

// partials        (2*parts, D)   in: what batch_norm_backward_parts wrote
// dscale, dshift  (D,)           out
// A block takes 8 maps.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
batch_norm_backward_merge(
    const real* __restrict__ partials, real* __restrict__ dscale, real* __restrict__ dshift, long long parts,
    long long D
) {
    __shared__ Pack<real, 1> shared[BLOCK];
    each_few(parts, D, [&](long long last, long long k) {
        const auto sums = add_up<2, 1, 1>(0, last, shared, [=](long long part, Sums<2, 1>& so_far) {
            so_far.of[0].value[0] += partials[part * D + k];
            so_far.of[1].value[0] += partials[(parts + part) * D + k];
        });
        if (writes() && k < D) {
            dshift[k] = sums.of[0].value[0];
            dscale[k] = sums.of[1].value[0];
        }
    });
}

template <int COUNT, typename Index>
__device__ inline void normalize_backward(
    const real* dy, const real* x, const real* mean, const real* variance, const real* scale, const real* dscale,
    const real* dshift, real* dx, Index rows, Divisor<Index> D, real eps, real share
) {
    each_column<COUNT>(rows, D, [=](Index k, Index row, Index lines) {
        const auto means = load<COUNT>(mean + k);
        const auto dscales = load<COUNT>(dscale + k), dshifts = load<COUNT>(dshift + k);
        auto inverses = deviations<COUNT>(variance + k, eps), factors = load<COUNT>(scale + k);
        for (int lane = 0; lane < COUNT; ++lane) {
            inverses.value[lane] = 1 / inverses.value[lane];
            factors.value[lane] *= inverses.value[lane];
        }
        for (; row < rows; row += lines) {
            auto gradients = load<COUNT>(dy + (row * D + k));
            const auto values = load<COUNT>(x + (row * D + k));
            for (int lane = 0; lane < COUNT; ++lane) {
                const real normal = (values.value[lane] - means.value[lane]) * inverses.value[lane];
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
    const real* dy, const real* x, const real* __restrict__ mean, const real* __restrict__ variance,
    const real* __restrict__ scale, const real* __restrict__ dscale, const real* __restrict__ dshift, real* dx,
    long long rows, long long D, long long magic_D, real eps, real share
) {
    const bool packs = D % WIDTH == 0 && aligned(dy, x, mean, variance, scale, dscale, dshift, dx);
    const By by_D = {D, magic_D};
    DISPATCH(
        normalize_backward, packs, rows * D, dy, x, mean, variance, scale, dscale, dshift, dx, rows, by_D, eps, share
    );
}

template <int COUNT, typename Index>
__device__ inline void normalize_backward_frozen(
    const real* dy, const real* variance, const real* scale, real* dx, Index rows, Divisor<Index> D, real eps
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
    const real* dy, const real* __restrict__ variance, const real* __restrict__ scale, real* dx, long long rows,
    long long D, long long magic_D, real eps
) {
    const bool packs = D % WIDTH == 0 && aligned(dy, variance, scale, dx);
    const By by_D = {D, magic_D};
    DISPATCH(normalize_backward_frozen, packs, rows * D, dy, variance, scale, dx, rows, by_D, eps);
}

// mean, variance                  (D,)  in: of a batch
// running_mean, running_variance  (D,)  in and out: kept * themselves + momentum * those of the batch
// loss                            (1,)  in: where it is infinite or NaN, nothing is written
// unbiased: what makes the variance of a batch an unbiased one. A thread takes a map.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
batch_norm_update(
    const real* __restrict__ mean, const real* __restrict__ variance, const real* __restrict__ loss,
    real* __restrict__ running_mean, real* __restrict__ running_variance, long long D, real kept, real momentum,
    real unbiased
) {
    if (!is_number(*loss)) return;
    for (long long k = first_item(); k < D; k += item_stride()) {
        running_mean[k] = kept * running_mean[k] + momentum * mean[k];
        running_variance[k] = kept * running_variance[k] + momentum * (unbiased * variance[k]);
    }
}
