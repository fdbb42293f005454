// Batch normalization: every map less its mean and divided by its deviation, both taken over all images and positions.
// Source: Ioffe & Szegedy 2015.
//
// A row holds the D values of one position of one image. Sums over rows are taken in two levels, always in the same
// order: parts of block_rows rows, then the parts.

constexpr int MAPS = 32;             // neighbouring maps that a block sums over a part: warps read whole cache lines
constexpr int FEW = 8;               // and over the parts, which lie in the cache: more threads share those of a map

constexpr int RUN = 8;               // rows that a thread adds up before they go to its sum: few roundings on the way of each

struct Sums {
    real one, two;
};

// Lets each(row, sums) add to the two sums of a thread's map for the rows [first, last), in runs, and adds up the threads
// of a map: those of a block whose numbers leave the same remainder by COUNT. Every thread of the block must call it.
template <int COUNT, typename Each>
__device__ inline Sums add_up(long long first, long long last, real* shared, Each each) {
    Sums sums = {0, 0};
    for (long long row = first + threadIdx.x / COUNT; row < last;) {
        Sums run = {0, 0};
        for (int left = RUN; left > 0 && row < last; --left, row += BLOCK / COUNT) each(row, run);
        sums.one += run.one;
        sums.two += run.two;
    }
    const real one = reduce_sum(sums.one, shared, COUNT);
    return {one, reduce_sum(sums.two, shared, COUNT)};
}

// Calls body(part, first row, last row, map) for what a block takes; beyond the last map the rows are none.
template <typename Body>
__device__ inline void each_part(long long rows, long long D, long long block_rows, Body body) {
    const long long tiles = (D + MAPS - 1) / MAPS, parts = (rows + block_rows - 1) / block_rows;
    for (long long tile = blockIdx.x; tile < parts * tiles; tile += gridDim.x) {
        const long long k = tile % tiles * MAPS + threadIdx.x % MAPS, part = tile / tiles;
        const long long first = part * block_rows, after = first + block_rows, last = after < rows ? after : rows;
        body(part, first, k < D ? last : first, k);
    }
}

// x         (rows, D)      in
// partials  (2*parts, D)   out, parts = ceil(rows / block_rows): the sums of what the rows of the parts are above the
//                          first of them, then those of the squares of what they are above their mean
// A block takes 32 maps of a part. With differences from the first row the squares are not much larger than what is
// left of them, whatever the mean.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
batch_norm_parts(
    const real* __restrict__ x, real* __restrict__ partials, long long rows, long long D, long long block_rows
) {
    __shared__ real shared[BLOCK];
    const long long parts = (rows + block_rows - 1) / block_rows;
    each_part(rows, D, block_rows, [&](long long part, long long first, long long last, long long k) {
        const real start = first < last ? x[first * D + k] : 0;
        const Sums sums = add_up<MAPS>(first, last, shared, [&](long long row, Sums& so_far) {
            const real difference = x[row * D + k] - start;
            so_far.one += difference;
            so_far.two += difference * difference;
        });
        if (threadIdx.x < MAPS && first < last) {
            partials[part * D + k] = sums.one;
            partials[(parts + part) * D + k] = sums.two - sums.one * (sums.one / (real)(last - first));
        }
    });
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
// A block takes 8 maps; what it sums are differences from the mean of the first part.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
batch_norm_merge(
    const real* __restrict__ x, const real* __restrict__ partials, real* __restrict__ mean, real* __restrict__ variance,
    long long rows, long long D, long long block_rows
) {
    __shared__ real shared[BLOCK];
    const long long parts = (rows + block_rows - 1) / block_rows;
    for (long long tile = blockIdx.x; tile * FEW < D; tile += gridDim.x) {
        const long long k = tile * FEW + threadIdx.x % FEW;
        const real start = k < D ? x[k] : 0, above = k < D ? partials[k] / in_part(0, rows, block_rows) : 0;
        const Sums sums = add_up<FEW>(0, k < D ? parts : 0, shared, [&](long long part, Sums& so_far) {
            const real count = in_part(part, rows, block_rows);
            const real difference = x[part * block_rows * D + k] - start + (partials[part * D + k] / count - above);
            so_far.one += count * difference;
            so_far.two += partials[(parts + part) * D + k] + count * difference * difference;
        });
        if (threadIdx.x < FEW && k < D) {
            const real further = sums.one / (real)rows, squares = sums.two - sums.one * further;
            mean[k] = start + (above + further);
            variance[k] = squares < 0 ? real(0) : squares / (real)rows;
        }
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

template <int COUNT, typename Index>
__device__ inline void normalize(
    const real* x, const real* mean, const real* variance, const real* scale, const real* shift, real* y, Index rows,
    Index D, real eps
) {
    D /= COUNT;
    for (Index pack = first_item(); pack < rows * D; pack += item_stride()) {
        const Index k = pack % D;
        auto values = load<COUNT>(x, pack);
        const auto means = load<COUNT>(mean, k), variances = load<COUNT>(variance, k);
        const auto scales = load<COUNT>(scale, k), shifts = load<COUNT>(shift, k);
        for (int lane = 0; lane < COUNT; ++lane) {
            const real factor = scales.value[lane] / sqrt(variances.value[lane] + eps);
            values.value[lane] = (values.value[lane] - means.value[lane]) * factor + shifts.value[lane];
        }
        store(y, pack, values);
    }
}

// x                             (rows, D)  in
// mean, variance, scale, shift  (D,)       in
// y                             (rows, D)  out; may be x
// A thread takes a pack of maps of one position.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
batch_norm_forward(
    const real* x, const real* __restrict__ mean, const real* __restrict__ variance, const real* __restrict__ scale,
    const real* __restrict__ shift, real* y, long long rows, long long D, real eps
) {
    const bool packs = D % WIDTH == 0 && aligned(x, mean, variance, scale, shift, y);
    DISPATCH(normalize, packs, rows * D, x, mean, variance, scale, shift, y, rows, D, eps);
}

// dy, x           (rows, D)      in
// mean, variance  (D,)           in
// partials        (2*parts, D)   out: the sums of dy over the parts, then those of dy times the normalized x
// A block takes 32 maps of a part.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
batch_norm_backward_parts(
    const real* __restrict__ dy, const real* __restrict__ x, const real* __restrict__ mean,
    const real* __restrict__ variance, real* __restrict__ partials, long long rows, long long D, long long block_rows,
    real eps
) {
    __shared__ real shared[BLOCK];
    const long long parts = (rows + block_rows - 1) / block_rows;
    each_part(rows, D, block_rows, [&](long long part, long long first, long long last, long long k) {
        const real middle = first < last ? mean[k] : 0;
        const Sums sums = add_up<MAPS>(first, last, shared, [&](long long row, Sums& so_far) {
            const real gradient = dy[row * D + k];
            so_far.one += gradient;
            so_far.two += gradient * (x[row * D + k] - middle);
        });
        if (threadIdx.x < MAPS && first < last) {
            partials[part * D + k] = sums.one;
            partials[(parts + part) * D + k] = sums.two / sqrt(variance[k] + eps);
        }
    });
}

// partials        (2*parts, D)   in: what batch_norm_backward_parts wrote
// dscale, dshift  (D,)           out
// A block takes 8 maps.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
batch_norm_backward_merge(
    const real* __restrict__ partials, real* __restrict__ dscale, real* __restrict__ dshift, long long parts,
    long long D
) {
    __shared__ real shared[BLOCK];
    for (long long tile = blockIdx.x; tile * FEW < D; tile += gridDim.x) {
        const long long k = tile * FEW + threadIdx.x % FEW;
        const Sums sums = add_up<FEW>(0, k < D ? parts : 0, shared, [&](long long part, Sums& so_far) {
            so_far.one += partials[part * D + k];
            so_far.two += partials[(parts + part) * D + k];
        });
        if (threadIdx.x < FEW && k < D) {
            dshift[k] = sums.one;
            dscale[k] = sums.two;
        }
    }
}

template <int COUNT, typename Index>
__device__ inline void normalize_backward(
    const real* dy, const real* x, const real* mean, const real* variance, const real* scale, const real* dscale,
    const real* dshift, real* dx, Index rows, Index D, real eps, real share
) {
    D /= COUNT;
    for (Index pack = first_item(); pack < rows * D; pack += item_stride()) {
        const Index k = pack % D;
        auto gradients = load<COUNT>(dy, pack);
        const auto values = load<COUNT>(x, pack);
        const auto means = load<COUNT>(mean, k), variances = load<COUNT>(variance, k), scales = load<COUNT>(scale, k);
        const auto dscales = load<COUNT>(dscale, k), dshifts = load<COUNT>(dshift, k);
        for (int lane = 0; lane < COUNT; ++lane) {
            const real inverse = 1 / sqrt(variances.value[lane] + eps);
            const real normal = (values.value[lane] - means.value[lane]) * inverse;
            const real common = (dshifts.value[lane] + normal * dscales.value[lane]) * share;
            gradients.value[lane] = scales.value[lane] * inverse * (gradients.value[lane] - common);
        }
        store(dx, pack, gradients);
    }
}

// dy, x                                  (rows, D)  in
// mean, variance, scale, dscale, dshift  (D,)       in
// dx                                     (rows, D)  out; may be dy or x
// share: 1 / rows. A thread takes a pack of maps of one position.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
batch_norm_backward(
    const real* dy, const real* x, const real* __restrict__ mean, const real* __restrict__ variance,
    const real* __restrict__ scale, const real* __restrict__ dscale, const real* __restrict__ dshift, real* dx,
    long long rows, long long D, real eps, real share
) {
    const bool packs = D % WIDTH == 0 && aligned(dy, x, mean, variance, scale, dscale, dshift, dx);
    DISPATCH(
        normalize_backward, packs, rows * D, dy, x, mean, variance, scale, dscale, dshift, dx, rows, D, eps, share
    );
}

template <int COUNT, typename Index>
__device__ inline void normalize_backward_frozen(
    const real* dy, const real* variance, const real* scale, real* dx, Index rows, Index D, real eps
) {
    D /= COUNT;
    for (Index pack = first_item(); pack < rows * D; pack += item_stride()) {
        auto gradients = load<COUNT>(dy, pack);
        const auto variances = load<COUNT>(variance, pack % D), scales = load<COUNT>(scale, pack % D);
        for (int lane = 0; lane < COUNT; ++lane) {
            const real deviation = sqrt(variances.value[lane] + eps);
            gradients.value[lane] *= scales.value[lane] / deviation;
        }
        store(dx, pack, gradients);
    }
}

// dy               (rows, D)  in
// variance, scale  (D,)       in
// dx               (rows, D)  out; may be dy
// A thread takes a pack of maps of one position.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
batch_norm_backward_frozen(
    const real* dy, const real* __restrict__ variance, const real* __restrict__ scale, real* dx, long long rows,
    long long D, real eps
) {
    const bool packs = D % WIDTH == 0 && aligned(dy, variance, scale, dx);
    DISPATCH(normalize_backward_frozen, packs, rows * D, dy, variance, scale, dx, rows, D, eps);
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
