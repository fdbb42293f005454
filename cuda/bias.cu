// Biases: one number for each map, added to all positions; its gradient is the sum over all positions.
#include "columns.cuh"

template <int COUNT, typename Index>
__device__ inline void add_bias_packs(const real* b, real* y, Index rows, Divisor<Index> K) {
    each_column<COUNT>(rows, K, [=](Index k, Index row, Index lines) {
        const auto biases = load<COUNT>(b + k);
        for (; row < rows; row += lines) {
            auto values = load<COUNT>(y + (row * K + k));
            for (int lane = 0; lane < COUNT; ++lane) values.value[lane] += biases.value[lane];
            store(y + (row * K + k), values);
        }
    });
}

// b       (K,)       in
// y       (rows, K)  in and out
// y += b in every row. A thread takes a pack of maps of some rows.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
add_bias(const real* __restrict__ b, real* __restrict__ y, long long rows, long long K, long long magic_K) {
    const By by_K = {K, magic_K};
    DISPATCH(add_bias_packs, K % WIDTH == 0 && aligned(b, y), rows * K, b, y, rows, by_K);
}

template <int COUNT>
__device__ inline void sum_packs(
    const real* values, real* sums, Pack<real, COUNT>* shared, long long rows, long long K, long long block_rows, bool accumulate
) {
    each_part<COUNT>(rows, K, block_rows, [&](long long part, long long first, long long last, long long k) {
        auto sum = add_up<1, COUNT>(first, last, shared, [=](long long row, Sums<1, COUNT>& so_far) {
            add_to(so_far.of[0], load<COUNT>(values + row * K + k));
        });
        if (!writes() || k >= K) return;
        if (accumulate) add_to(sum.of[0], load<COUNT>(sums + part * K + k));
        store(sums + part * K + k, sum.of[0]);
    });
}

// values  (rows, K)                        in
// sums    (ceil(rows / block_rows), K)     out; where accumulate is 1, in and out: added to; not values
// sums[p] = sum of rows p*block_rows up to (p+1)*block_rows. A block takes 8 packs of maps of one p.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
sum_rows(
    const real* __restrict__ values, real* __restrict__ sums, long long rows, long long K, long long block_rows,
    long long accumulate
) {
    __shared__ Pack<real, WIDTH> shared[BLOCK];
    if (K % WIDTH == 0 && aligned(values, sums)) {
        sum_packs<WIDTH>(values, sums, shared, rows, K, block_rows, accumulate != 0);
    } else {
        sum_packs<1>(values, sums, alone(shared), rows, K, block_rows, accumulate != 0);
    }
}
