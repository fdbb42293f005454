// A convolution with max pooling behind it: what its algorithms by way of a strip of the volume before the pool need
// beside the kernels of both. Windows of F x F at stride S >= F, so that each position belongs to one window at most.
#include "columns.cuh"
#include "switches.cuh"

// The volume before the pool and the one behind it.
struct Pooled {
    long long H2, W2, H3, W3, K, F, S, halved;

    // The gradient of position (number `position` of the batch, map k) before the pool: dy where the switch points at it.
    __device__ real gradient(const stored* dy, const unsigned char* switches, long long position, long long k) const {
        const long long line = position / W2, column = position % W2, n = line / H2, row = line % H2;
        const long long i = row / S, j = column / S, f_row = row - i * S, f_column = column - j * S;
        if (i >= H3 || j >= W3 || f_row >= F || f_column >= F) return real(0);
        const long long window = (n * H3 + i) * W3 + j;
        const int where = halved ? half_of(switches[window * halves(K) + k / 2], k % 2) : switches[window * K + k];
        return where == f_row * F + f_column ? dy[window * K + k] : real(0);
    }
};

#define POOLED \
    long long H2, long long W2, long long H3, long long W3, long long K, long long F, long long S, long long halved

// dy        (N, H3, W3, K)   in
// switches  (N, H3, W3, K)   in, as conv_pool_forward wrote them; (N, H3, W3, ceil(K/2)) where `halved`
// strip     (positions, K)   out: the gradient before the pool of the positions from number `first` of the batch on
// A thread takes a value of the strip.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
unpool(
    const stored* __restrict__ dy, const unsigned char* __restrict__ switches, stored* __restrict__ strip, long long first,
    long long positions, POOLED
) {
    const Pooled pooled = {H2, W2, H3, W3, K, F, S, halved};
    for (long long item = first_item(); item < positions * K; item += item_stride()) {
        const long long position = item / K;
        strip[item] = pooled.gradient(dy, switches, first + position, item - position * K);
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

// y         (positions, K)          in and out: max(0, y)
// switches  (positions, ceil(K/2))  in and out: `nowhere` where y becomes 0
// A thread takes the values that share a byte.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
relu_and_halves(
    stored* __restrict__ y, unsigned char* __restrict__ switches, long long positions, long long K, long long nowhere
) {
    for (long long item = first_item(); item < positions * halves(K); item += item_stride()) {
        const long long position = item / halves(K), pair = item % halves(K);
        int where[2] = {half_of(switches[item], 0), half_of(switches[item], 1)};
        for (int lane = 0; lane < 2 && 2 * pair + lane < K; ++lane) {
            stored* const value = y + (position * K + 2 * pair + lane);
            if (*value <= real(0)) *value = real(0), where[lane] = (int)nowhere;  // NaN stays
        }
        switches[item] = both(where[0], where[1]);
    }
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
    const Pooled pooled = {H2, W2, H3, W3, K, F, S, halved};
    each_part<1>(rows, K, block_rows, [&](long long part, long long first, long long last, long long k) {
        const auto sum = add_up<1, 1>(first, last, shared, [&](long long row, Sums<1, 1>& so_far) {
            so_far.of[0].value[0] += pooled.gradient(dy, switches, row, k);
        });
        if (writes() && k < K) sums[part * K + k] = sum.of[0].value[0];
    });
}
