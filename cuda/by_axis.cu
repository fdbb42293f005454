// Pooling by windows that are not the same along rows and columns: rectangular ones, with padding that counts or not,
// and those that divide a map into so many parts. Square windows with equal sides have kernels of their own.
// Sources: CS231n "Pooling Layer"; parts of a map: He et al. 2014, "Spatial pyramid pooling".
//
// N images of H x W x D; outputs H2 x W2. A thread takes a pack of maps of one output position, or, backwards, of one
// input position, whose windows it visits in row-major order.

#include "switches.cuh"

// Positions of an axis, or windows, from `first` up to `last`. Along one axis an int holds all of them.
struct Span {
    int first, last;
};

// Windows of F at stride S, `before` positions of padding in front of the `size` that there are. Up to `counts_before` and
// `counts_after` positions around the input count in a window's divisor.
struct Sliding {
    By along;  // how many positions of this axis a launch goes through: outputs, or backwards inputs
    int size, outputs, F;
    Divisor<int> S;
    int before, counts_before, counts_after;

    __device__ int start(int i) const { return i * S.number - before; }
    __device__ Span seen(int i) const {
        const int from = start(i), to = from + F;
        return {from > 0 ? from : 0, to < size ? to : size};
    }
    __device__ int count(int i) const {
        const int from = start(i), to = from + F, end = size + counts_after;
        return (to < end ? to : end) - (from > -counts_before ? from : -counts_before);
    }
    __device__ Span covering(int position) const {
        const int place = position + before, last = place / S + 1;
        return {place < F ? 0 : (place - F) / S + 1, last < outputs ? last : outputs};
    }
};

// Windows that divide `size` positions into `outputs` parts, which overlap where that is not whole; both are so small that
// an int holds (size + 1) * (outputs + 1).
struct Parts {
    By along;  // as of Sliding
    Divisor<int> size, outputs;

    __device__ Span seen(int i) const { return {i * size.number / outputs, ((i + 1) * size.number + outputs.number - 1) / outputs}; }
    __device__ int count(int i) const { return seen(i).last - seen(i).first; }
    __device__ Span covering(int position) const {
        return {position * outputs.number / size, ((position + 1) * outputs.number + size.number - 1) / size};
    }
};

// How many values the larger tensor has.
template <typename Axis>
__device__ inline long long most_values(long long N, long long D, Axis rows, Axis columns) {
    return N * D * largest((long long)(int)rows.size * (int)columns.size, (long long)(int)rows.outputs * (int)columns.outputs);
}

// Calls body(place, item) for the first value of every pack of (N, rows, columns, D) values.
template <int COUNT, typename Index, typename Body>
__device__ inline void each_place(Index N, Divisor<Index> rows, Divisor<Index> columns, Divisor<Index> D, Body body) {
    each_pack<COUNT>(N * rows.number * columns.number * D.number, [=](Index item) {
        body(place_of(item, rows, columns, D), item);
    });
}

// Calls body(i, j) for all i and j of two spans, in row-major order.
template <typename Body>
__device__ inline void each_of(Span rows, Span columns, Body body) {
    for (int i = rows.first; i < rows.last; ++i) {
        for (int j = columns.first; j < columns.last; ++j) body(i, j);
    }
}

// The same of windows that cover a position: mostly there are one or two.
template <typename Body>
__device__ inline void each_covering(Span rows, Span columns, Body body) {
    for (int i = rows.first; i < rows.last; ++i) {
#pragma unroll 1
        for (int j = columns.first; j < columns.last; ++j) body(i, j);
    }
}

// The maxima of a window of some maps, and where they are.
template <int COUNT>
struct Maxima {
    Pack<real, COUNT> best;
    Pack<int, COUNT> where;
};

// Those of the output at a place. Of equals the first, of NaNs the first.
template <int COUNT, typename Index>
__device__ inline Maxima<COUNT> maxima(const stored* x, const Place<Index>& at, Index D, Sliding rows, Sliding columns) {
    const Index H = rows.size, W = columns.size;
    const int top = rows.start(at.row), left = columns.start(at.column);
    Maxima<COUNT> found = {};
    bool none = true;
    each_of(rows.seen(at.row), columns.seen(at.column), [&](int h, int w) {
        const auto values = load<COUNT>(x + (((at.n * H + h) * W + w) * D + at.d));
        for (int lane = 0; lane < COUNT; ++lane) {
            if (none || beats(values.value[lane], found.best.value[lane])) {
                found.best.value[lane] = values.value[lane];
                found.where.value[lane] = (h - top) * columns.F + (w - left);
            }
        }
        none = false;
    });
    return found;
}

template <int COUNT, typename Index, typename Switches>
__device__ inline void max_packs(
    const stored* x, stored* y, Switches switches, Index N, Divisor<Index> D, Sliding rows, Sliding columns
) {
    each_place<COUNT, Index>(N, rows.along, columns.along, D, [&](Place<Index> at, Index item) {
        const auto found = maxima<COUNT>(x, at, D.number, rows, columns);
        store(y + item, found.best);
        const Index position = (at.n * rows.outputs + at.row) * columns.outputs + at.column;
        if (switches.wanted()) switches.put(position, D.number, at.d, found.where);
    });
}

// The same of maps that are no whole packs, where switches are halves: two maps at a time, which share a byte.
template <typename Index>
__device__ inline void max_pairs(
    const stored* x, stored* y, unsigned char* switches, Index N, Index D, Divisor<Index> pairs, Sliding rows, Sliding columns
) {
    each_place<1, Index>(N, rows.along, columns.along, pairs, [&](Place<Index> at, Index pair) {
        stored* const to = y + (((at.n * rows.outputs + at.row) * columns.outputs + at.column) * D + 2 * at.d);
        int where[2] = {};
        at.d *= 2;
        for (int lane = 0; lane < 2 && at.d < D; ++lane, ++at.d) {
            const auto found = maxima<1>(x, at, D, rows, columns);
            store(to + lane, found.best), where[lane] = found.where.value[0];
        }
        switches[pair] = both(where[0], where[1]);
    });
}

template <typename Switch>
__device__ inline void max_forward(
    const stored* x, stored* y, Switch* switches, long long N, By D, Sliding rows, Sliding columns
) {
    const bool packable = D % WIDTH == 0 && aligned(x, y, switches);
    const Whole<Switch> all = {switches};
    DISPATCH(max_packs, packable, most_values(N, D, rows, columns), x, y, all, N, D, rows, columns);
}

#define WINDOWS                                                                                               \
    long long N, long long H, long long W, long long D, long long H2, long long W2, long long F_rows,         \
        long long F_columns, long long S_rows, long long S_columns, long long P_top, long long P_left,        \
        long long magic_D, long long magic_S_rows, long long magic_S_columns, long long magic_rows,           \
        long long magic_columns

#define MAPS_OF_ALL By{D, magic_D}
#define ROWS(along, top, bottom) \
    Sliding{{along, magic_rows}, (int)H, (int)H2, (int)F_rows, By{S_rows, magic_S_rows}, (int)P_top, (int)top, (int)bottom}
#define COLUMNS(along, left, right)                                                                                    \
    Sliding{{along, magic_columns}, (int)W, (int)W2, (int)F_columns, By{S_columns, magic_S_columns}, (int)P_left, (int)left, \
            (int)right}
#define OUTPUTS ROWS(H2, 0, 0), COLUMNS(W2, 0, 0)
#define INPUTS ROWS(H, 0, 0), COLUMNS(W, 0, 0)

// x         (N, H, W, D)    in
// y         (N, H2, W2, D)  out; not x
// switches  (N, H2, W2, D)  uint8, out; row*F_columns + column of the maximum inside its window
// The first NaN of a window is its maximum, of equals the first.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
max_pool_by_axis_forward_u8(
    const stored* __restrict__ x, stored* __restrict__ y, unsigned char* __restrict__ switches, WINDOWS
) {
    max_forward(x, y, switches, N, MAPS_OF_ALL, OUTPUTS);
}

// The same with int32 switches, for larger windows.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
max_pool_by_axis_forward_i32(const stored* __restrict__ x, stored* __restrict__ y, int* __restrict__ switches, WINDOWS) {
    max_forward(x, y, switches, N, MAPS_OF_ALL, OUTPUTS);
}

// The same with switches (N, H2, W2, ceil(D/2)), halves of bytes, for windows of up to 15 places. Where maps are no whole packs
// a thread takes two maps.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
max_pool_by_axis_forward_halves(
    const stored* __restrict__ x, stored* __restrict__ y, unsigned char* __restrict__ switches, WINDOWS, long long magic_pairs
) {
    const Sliding down = ROWS(H2, 0, 0), across = COLUMNS(W2, 0, 0);
    const By pairs = {halves(D), magic_pairs};
    const long long values = most_values(N, D, down, across);
    const Halved<unsigned char> packed = {switches};
    if (D % WIDTH == 0 && aligned(x, y, switches)) {
        DISPATCH(max_packs, true, values, x, y, packed, N, MAPS_OF_ALL, down, across);
    } else if (values < SMALL) {
        max_pairs<int>(x, y, switches, N, D, pairs, down, across);
    } else {
        max_pairs<long long>(x, y, switches, N, D, pairs, down, across);
    }
}

// The same without switches.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
max_pool_by_axis_infer(const stored* __restrict__ x, stored* __restrict__ y, WINDOWS) {
    unsigned char* none = nullptr;
    max_forward(x, y, none, N, MAPS_OF_ALL, OUTPUTS);
}

template <int COUNT, typename Index, typename Switches>
__device__ inline void max_backward_packs(
    const stored* dy, Switches switches, stored* dx, Index N, Divisor<Index> D, Sliding rows, Sliding columns
) {
    const Index H2 = rows.outputs, W2 = columns.outputs;
    each_place<COUNT, Index>(N, rows.along, columns.along, D, [&](Place<Index> at, Index item) {
        Pack<real, COUNT> sum = {};
        each_covering(rows.covering(at.row), columns.covering(at.column), [&](int i, int j) {
            const Index window = (at.n * H2 + i) * W2 + j;
            const int here = ((int)at.row - rows.start(i)) * columns.F + ((int)at.column - columns.start(j));
            const auto where = switches.template get<COUNT>(window, D.number, at.d);
            const auto gradients = load<COUNT>(dy + (window * D.number + at.d));
            for (int lane = 0; lane < COUNT; ++lane) {
                if (where.value[lane] == here) sum.value[lane] += gradients.value[lane];
            }
        });
        store(dx + item, sum);
    });
}

template <typename Switches>
__device__ inline void max_backward(
    const stored* dy, Switches switches, stored* dx, long long N, By D, Sliding rows, Sliding columns
) {
    const bool packable = D % WIDTH == 0 && aligned(dy, switches.numbers, dx);
    DISPATCH(max_backward_packs, packable, most_values(N, D, rows, columns), dy, switches, dx, N, D, rows, columns);
}

// dy        (N, H2, W2, D)  in
// switches  (N, H2, W2, D)  uint8, in, as max_pool_by_axis_forward_u8 wrote them
// dx        (N, H, W, D)    out; not dy; exactly 0 where no switch points
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
max_pool_by_axis_backward_u8(
    const stored* __restrict__ dy, const unsigned char* __restrict__ switches, stored* __restrict__ dx, WINDOWS
) {
    max_backward(dy, Whole<const unsigned char>{switches}, dx, N, MAPS_OF_ALL, INPUTS);
}

// The same with int32 switches.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
max_pool_by_axis_backward_i32(
    const stored* __restrict__ dy, const int* __restrict__ switches, stored* __restrict__ dx, WINDOWS
) {
    max_backward(dy, Whole<const int>{switches}, dx, N, MAPS_OF_ALL, INPUTS);
}

// The same with switches (N, H2, W2, ceil(D/2)), halves of bytes.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
max_pool_by_axis_backward_halves(
    const stored* __restrict__ dy, const unsigned char* __restrict__ switches, stored* __restrict__ dx, WINDOWS
) {
    max_backward(dy, Halved<const unsigned char>{switches}, dx, N, MAPS_OF_ALL, INPUTS);
}

template <int COUNT, typename Index, typename Axis>
__device__ inline void average_packs(const stored* x, stored* y, Index N, Divisor<Index> D, Axis rows, Axis columns) {
    const Index H = (int)rows.size, W = (int)columns.size;
    each_place<COUNT, Index>(N, rows.along, columns.along, D, [&](Place<Index> at, Index item) {
        Pack<real, COUNT> sum = {};
        each_of(rows.seen(at.row), columns.seen(at.column), [&](int h, int w) {
            const auto values = load<COUNT>(x + (((at.n * H + h) * W + w) * D.number + at.d));
            for (int lane = 0; lane < COUNT; ++lane) sum.value[lane] += values.value[lane];
        });
        const real count = real((Index)rows.count(at.row) * columns.count(at.column));
        for (int lane = 0; lane < COUNT; ++lane) sum.value[lane] /= count;
        store(y + item, sum);
    });
}

template <int COUNT, typename Index, typename Axis>
__device__ inline void average_backward_packs(
    const stored* dy, stored* dx, Index N, Divisor<Index> D, Axis rows, Axis columns
) {
    const Index H2 = (int)rows.outputs, W2 = (int)columns.outputs;
    each_place<COUNT, Index>(N, rows.along, columns.along, D, [&](Place<Index> at, Index item) {
        Pack<real, COUNT> sum = {};
        each_covering(rows.covering(at.row), columns.covering(at.column), [&](int i, int j) {
            const auto gradients = load<COUNT>(dy + (((at.n * H2 + i) * W2 + j) * D.number + at.d));
            const real share = real(1) / real((Index)rows.count(i) * columns.count(j));
            for (int lane = 0; lane < COUNT; ++lane) sum.value[lane] += gradients.value[lane] * share;
        });
        store(dx + item, sum);
    });
}

template <typename Axis>
__device__ inline void average_forward(const stored* x, stored* y, long long N, By D, Axis rows, Axis columns) {
    const bool packable = D % WIDTH == 0 && aligned(x, y);
    DISPATCH(average_packs, packable, most_values(N, D, rows, columns), x, y, N, D, rows, columns);
}

template <typename Axis>
__device__ inline void average_backward(const stored* dy, stored* dx, long long N, By D, Axis rows, Axis columns) {
    const bool packable = D % WIDTH == 0 && aligned(dy, dx);
    DISPATCH(average_backward_packs, packable, most_values(N, D, rows, columns), dy, dx, N, D, rows, columns);
}

#define COUNTED_WINDOWS WINDOWS, long long top, long long bottom, long long left, long long right

// x  (N, H, W, D)    in
// y  (N, H2, W2, D)  out; not x
// A window divides by how many positions it has within H x W and the top, bottom, left, right positions around it.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
average_pool_by_axis_forward(const stored* __restrict__ x, stored* __restrict__ y, COUNTED_WINDOWS) {
    average_forward(x, y, N, MAPS_OF_ALL, ROWS(H2, top, bottom), COLUMNS(W2, left, right));
}

// dy  (N, H2, W2, D)  in
// dx  (N, H, W, D)    out; not dy; exactly 0 where no window looks
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
average_pool_by_axis_backward(const stored* __restrict__ dy, stored* __restrict__ dx, COUNTED_WINDOWS) {
    average_backward(dy, dx, N, MAPS_OF_ALL, ROWS(H, top, bottom), COLUMNS(W, left, right));
}

#define PARTS                                                                                                         \
    long long N, long long H, long long W, long long D, long long H2, long long W2, long long magic_D, long long magic_H, \
        long long magic_W, long long magic_H2, long long magic_W2
#define PARTS_DOWN(along) Parts{along, By{H, magic_H}, By{H2, magic_H2}}
#define PARTS_ACROSS(along) Parts{along, By{W, magic_W}, By{W2, magic_W2}}

// x  (N, H, W, D)    in
// y  (N, H2, W2, D)  out; not x; averages of H2 x W2 parts of the maps
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
adaptive_pool_forward(const stored* __restrict__ x, stored* __restrict__ y, PARTS) {
    const By down = {H2, magic_H2}, across = {W2, magic_W2};
    average_forward(x, y, N, MAPS_OF_ALL, PARTS_DOWN(down), PARTS_ACROSS(across));
}

// dy  (N, H2, W2, D)  in
// dx  (N, H, W, D)    out; not dy
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
adaptive_pool_backward(const stored* __restrict__ dy, stored* __restrict__ dx, PARTS) {
    const By down = {H, magic_H}, across = {W, magic_W};
    average_backward(dy, dx, N, MAPS_OF_ALL, PARTS_DOWN(down), PARTS_ACROSS(across));
}

template <int COUNT, typename Index>
__device__ inline void l2_packs(
    const stored* x, stored* y, Index N, Divisor<Index> D, Sliding rows, Sliding columns
) {
    const Index H = rows.size, W = columns.size;
    each_place<COUNT, Index>(N, rows.along, columns.along, D, [&](Place<Index> at, Index item) {
        Pack<real, COUNT> sum = {};
        each_of(rows.seen(at.row), columns.seen(at.column), [&](int h, int w) {
            const auto values = load<COUNT>(x + (((at.n * H + h) * W + w) * D.number + at.d));
            for (int lane = 0; lane < COUNT; ++lane) sum.value[lane] += values.value[lane] * values.value[lane];
        });
        for (int lane = 0; lane < COUNT; ++lane) sum.value[lane] = sqrt(sum.value[lane]);
        store(y + item, sum);
    });
}

// x  (N, H, W, D)    in
// y  (N, H2, W2, D)  out; not x; the root of the sum of squares of each window
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
l2_pool_by_axis_forward(const stored* __restrict__ x, stored* __restrict__ y, WINDOWS) {
    const Sliding rows = ROWS(H2, 0, 0), columns = COLUMNS(W2, 0, 0);
    const bool packable = D % WIDTH == 0 && aligned(x, y);
    DISPATCH(l2_packs, packable, most_values(N, D, rows, columns), x, y, N, MAPS_OF_ALL, rows, columns);
}

template <int COUNT, typename Index>
__device__ inline void l2_backward_packs(
    const stored* dy, const stored* x, const stored* y, stored* dx, Index N, Divisor<Index> D, Sliding rows, Sliding columns
) {
    const Index H2 = rows.outputs, W2 = columns.outputs;
    each_place<COUNT, Index>(N, rows.along, columns.along, D, [&](Place<Index> at, Index item) {
        const auto values = load<COUNT>(x + item);
        Pack<real, COUNT> sum = {};
        each_covering(rows.covering(at.row), columns.covering(at.column), [&](int i, int j) {
            const Index window = ((at.n * H2 + i) * W2 + j) * D.number + at.d;
            const auto lengths = load<COUNT>(y + window), gradients = load<COUNT>(dy + window);
            for (int lane = 0; lane < COUNT; ++lane) {
                const real length = lengths.value[lane];
                if (length != real(0)) sum.value[lane] += gradients.value[lane] * (values.value[lane] / length);
            }
        });
        store(dx + item, sum);
    });
}

// dy  (N, H2, W2, D)  in
// x   (N, H, W, D)    in
// y   (N, H2, W2, D)  in, what l2_pool_by_axis_forward wrote
// dx  (N, H, W, D)    out; none of the others; a window whose y is 0 adds exactly 0
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
l2_pool_by_axis_backward(
    const stored* __restrict__ dy, const stored* __restrict__ x, const stored* __restrict__ y, stored* __restrict__ dx, WINDOWS
) {
    const Sliding rows = ROWS(H, 0, 0), columns = COLUMNS(W, 0, 0);
    const bool packable = D % WIDTH == 0 && aligned(dy, x, y, dx);
    DISPATCH(l2_backward_packs, packable, most_values(N, D, rows, columns), dy, x, y, dx, N, MAPS_OF_ALL, rows, columns);
}
