// Which maps of a volume, and in what order. Sources: Caffe's Slice layer; Zhang et al. 2018, "ShuffleNet".

template <int COUNT, typename Index>
__device__ inline void shift_packs(
    const stored* x, stored* y, Index positions, Index x_depth, Divisor<Index> y_depth, Index shift
) {
    each_pack<COUNT>(positions * y_depth.number, [=](Index item) {
        const Index position = item / y_depth, from = item - position * y_depth.number + shift;
        Pack<real, COUNT> values = {};
        if (from >= 0 && from < x_depth) values = load<COUNT>(x + (position * x_depth + from));
        store(y + item, values);
    });
}

// x  (positions, x_depth)  in
// y  (positions, y_depth)  out; not x
// Map d of y is map d + shift of x, which may be below 0; exactly 0 where x has no such map. A thread takes a pack of
// maps of a position.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
shift_maps(
    const stored* __restrict__ x, stored* __restrict__ y, long long positions, long long x_depth, long long y_depth,
    long long magic_y_depth, long long shift
) {
    const By target = {y_depth, magic_y_depth};
    const bool packable = x_depth % WIDTH == 0 && y_depth % WIDTH == 0 && shift % WIDTH == 0 && aligned(x, y);
    const long long values = positions * largest(x_depth, y_depth);
    DISPATCH(shift_packs, packable, values, x, y, positions, x_depth, target, shift);
}

template <int COUNT, typename Index>
__device__ inline void shuffle_packs(
    const stored* x, stored* y, Index positions, Divisor<Index> D, Divisor<Index> groups
) {
    const Index maps = D.number / groups;  // of a group
    each_pack<COUNT>(positions * D.number, [=](Index first) {
        const Index d = first % D;
        Pack<real, COUNT> values;
        for (int lane = 0; lane < COUNT; ++lane) {
            const Index to = d + lane;
            values.value[lane] = x[first - d + to % groups * maps + to / groups];
        }
        store(y + first, values);
    });
}

// x  (positions, D)  in; groups of D / groups maps
// y  (positions, D)  out; not x
// Map i of group g becomes map i*groups + g. A thread writes a pack of maps of a position.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
shuffle(
    const stored* __restrict__ x, stored* __restrict__ y, long long positions, long long D, long long magic_D,
    long long groups, long long magic_groups
) {
    const By maps = {D, magic_D}, hands = {groups, magic_groups};
    DISPATCH(shuffle_packs, D % WIDTH == 0 && aligned(y), positions * D, x, y, positions, maps, hands);
}
