// Max pooling: each map is downsampled on its own; the switches remember where each maximum was.
// Source: CS231n "Pooling Layer"; "switches" after Zeiler & Fergus 2014.
//
// N images of H x W x D; outputs H2 x W2; windows of F x F at stride S, P positions around the input that never win.

#include "switches.cuh"

// The maxima of a window of some maps, and where they are.
template <int COUNT>
struct Maxima {
    Pack<real, COUNT> best;
    Pack<int, COUNT> where;
};

// Those of the output at a place. Of equals the first, of NaNs the first.
template <int COUNT, typename Index>
__device__ inline Maxima<COUNT> maxima(
    const stored* x, const Place<Index>& at, Index H, Index W, Index D, Index F, Index S, Index P
) {
    const Index top = at.row * S - P, left = at.column * S - P;
    Maxima<COUNT> found = {};
    bool none = true;
    each_seen(top, left, F, H, W, [&](Index h, Index w) {
        const auto values = load<COUNT>(x + (((at.n * H + h) * W + w) * D + at.d));
        for (int lane = 0; lane < COUNT; ++lane) {
            if (none || beats(values.value[lane], found.best.value[lane])) {
                found.best.value[lane] = values.value[lane];
                found.where.value[lane] = (int)((h - top) * F + (w - left));
            }
        }
        none = false;
    });
    return found;
}

template <int COUNT, typename Index, typename Switches>
__device__ inline void max_pool_packs(
    const stored* x, stored* y, Switches switches, Index N, Index H, Index W, Divisor<Index> D,
    Divisor<Index> H2, Divisor<Index> W2, Index F, Index S, Index P
) {
    each_pack<COUNT>(N * H2 * W2 * D, [=](Index item) {
        const Place<Index> at = place_of(item, H2, W2, D);
        const auto found = maxima<COUNT>(x, at, H, W, D.number, F, S, P);
        store(y + item, found.best);
        if (switches.wanted()) switches.put((at.n * H2 + at.row) * W2 + at.column, D.number, at.d, found.where);
    });
}

// The same of maps that are no whole packs, where switches are halves: two maps at a time, which share a byte.
template <typename Index>
__device__ inline void max_pool_pairs(
    const stored* x, stored* y, unsigned char* switches, Index N, Index H, Index W, Index D, Divisor<Index> pairs,
    Divisor<Index> H2, Divisor<Index> W2, Index F, Index S, Index P
) {
    each_pack<1>(N * H2 * W2 * pairs, [=](Index item) {
        Place<Index> at = place_of(item, H2, W2, pairs);
        stored* const to = y + (((at.n * H2 + at.row) * W2 + at.column) * D + 2 * at.d);
        int where[2] = {};
        at.d *= 2;
        for (int lane = 0; lane < 2 && at.d < D; ++lane, ++at.d) {
            const auto found = maxima<1>(x, at, H, W, D, F, S, P);
            store(to + lane, found.best), where[lane] = found.where.value[0];
        }
        switches[item] = both(where[0], where[1]);
    });
}

template <typename Switch>
__device__ inline void max_pool(
    const stored* x, stored* y, Switch* switches, long long N, long long H, long long W, By D, By H2, By W2, long long F,
    long long S, long long P
) {
    const bool packable = D % WIDTH == 0 && aligned(x, y, switches);
    const long long values = N * D * largest(H * W, H2 * W2);
    DISPATCH(max_pool_packs, packable, values, x, y, Whole<Switch>{switches}, N, H, W, D, H2, W2, F, S, P);
}

// x         (N, H, W, D)    in
// y         (N, H2, W2, D)  out; not x
// switches  (N, H2, W2, D)  uint8, out; row*F + column of the maximum inside its window; F <= 16
// The first NaN of a window is its maximum, of equals the first. A thread takes a pack of maps of one output position.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
max_pool_forward_u8(
    const stored* __restrict__ x, stored* __restrict__ y, unsigned char* __restrict__ switches, long long N, long long H,
    long long W, long long D, long long H2, long long W2, long long F, long long S, long long P, long long magic_D, long long magic_H2,
    long long magic_W2
) {
    max_pool(x, y, switches, N, H, W, {D, magic_D}, {H2, magic_H2}, {W2, magic_W2}, F, S, P);
}

// The same with int32 switches, for larger windows.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
max_pool_forward_i32(
    const stored* __restrict__ x, stored* __restrict__ y, int* __restrict__ switches, long long N, long long H,
    long long W, long long D, long long H2, long long W2, long long F, long long S, long long P, long long magic_D, long long magic_H2,
    long long magic_W2
) {
    max_pool(x, y, switches, N, H, W, {D, magic_D}, {H2, magic_H2}, {W2, magic_W2}, F, S, P);
}

// The same with switches (N, H2, W2, ceil(D/2)), halves of bytes, for windows of up to 15 places. Where maps are no whole packs
// a thread takes two maps.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
max_pool_forward_halves(
    const stored* __restrict__ x, stored* __restrict__ y, unsigned char* __restrict__ switches, long long N, long long H,
    long long W, long long D, long long H2, long long W2, long long F, long long S, long long P, long long magic_D, long long magic_H2,
    long long magic_W2, long long magic_pairs
) {
    const By maps = {D, magic_D}, pairs = {halves(D), magic_pairs}, down = {H2, magic_H2}, across = {W2, magic_W2};
    const long long values = N * D * largest(H * W, H2 * W2);
    const Halved<unsigned char> packed = {switches};
    if (D % WIDTH == 0 && aligned(x, y, switches)) {
        DISPATCH(max_pool_packs, true, values, x, y, packed, N, H, W, maps, down, across, F, S, P);
    } else if (values < SMALL) {
        max_pool_pairs<int>(x, y, switches, N, H, W, D, pairs, down, across, F, S, P);
    } else {
        max_pool_pairs<long long>(x, y, switches, N, H, W, D, pairs, down, across, F, S, P);
    }
}

// The same without switches.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
max_pool_infer(
    const stored* __restrict__ x, stored* __restrict__ y, long long N, long long H, long long W, long long D, long long H2,
    long long W2, long long F, long long S, long long P, long long magic_D, long long magic_H2, long long magic_W2
) {
    unsigned char* none = nullptr;
    max_pool(x, y, none, N, H, W, {D, magic_D}, {H2, magic_H2}, {W2, magic_W2}, F, S, P);
}

template <int COUNT, typename Index, typename Switches>
__device__ inline void max_pool_backward_packs(
    const stored* dy, Switches switches, stored* dx, Index N, Divisor<Index> H, Divisor<Index> W, Divisor<Index> D,
    Index H2, Index W2, Index F, Divisor<Index> S, Index P
) {
    each_pack<COUNT>(N * H * W * D, [=](Index item) {
        const Place<Index> at = place_of(item, H, W, D);
        Pack<real, COUNT> sum = {};
        each_window(at.row, at.column, F, S, P, H2, W2, [&](Index i, Index j) {
            const Index window = (at.n * H2 + i) * W2 + j;
            const int here = (int)((at.row + P - i * S) * F + (at.column + P - j * S));
            const auto where = switches.template get<COUNT>(window, D.number, at.d);
            const auto gradients = load<COUNT>(dy + (window * D + at.d));
            for (int lane = 0; lane < COUNT; ++lane) {
                if (where.value[lane] == here) sum.value[lane] += gradients.value[lane];
            }
        });
        store(dx + item, sum);
    });
}

template <typename Switches>
__device__ inline void max_pool_backward(
    const stored* dy, Switches switches, stored* dx, long long N, By H, By W, By D, long long H2, long long W2,
    long long F, By S, long long P
) {
    const bool packable = D % WIDTH == 0 && aligned(dy, switches.numbers, dx);
    const long long values = largest(N * D * largest(H * W, H2 * W2), reach(H, W, D, S, P));
    DISPATCH(max_pool_backward_packs, packable, values, dy, switches, dx, N, H, W, D, H2, W2, F, S, P);
}

// dy        (N, H2, W2, D)  in
// switches  (N, H2, W2, D)  uint8, in, as max_pool_forward_u8 wrote them
// dx        (N, H, W, D)    out; not dy
// A thread takes a pack of maps of one input position and adds the dy of those windows whose switch points at it, in
// row-major order; exactly 0 where none does.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
max_pool_backward_u8(
    const stored* __restrict__ dy, const unsigned char* __restrict__ switches, stored* __restrict__ dx, long long N,
    long long H, long long W, long long D, long long H2, long long W2, long long F, long long S, long long P,
    long long magic_D, long long magic_H, long long magic_W, long long magic_S
) {
    max_pool_backward(
        dy, Whole<const unsigned char>{switches}, dx, N, {H, magic_H}, {W, magic_W}, {D, magic_D}, H2, W2, F, {S, magic_S}, P
    );
}

// The same with int32 switches.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
max_pool_backward_i32(
    const stored* __restrict__ dy, const int* __restrict__ switches, stored* __restrict__ dx, long long N,
    long long H, long long W, long long D, long long H2, long long W2, long long F, long long S, long long P,
    long long magic_D, long long magic_H, long long magic_W, long long magic_S
) {
    max_pool_backward(
        dy, Whole<const int>{switches}, dx, N, {H, magic_H}, {W, magic_W}, {D, magic_D}, H2, W2, F, {S, magic_S}, P
    );
}

// The same with switches (N, H2, W2, ceil(D/2)), halves of bytes.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
max_pool_backward_halves(
    const stored* __restrict__ dy, const unsigned char* __restrict__ switches, stored* __restrict__ dx, long long N,
    long long H, long long W, long long D, long long H2, long long W2, long long F, long long S, long long P,
    long long magic_D, long long magic_H, long long magic_W, long long magic_S
) {
    max_pool_backward(
        dy, Halved<const unsigned char>{switches}, dx, N, {H, magic_H}, {W, magic_W}, {D, magic_D}, H2, W2, F, {S, magic_S}, P
    );
}
