// A convolution with max pooling behind it: what its algorithms by way of a strip of the volume before the pool need
// beside the kernels of both. Windows of F x F at stride S >= F, so that each position belongs to one window at most.
#include "columns.cuh"
#include "switches.cuh"

// The volume before the pool and the one behind it.
template <typename Index>
struct Pooled {
    Divisor<Index> H2, W2;
    Index H3, W3;
    Divisor<Index> K;
    Index F;
    Divisor<Index> S;
    bool halved;

    // The gradient of position (number `position` of the batch, map k) before the pool: dy where the switch points at it.
    __device__ real gradient(const stored* dy, const unsigned char* switches, Index position, Index k) const {
        const Index line = position / W2, column = position - line * W2.number, n = line / H2, row = line - n * H2.number;
        const Index i = row / S, j = column / S, f_row = row - i * S.number, f_column = column - j * S.number;
        if (i >= H3 || j >= W3 || f_row >= F || f_column >= F) return real(0);
        const Index window = (n * H3 + i) * W3 + j;
        const int where = halved ? half_of(switches[window * halves(K.number) + k / 2], (int)(k % 2))
                                 : switches[window * K.number + k];
        return where == f_row * F + f_column ? dy[window * K.number + k] : real(0);
    }
};

#define POOLED                                                                                                        \
    long long H2, long long W2, long long H3, long long W3, long long K, long long F, long long S, long long halved, \
        long long magic_H2, long long magic_W2, long long magic_K, long long magic_S

#define POOLED_OF_NUMBERS(Index)                                                                                      \
    Pooled<Index>{By{H2, magic_H2}, By{W2, magic_W2}, (Index)H3,        (Index)W3,                                     \
                  By{K, magic_K},   (Index)F,         By{S, magic_S}, halved != 0}

template <typename Index>
__device__ inline void unpool_values(
    const stored* dy, const unsigned char* switches, stored* strip, Index first, Index positions, const Pooled<Index>& pooled
) {
    for (Index item = first_item(); item < positions * pooled.K.number; item += item_stride()) {
        const Index position = item / pooled.K;
        strip[item] = pooled.gradient(dy, switches, first + position, item - position * pooled.K.number);
    }
}

// dy        (N, H3, W3, K)   in
// switches  (N, H3, W3, K)   in, as conv_pool_forward wrote them; (N, H3, W3, ceil(K/2)) where `halved`
// strip     (positions, K)   out: the gradient before the pool of the positions from number `first` of the batch on
// A thread takes a value of the strip.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
unpool(
    const stored* __restrict__ dy, const unsigned char* __restrict__ switches, stored* __restrict__ strip, long long first,
    long long positions, POOLED
) {
    if ((first + positions) * K < SMALL) {
        unpool_values<int>(dy, switches, strip, (int)first, (int)positions, POOLED_OF_NUMBERS(int));
    } else {
        unpool_values<long long>(dy, switches, strip, first, positions, POOLED_OF_NUMBERS(long long));
    }
}

// y         (count,)  in and out: max(0, y)
// switches  (count,)  in and out: `nowhere` where y becomes 0; null: there are none
// A thread takes a value.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
relu_and_switches(stored* __restrict__ y, unsigned char* __restrict__ switches, long long count, long long nowhere) {
    for (long long item = first_item(); item < count; item += item_stride()) {
        if (!(y[item] <= real(0))) continue;  // NaN stays
        y[item] = real(0);
        if (switches) switches[item] = (unsigned char)nowhere;
    }
}

template <typename Index>
__device__ inline void relu_and_halves_of(
    stored* y, unsigned char* switches, Index positions, Index K, Divisor<Index> pairs, int nowhere
) {
    for (Index item = first_item(); item < positions * pairs.number; item += item_stride()) {
        const Index position = item / pairs, pair = item - position * pairs.number;
        int where[2] = {half_of(switches[item], 0), half_of(switches[item], 1)};
        for (int lane = 0; lane < 2 && 2 * pair + lane < K; ++lane) {
            stored* const value = y + (position * K + 2 * pair + lane);
            if (*value <= real(0)) *value = real(0), where[lane] = nowhere;  // NaN stays
        }
        switches[item] = both(where[0], where[1]);
    }
}

// y         (positions, K)          in and out: max(0, y)
// switches  (positions, ceil(K/2))  in and out: `nowhere` where y becomes 0
// A thread takes the values that share a byte.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
relu_and_halves(
    stored* __restrict__ y, unsigned char* __restrict__ switches, long long positions, long long K, long long nowhere,
    long long magic_pairs
) {
    const By pairs = {halves(K), magic_pairs};
    if (positions * K < SMALL) relu_and_halves_of<int>(y, switches, positions, K, pairs, (int)nowhere);
    else relu_and_halves_of<long long>(y, switches, positions, K, pairs, (int)nowhere);
}

template <typename Index>
__device__ inline void sum_unpooled(
    const stored* dy, const unsigned char* switches, real* sums, long long rows, long long block_rows,
    const Pooled<Index>& pooled, Pack<real, 1>* shared
) {
    const long long K = pooled.K.number;
    each_part<1>(rows, K, block_rows, [&](long long part, long long first, long long last, long long k) {
        const auto sum = add_up<1, 1>(first, last, shared, [&](long long row, Sums<1, 1>& so_far) {
            so_far.of[0].value[0] += pooled.gradient(dy, switches, (Index)row, (Index)k);
        });
        if (writes() && k < K) sums[part * K + k] = sum.of[0].value[0];
    });
}

// dy        (N, H3, W3, K)                   in
// switches  (N, H3, W3, K)                   in; (N, H3, W3, ceil(K/2)) where `halved`
// sums      (ceil(rows / block_rows), K)     out
// What sum_rows of cuda/bias.cu gives for the gradient before the pool, (rows, K), bit for bit: in the same order.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
sum_unpooled_rows(
    const stored* __restrict__ dy, const unsigned char* __restrict__ switches, real* __restrict__ sums, long long rows,
    long long block_rows, POOLED
) {
    __shared__ Pack<real, 1> shared[BLOCK];
    if (rows * K < SMALL) sum_unpooled(dy, switches, sums, rows, block_rows, POOLED_OF_NUMBERS(int), shared);
    else sum_unpooled(dy, switches, sums, rows, block_rows, POOLED_OF_NUMBERS(long long), shared);
}
