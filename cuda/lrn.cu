// Local response normalization: every value is divided by a power of the squares around it.
// Source: Krizhevsky et al. 2012, section 3.3.
//
// N images of H x W x D; a box of F x F positions of `maps` maps (all odd) around each value, cut at the edges.

// base**exponent for a base that is not negative, to the last few bits: pow() spends most of its time on other cases.
__device__ inline real power(real base, real exponent) { return exp2(exponent * log2(base)); }

template <typename Index>
struct Boxes {
    Divisor<Index> H, W, D;
    Index F, maps;

    // Calls body(place) for every value of the box around a place, in row-major order.
    template <typename Body>
    __device__ inline void each(Place<Index> at, Body body) const {
        const Index reach = F / 2, across = maps / 2;
        for (Index h = at.row > reach ? at.row - reach : 0; h <= at.row + reach && h < H; ++h) {
            for (Index w = at.column > reach ? at.column - reach : 0; w <= at.column + reach && w < W; ++w) {
                for (Index d = at.d > across ? at.d - across : 0; d <= at.d + across && d < D; ++d) {
                    body(Place<Index>{at.n, h, w, d});
                }
            }
        }
    }

    __device__ inline Index index(Place<Index> at) const { return ((at.n * H + at.row) * W + at.column) * D + at.d; }

    // k + alpha * (sum of x * x over the box around a place)
    __device__ inline real scale(const stored* x, Place<Index> at, real alpha, real k) const {
        real sum = 0;
        each(at, [&](Place<Index> near) {
            const real value = x[index(near)];
            sum += value * value;
        });
        return k + alpha * sum;
    }
};

// Calls body(index, place) for the values that a thread takes.
template <typename Index, typename Body>
__device__ inline void each_value(Index N, Boxes<Index> boxes, Body body) {
    for (Index item = first_item(); item < N * boxes.H * boxes.W * boxes.D; item += item_stride()) {
        body(item, place_of(item, boxes.H, boxes.W, boxes.D));
    }
}

template <typename Index>
__device__ inline void normalize(
    const stored* x, stored* y, Index N, Boxes<Index> boxes, real alpha, real beta, real k
) {
    each_value(N, boxes, [&](Index item, Place<Index> at) {
        y[item] = x[item] * power(boxes.scale(x, at, alpha, k), -beta);
    });
}

// x  (N, H, W, D)  in
// y  (N, H, W, D)  out; not x
// A thread takes a value.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
lrn_forward(
    const stored* __restrict__ x, stored* __restrict__ y, long long N, long long H, long long W, long long D, long long F,
    long long maps, long long magic_H, long long magic_W, long long magic_D, real alpha, real beta, real k
) {
    const By by_H = {H, magic_H}, by_W = {W, magic_W}, by_D = {D, magic_D};
    if (N * H * W * D < SMALL) normalize<int>(x, y, N, {by_H, by_W, by_D, (int)F, (int)maps}, alpha, beta, k);
    else normalize<long long>(x, y, N, {by_H, by_W, by_D, F, maps}, alpha, beta, k);
}

template <typename Index>
__device__ inline void normalize_backward(
    const stored* dy, const stored* x, stored* dx, Index N, Boxes<Index> boxes, real alpha, real beta, real k
) {
    each_value(N, boxes, [&](Index item, Place<Index> at) {
        real pull = 0, own = 0;
        boxes.each(at, [&](Place<Index> near) {
            const Index other = boxes.index(near);
            const real scale = boxes.scale(x, near, alpha, k), share = power(scale, -beta);
            pull += dy[other] * x[other] * share / scale;
            if (other == item) own = share;
        });
        dx[item] = dy[item] * own - 2 * alpha * beta * x[item] * pull;
    });
}

// dy  (N, H, W, D)  in
// x   (N, H, W, D)  in
// dx  (N, H, W, D)  out; neither of the others
// A thread takes a value; it makes the scales of all of its box again.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
lrn_backward(
    const stored* __restrict__ dy, const stored* __restrict__ x, stored* __restrict__ dx, long long N, long long H,
    long long W, long long D, long long F, long long maps, long long magic_H, long long magic_W, long long magic_D,
    real alpha, real beta, real k
) {
    const By by_H = {H, magic_H}, by_W = {W, magic_W}, by_D = {D, magic_D};
    if (N * H * W * D < SMALL) normalize_backward<int>(dy, x, dx, N, {by_H, by_W, by_D, (int)F, (int)maps}, alpha, beta, k);
    else normalize_backward<long long>(dy, x, dx, N, {by_H, by_W, by_D, F, maps}, alpha, beta, k);
}
