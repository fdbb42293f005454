// Max pooling: each map is downsampled on its own; the switches remember where each maximum was.
// Source: CS231n "Pooling Layer"; "switches" after Zeiler & Fergus 2014.
//
// N images of H x W x D; outputs H2 x W2; windows of F x F at stride S, P positions around the input that never win.

template <int COUNT, typename Index, typename Switch>
__device__ inline void max_pool_packs(
    const stored* x, stored* y, Switch* switches, Index N, Index H, Index W, Divisor<Index> D,
    Divisor<Index> H2, Divisor<Index> W2, Index F, Index S, Index P
) {
    each_pack<COUNT>(N * H2 * W2 * D, [=](Index item) {
        const Place<Index> at = place_of(item, H2, W2, D);
        const Index top = at.row * S - P, left = at.column * S - P;
        Pack<real, COUNT> best = {};
        Pack<Switch, COUNT> where = {};
        bool none = true;
        each_seen(top, left, F, H, W, [&](Index h, Index w) {
            const auto values = load<COUNT>(x + (((at.n * H + h) * W + w) * D + at.d));
            for (int lane = 0; lane < COUNT; ++lane) {
                if (none || beats(values.value[lane], best.value[lane])) {
                    best.value[lane] = values.value[lane];
                    where.value[lane] = Switch((h - top) * F + (w - left));
                }
            }
            none = false;
        });
        store(y + item, best);
        if (switches) store(switches + item, where);
    });
}

template <typename Switch>
__device__ inline void max_pool(
    const stored* x, stored* y, Switch* switches, long long N, long long H, long long W, By D, By H2, By W2, long long F,
    long long S, long long P
) {
    const bool packable = D % WIDTH == 0 && aligned(x, y, switches);
    const long long values = N * D * largest(H * W, H2 * W2);
    DISPATCH(max_pool_packs, packable, values, x, y, switches, N, H, W, D, H2, W2, F, S, P);
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

// The same without switches.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
max_pool_infer(
    const stored* __restrict__ x, stored* __restrict__ y, long long N, long long H, long long W, long long D, long long H2,
    long long W2, long long F, long long S, long long P, long long magic_D, long long magic_H2, long long magic_W2
) {
    unsigned char* none = nullptr;
    max_pool(x, y, none, N, H, W, {D, magic_D}, {H2, magic_H2}, {W2, magic_W2}, F, S, P);
}

template <int COUNT, typename Index, typename Switch>
__device__ inline void max_pool_backward_packs(
    const stored* dy, const Switch* switches, stored* dx, Index N, Divisor<Index> H, Divisor<Index> W, Divisor<Index> D,
    Index H2, Index W2, Index F, Divisor<Index> S, Index P
) {
    each_pack<COUNT>(N * H * W * D, [=](Index item) {
        const Place<Index> at = place_of(item, H, W, D);
        Pack<real, COUNT> sum = {};
        each_window(at.row, at.column, F, S, P, H2, W2, [&](Index i, Index j) {
            const Index window = ((at.n * H2 + i) * W2 + j) * D + at.d;
            const Switch here = Switch((at.row + P - i * S) * F + (at.column + P - j * S));
            const auto where = load<COUNT>(switches + window);
            const auto gradients = load<COUNT>(dy + window);
            for (int lane = 0; lane < COUNT; ++lane) {
                if (where.value[lane] == here) sum.value[lane] += gradients.value[lane];
            }
        });
        store(dx + item, sum);
    });
}

template <typename Switch>
__device__ inline void max_pool_backward(
    const stored* dy, const Switch* switches, stored* dx, long long N, By H, By W, By D, long long H2, long long W2,
    long long F, By S, long long P
) {
    const bool packable = D % WIDTH == 0 && aligned(dy, switches, dx);
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
        dy, switches, dx, N, {H, magic_H}, {W, magic_W}, {D, magic_D}, H2, W2, F, {S, magic_S}, P
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
        dy, switches, dx, N, {H, magic_H}, {W, magic_W}, {D, magic_D}, H2, W2, F, {S, magic_S}, P
    );
}
