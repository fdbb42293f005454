// Biases: one number for each map, added to all positions; its gradient is the sum over all positions.

template <int COUNT, typename Index>
__device__ inline void add_bias_packs(const real* b, real* y, Index rows, Index K) {
    K /= COUNT;
    for (Index pack = first_item(); pack < rows * K; pack += item_stride()) {
        auto values = load<COUNT>(y, pack);
        const auto biases = load<COUNT>(b, pack % K);
        for (int lane = 0; lane < COUNT; ++lane) values.value[lane] += biases.value[lane];
        store(y, pack, values);
    }
}

// b       (K,)       in
// y       (rows, K)  in and out
// y += b in every row. A thread takes a pack of maps of one position.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
add_bias(const real* __restrict__ b, real* __restrict__ y, long long rows, long long K) {
    DISPATCH(add_bias_packs, K % WIDTH == 0 && aligned(b, y), rows * K, b, y, rows, K);
}

constexpr int MAPS = 32;             // neighbouring maps that a block sums: its warps read whole cache lines

// values  (rows, K)                        in
// sums    (ceil(rows / block_rows), K)     out; where accumulate is 1, in and out: added to; not values
// sums[p] = sum of rows p*block_rows up to (p+1)*block_rows. A block takes 32 maps of one p: each of its threads adds
// every 8th row of one map, then the 8 sums of a map are added in a fixed tree.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
sum_rows(
    const real* __restrict__ values, real* __restrict__ sums, long long rows, long long K, long long block_rows,
    long long accumulate
) {
    __shared__ real shared[BLOCK];
    const long long tiles = (K + MAPS - 1) / MAPS, parts = (rows + block_rows - 1) / block_rows;
    const int lane = threadIdx.x / MAPS;
    for (long long tile = blockIdx.x; tile < parts * tiles; tile += gridDim.x) {
        const long long k = tile % tiles * MAPS + threadIdx.x % MAPS, part = tile / tiles;
        const long long after = (part + 1) * block_rows, last = after < rows ? after : rows;
        real sum = 0;
        if (k < K) {
            for (long long row = part * block_rows + lane; row < last; row += BLOCK / MAPS) sum += values[row * K + k];
        }
        sum = reduce_sum(sum, shared, MAPS);
        if (lane == 0 && k < K) sums[part * K + k] = accumulate ? sums[part * K + k] + sum : sum;
    }
}
