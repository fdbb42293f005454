// Average pooling: each map is downsampled on its own. Source: CS231n "Pooling Layer".
//
// N images of H x W x D; outputs H2 x W2; windows of F x F at stride S, P positions around the input. A window divides by
// how many positions of the input it sees.

template <int COUNT, typename Index>
__device__ inline void average_pool_packs(
    const stored* x, stored* y, Index N, Index H, Index W, Divisor<Index> D, Divisor<Index> H2, Divisor<Index> W2, Index F,
    Index S, Index P
) {
    each_pack<COUNT>(N * H2 * W2 * D, [=](Index item) {
        const Place<Index> at = place_of(item, H2, W2, D);
        const Index top = at.row * S - P, left = at.column * S - P;
        Pack<real, COUNT> sum = {};
        each_seen(top, left, F, H, W, [&](Index h, Index w) {
            const auto values = load<COUNT>(x + (((at.n * H + h) * W + w) * D + at.d));
            for (int lane = 0; lane < COUNT; ++lane) sum.value[lane] += values.value[lane];
        });
        const real count = real(seen(top, F, H) * seen(left, F, W));
        for (int lane = 0; lane < COUNT; ++lane) sum.value[lane] /= count;
        store(y + item, sum);
    });
}

// x   (N, H, W, D)    in
// y   (N, H2, W2, D)  out; not x
// A thread takes a pack of maps of one output position.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
average_pool_forward(
    const stored* __restrict__ x, stored* __restrict__ y, long long N, long long H, long long W, long long D, long long H2,
    long long W2, long long F, long long S, long long P, long long magic_D, long long magic_H2, long long magic_W2
) {
    const bool packable = D % WIDTH == 0 && aligned(x, y);
    const long long values = N * D * largest(H * W, H2 * W2);
    const By by_D = {D, magic_D}, by_H2 = {H2, magic_H2}, by_W2 = {W2, magic_W2};
    DISPATCH(average_pool_packs, packable, values, x, y, N, H, W, by_D, by_H2, by_W2, F, S, P);
}

template <int COUNT, typename Index>
__device__ inline void average_pool_backward_packs(
    const stored* dy, stored* dx, Index N, Divisor<Index> H, Divisor<Index> W, Divisor<Index> D, Index H2, Index W2, Index F,
    Divisor<Index> S, Index P
) {
    each_pack<COUNT>(N * H * W * D, [=](Index item) {
        const Place<Index> at = place_of(item, H, W, D);
        Pack<real, COUNT> sum = {};
        each_window(at.row, at.column, F, S, P, H2, W2, [&](Index i, Index j) {
            const auto gradients = load<COUNT>(dy + (((at.n * H2 + i) * W2 + j) * D + at.d));
            const real share = real(1) / real(seen<Index>(i * S - P, F, H) * seen<Index>(j * S - P, F, W));
            for (int lane = 0; lane < COUNT; ++lane) sum.value[lane] += gradients.value[lane] * share;
        });
        store(dx + item, sum);
    });
}

// dy  (N, H2, W2, D)  in
// dx  (N, H, W, D)    out; not dy
// A thread takes a pack of maps of one input position and adds the shares of the windows that see it, in row-major order;
// exactly 0 where none does.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
average_pool_backward(
    const stored* __restrict__ dy, stored* __restrict__ dx, long long N, long long H, long long W, long long D,
    long long H2, long long W2, long long F, long long S, long long P, long long magic_D, long long magic_H,
    long long magic_W, long long magic_S
) {
    const bool packable = D % WIDTH == 0 && aligned(dy, dx);
    const long long values = largest(N * D * largest(H * W, H2 * W2), reach(H, W, D, S, P));
    const By by_H = {H, magic_H}, by_W = {W, magic_W}, by_D = {D, magic_D}, by_S = {S, magic_S};
    DISPATCH(average_pool_backward_packs, packable, values, dy, dx, N, by_H, by_W, by_D, H2, W2, F, by_S, P);
}
