// Where branches meet: sums, and concatenation along depth, whose backward pass takes apart what it joined.
// Source: He et al. 2015; Szegedy et al. 2014.

// a, b  (count,)  in
// y     (count,)  out; may be a or b
// A thread takes a pack of neighbouring values.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
add(const real* a, const real* b, real* y, long long count) {
    elementwise(count, aligned(a, b, y), [=](auto size, long long pack) {
        auto sum = load<size>(a, pack);
        const auto others = load<size>(b, pack);
        for (int lane = 0; lane < size; ++lane) sum.value[lane] += others.value[lane];
        store(y, pack, sum);
    });
}

template <int COUNT, typename Index>
__device__ inline void copy_packs(
    const real* x, real* y, Index positions, Divisor<Index> D, Index x_depth, Index x_first, Index y_depth, Index y_first
) {
    each_pack<COUNT>(positions * D, [=](Index item) {
        const Index position = item / D, d = item - position * D.number;
        store(y + (position * y_depth + y_first + d), load<COUNT>(x + (position * x_depth + x_first + d)));
    });
}

// x  (positions, x_depth)  in; its maps x_first up to x_first + D are read
// y  (positions, y_depth)  out; its maps y_first up to y_first + D are written, no others; not x
// A thread takes a pack of maps of a position.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
copy_maps(
    const real* __restrict__ x, real* __restrict__ y, long long positions, long long D, long long magic_D,
    long long x_depth, long long x_first, long long y_depth, long long y_first
) {
    const bool whole = D % WIDTH == 0 && x_depth % WIDTH == 0 && x_first % WIDTH == 0;
    const bool packable = whole && y_depth % WIDTH == 0 && y_first % WIDTH == 0 && aligned(x, y);
    const long long values = positions * largest(x_depth, y_depth);
    const By by_D = {D, magic_D};
    DISPATCH(copy_packs, packable, values, x, y, positions, by_D, x_depth, x_first, y_depth, y_first);
}
