// Numbers for each map: PReLU, and scales and shifts. Sources: He et al. 2015, "Delving deep into rectifiers"; Caffe's Scale.
//
// In every kernel
//   x, dy, y, dx  (rows, D)  a row for each position, D maps
// A thread takes a pack of neighbouring maps of one position.

// Calls body(pack, first map of the pack) for all packs of (rows, D) values.
template <int COUNT, typename Index, typename Body>
__device__ inline void each_pack_of_maps(Index rows, Index D, Body body) {
    D /= COUNT;
    for (Index pack = first_item(); pack < rows * D; pack += item_stride()) body(pack, pack % D * COUNT);
}

// The slope of map d: of `slopes` numbers, one a map or one for all.
template <typename Index>
__device__ inline real slope_of(const real* a, Index slopes, Index d) { return a[slopes == 1 ? 0 : d]; }

template <int COUNT, typename Index>
__device__ inline void prelu_packs(const stored* x, const real* a, stored* y, Index rows, Index D, Index slopes) {
    each_pack_of_maps<COUNT>(rows, D, [=](Index pack, Index d) {
        auto values = load<COUNT>(x, pack);
        for (int lane = 0; lane < COUNT; ++lane) {
            if (!(values.value[lane] > real(0))) values.value[lane] *= slope_of(a, slopes, d + lane);
        }
        store(y, pack, values);
    });
}

// x  in
// a  (slopes,)  in; one slope a map, or one for all
// y  out; may be x
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
prelu_forward(const stored* x, const real* __restrict__ a, stored* y, long long rows, long long D, long long slopes) {
    DISPATCH(prelu_packs, D % WIDTH == 0 && aligned(x, y), rows * D, x, a, y, rows, D, slopes);
}

template <int COUNT, typename Index>
__device__ inline void prelu_backward_packs(
    const stored* dy, const stored* x, const real* a, stored* dx, Index rows, Index D, Index slopes
) {
    each_pack_of_maps<COUNT>(rows, D, [=](Index pack, Index d) {
        const auto values = load<COUNT>(x, pack);
        auto gradients = load<COUNT>(dy, pack);
        for (int lane = 0; lane < COUNT; ++lane) {
            if (!(values.value[lane] > real(0))) gradients.value[lane] *= slope_of(a, slopes, d + lane);
        }
        store(dx, pack, gradients);
    });
}

// dy, x  in
// a      (slopes,)  in
// dx     out; may be dy or x
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
prelu_backward(
    const stored* dy, const stored* x, const real* __restrict__ a, stored* dx, long long rows, long long D, long long slopes
) {
    DISPATCH(prelu_backward_packs, D % WIDTH == 0 && aligned(dy, x, dx), rows * D, dy, x, a, dx, rows, D, slopes);
}

template <int COUNT, typename Index>
__device__ inline void scale_packs(const stored* x, const real* scale, const real* shift, stored* y, Index rows, Index D) {
    each_pack_of_maps<COUNT>(rows, D, [=](Index pack, Index d) {
        auto values = load<COUNT>(x, pack);
        for (int lane = 0; lane < COUNT; ++lane) {
            values.value[lane] *= scale[d + lane];
            if (shift) values.value[lane] += shift[d + lane];
        }
        store(y, pack, values);
    });
}

// x      in
// scale  (D,)  in
// y      out; may be x
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
scale_maps(const stored* x, const real* __restrict__ scale, stored* y, long long rows, long long D) {
    const real* none = nullptr;
    DISPATCH(scale_packs, D % WIDTH == 0 && aligned(x, y), rows * D, x, scale, none, y, rows, D);
}

// The same, with shift (D,), in, added.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
scale_and_shift(
    const stored* x, const real* __restrict__ scale, const real* __restrict__ shift, stored* y, long long rows, long long D
) {
    DISPATCH(scale_packs, D % WIDTH == 0 && aligned(x, y), rows * D, x, scale, shift, y, rows, D);
}

constexpr int MAPS = 32;  // neighbouring maps that a block sums: its warps read whole cache lines

// partials[p] = sum of product(dy, x) over the rows p*block_rows up to (p+1)*block_rows, of each map. A block takes 32
// maps of one p: each of its threads adds every 8th row of one map, then the 8 sums of a map are added in a fixed tree.
template <typename Product>
__device__ inline void sum_products(
    const stored* dy, const stored* x, real* partials, long long rows, long long D, long long block_rows, Product product
) {
    __shared__ real shared[BLOCK];
    const long long tiles = (D + MAPS - 1) / MAPS, parts = (rows + block_rows - 1) / block_rows;
    const int lane = threadIdx.x / MAPS;
    for (long long tile = blockIdx.x; tile < parts * tiles; tile += gridDim.x) {
        const long long d = tile % tiles * MAPS + threadIdx.x % MAPS, part = tile / tiles;
        const long long after = (part + 1) * block_rows, last = after < rows ? after : rows;
        real sum = 0;
        if (d < D) {
            for (long long row = part * block_rows + lane; row < last; row += BLOCK / MAPS) {
                sum += product(dy[row * D + d], x[row * D + d]);
            }
        }
        sum = reduce_sum(sum, shared, MAPS);
        if (lane == 0 && d < D) partials[part * D + d] = sum;
    }
}

// dy, x     in
// partials  (ceil(rows / block_rows), D)  out
// The parts of a slope's gradient: dy * x where x is not above 0.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
prelu_backward_slopes(
    const stored* __restrict__ dy, const stored* __restrict__ x, real* __restrict__ partials, long long rows, long long D,
    long long block_rows
) {
    sum_products(dy, x, partials, rows, D, block_rows, [](real above, real value) {
        return value > real(0) ? real(0) : above * value;
    });
}

// dy, x     in
// partials  (ceil(rows / block_rows), D)  out
// The parts of a scale's gradient: dy * x.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
scale_backward_weights(
    const stored* __restrict__ dy, const stored* __restrict__ x, real* __restrict__ partials, long long rows, long long D,
    long long block_rows
) {
    sum_products(dy, x, partials, rows, D, block_rows, [](real above, real value) { return above * value; });
}
