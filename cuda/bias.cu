// Biases: one number for each map, added to all positions; its gradient is the sum over all positions.
#include "columns.cuh"

template <int COUNT, typename Index>
__device__ inline void add_bias_packs(const real* b, stored* y, Index rows, Divisor<Index> K) {
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
add_bias(const real* __restrict__ b, stored* __restrict__ y, long long rows, long long K, long long magic_K) {
    const By by_K = {K, magic_K};
    DISPATCH(add_bias_packs, K % WIDTH == 0 && aligned(b, y), rows * K, b, y, rows, by_K);
}

template <int COUNT>
__device__ inline void sum_packs(
    const stored* values, real* sums, Pack<real, COUNT>* shared, long long rows, long long K, long long block_rows, bool accumulate
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
    const stored* __restrict__ values, real* __restrict__ sums, long long rows, long long K, long long block_rows,
    long long accumulate
) {
    __shared__ Pack<real, WIDTH> shared[BLOCK];
    if (K % WIDTH == 0 && aligned(values, sums)) {
        sum_packs<WIDTH>(values, sums, shared, rows, K, block_rows, accumulate != 0);
    } else {
        sum_packs<1>(values, sums, alone(shared), rows, K, block_rows, accumulate != 0);
    }
}

// The sum of column k of the parts, in their order; what was there comes last.
__device__ inline void merge_sums(
    const real* partials, real* db, Pack<real, 1>* shared, long long k, long long parts, long long K, bool accumulate
) {
    auto sum = add_up<1, 1>(0, k < K ? parts : 0, shared, [=](long long part, Sums<1, 1>& so_far) {
        so_far.of[0].value[0] += fresh(partials + part * K + k);
    });
    if (writes() && k < K) db[k] = accumulate ? sum.of[0].value[0] + db[k] : sum.of[0].value[0];
}

template <int COUNT>
__device__ inline void sum_all(
    const stored* dy, int* counters, real* db, real* partials, Pack<real, COUNT>* shared, int& seen, long long rows, long long K,
    long long block_rows, bool accumulate
) {
    const long long parts = (rows + block_rows - 1) / block_rows;
    const auto of_part = [&](long long part, long long first, long long last, long long k) {
        const auto sum = add_up<1, COUNT>(first, last, shared, [=](long long row, Sums<1, COUNT>& so_far) {
            add_to(so_far.of[0], load<COUNT>(dy + row * K + k));
        });
        if (writes() && k < K) store(partials + part * K + k, sum.of[0]);
    };
    each_part_and_sum<COUNT>(rows, K, block_rows, counters, seen, of_part, [&](long long k) {
        merge_sums(partials, db, (Pack<real, 1>*)shared, k, parts, K, accumulate);
    });
}

// dy        (rows, K)                        in
// counters  (K / 8,)                         in and out: zeros
// db        (K,)                             out, the sum of all rows; where accumulate is 1, in and out: added to
// partials  (ceil(rows / block_rows), K)     scratch
// A block takes 8 packs of maps of a part; the last one of some maps adds up their parts.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
bias_backward(
    const stored* __restrict__ dy, int* __restrict__ counters, real* __restrict__ db, real* __restrict__ partials,
    long long rows, long long K, long long block_rows, long long accumulate
) {
    __shared__ Pack<real, WIDTH> shared[BLOCK];
    __shared__ int seen;
    if (K % WIDTH == 0 && aligned(dy, partials)) {
        sum_all<WIDTH>(dy, counters, db, partials, shared, seen, rows, K, block_rows, accumulate != 0);
    } else {
        sum_all<1>(dy, counters, db, partials, alone(shared), seen, rows, K, block_rows, accumulate != 0);
    }
}
