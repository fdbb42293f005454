// Where branches meet: sums, products, maxima, and concatenation along depth, whose backward pass takes apart what it
// joined. Sources: gpunet/layers/merge.py.

// y = rule(a, b) for every value. A thread takes a pack of neighbouring values.
template <typename Rule>
__device__ inline void merge(const stored* a, const stored* b, stored* y, long long count, Rule rule) {
    elementwise(count, aligned(a, b, y), [=](auto size, long long pack) {
        auto values = load<size>(a, pack);
        const auto others = load<size>(b, pack);
        for (int lane = 0; lane < size; ++lane) values.value[lane] = rule(values.value[lane], others.value[lane]);
        store(y, pack, values);
    });
}

// a, b  (count,)  in
// y     (count,)  out; may be a or b
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
add(const stored* a, const stored* b, stored* y, long long count) {
    merge(a, b, y, count, [](real one, real other) { return one + other; });
}

template <int COUNT, typename Index>
__device__ inline void add_packs(
    const stored* a, const stored* b, stored* y, Index positions, Divisor<Index> D, Index a_row, Index b_row
) {
    each_pack<COUNT>(positions * D, [=](Index item) {
        const Index position = item / D, map = item - position * D.number;
        auto sums = load<COUNT>(a + (position * a_row + map));
        const auto others = load<COUNT>(b + (position * b_row + map));
        for (int lane = 0; lane < COUNT; ++lane) sums.value[lane] += others.value[lane];
        store(y + item, sums);
    });
}

// a  (positions, D)  in; a position begins a_row values behind the one before
// b  (positions, D)  in; b_row likewise
// y  (positions, D)  out; may be that of a and b whose positions follow one another
// As add. A thread takes a pack of maps of a position.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
add_maps(
    const stored* a, const stored* b, stored* y, long long positions, long long D, long long magic_D, long long a_row,
    long long b_row
) {
    const bool packs = (D | a_row | b_row) % WIDTH == 0 && aligned(y, a, b);
    const By by_D = {D, magic_D};
    DISPATCH(add_packs, packs, positions * largest(a_row, b_row), a, b, y, positions, by_D, a_row, b_row);
}

// The same as add, y = of_a * a + of_b * b.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
add_scaled(const stored* a, const stored* b, stored* y, long long count, real of_a, real of_b) {
    merge(a, b, y, count, [=](real one, real other) { return of_a * one + of_b * other; });
}

// The same, y = a * b.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
multiply(const stored* a, const stored* b, stored* y, long long count) {
    merge(a, b, y, count, [](real one, real other) { return one * other; });
}

// The same, y = the larger one; NaN in either is it.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
maximum(const stored* a, const stored* b, stored* y, long long count) {
    merge(a, b, y, count, [](real one, real other) { return one >= other || one != one ? one : other; });
}

// x  (count,)  in
// y  (count,)  out; may be x
// y = factor * x. A thread takes a pack of neighbouring values.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
scaled(const stored* x, stored* y, long long count, real factor) {
    elementwise(count, aligned(x, y), [=](auto size, long long pack) {
        auto values = load<size>(x, pack);
        for (int lane = 0; lane < size; ++lane) values.value[lane] *= factor;
        store(y, pack, values);
    });
}

// dy      (count,)  in
// a, b    (count,)  in: what maximum read
// da, db  (count,)  out; each may be dy, a or b, but not both the same
// dy where the maximum was, else exactly 0. A thread takes a pack of neighbouring values.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
maximum_backward(const stored* dy, const stored* a, const stored* b, stored* da, stored* db, long long count) {
    elementwise(count, aligned(dy, a, b, da, db), [=](auto size, long long pack) {
        auto first = load<size>(dy, pack), second = first;
        const auto values = load<size>(a, pack), others = load<size>(b, pack);
        for (int lane = 0; lane < size; ++lane) {
            const real one = values.value[lane];
            const bool wins = one >= others.value[lane] || one != one;
            if (wins) second.value[lane] = real(0);
            else first.value[lane] = real(0);
        }
        store(da, pack, first);
        store(db, pack, second);
    });
}

template <int COUNT, typename Index>
__device__ inline void multiply_gate_packs(
    const stored* a, const stored* gate, stored* y, Index images, Divisor<Index> of_image, Divisor<Index> D
) {
    each_pack<COUNT>(images * of_image.number, [=](Index item) {
        auto products = load<COUNT>(a + item);
        const auto factors = load<COUNT>(gate + (item / of_image * D.number + item % D));
        for (int lane = 0; lane < COUNT; ++lane) products.value[lane] *= factors.value[lane];
        store(y + item, products);
    });
}

// a     (images, positions, D)  in
// gate  (images, D)             in
// y     (images, positions, D)  out; may be a
// A thread takes a pack of maps of a position.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
multiply_gate(
    const stored* a, const stored* __restrict__ gate, stored* y, long long images, long long positions, long long D,
    long long magic_of_image, long long magic_D
) {
    const By of_image = {positions * D, magic_of_image}, maps = {D, magic_D};
    const bool packable = D % WIDTH == 0 && aligned(a, gate, y);
    DISPATCH(multiply_gate_packs, packable, images * positions * D, a, gate, y, images, of_image, maps);
}

constexpr int MAPS = 32;  // neighbouring maps that a block sums: its warps read whole cache lines

// dy, a  (images, positions, D)  in
// db     (images, D)             out; neither of them
// Sums of dy * a over positions. A block takes 32 maps of one image: each of its threads adds every 8th position of one
// map, then the 8 sums of a map are added in a fixed tree.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
multiply_backward_gate(
    const stored* __restrict__ dy, const stored* __restrict__ a, stored* __restrict__ db, long long images,
    long long positions, long long D
) {
    __shared__ real shared[BLOCK];
    const long long tiles = (D + MAPS - 1) / MAPS;
    const int lane = threadIdx.x / MAPS;
    for (long long tile = blockIdx.x; tile < images * tiles; tile += gridDim.x) {
        const long long d = tile % tiles * MAPS + threadIdx.x % MAPS, image = tile / tiles;
        real sum = 0;
        if (d < D) {
            for (long long position = lane; position < positions; position += BLOCK / MAPS) {
                const long long at = (image * positions + position) * D + d;
                sum += dy[at] * a[at];
            }
        }
        sum = reduce_sum(sum, shared, MAPS);
        if (lane == 0 && d < D) db[image * D + d] = sum;
    }
}

template <int COUNT, typename Index>
__device__ inline void copy_packs(
    const stored* x, stored* y, Index positions, Divisor<Index> D, Index x_row, Index y_row
) {
    each_pack<COUNT>(positions * D, [=](Index item) {
        const Index position = item / D, d = item - position * D.number;
        store(y + (position * y_row + d), load<COUNT>(x + (position * x_row + d)));
    });
}

// x  (positions, D)  in; a position begins x_row values behind the one before
// y  (positions, D)  out; y_row likewise, and nothing between is written; not x
// A thread takes a pack of maps of a position.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
copy_maps(
    const stored* __restrict__ x, stored* __restrict__ y, long long positions, long long D, long long magic_D, long long x_row,
    long long y_row
) {
    const bool packs = (D | x_row | y_row) % WIDTH == 0 && aligned(x, y);
    const By by_D = {D, magic_D};
    DISPATCH(copy_packs, packs, positions * largest(x_row, y_row), x, y, positions, by_D, x_row, y_row);
}
