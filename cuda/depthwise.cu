// Convolution of groups of one map: each filter sees one map alone, map k / (K/D) filter k, so there is no product to make.
// Sums run in the order of the taps (row, column), by fused multiply-adds.

#include "gather.cuh"

// What kernels divide by: filters of a map, the strides, and rows of an image.
struct Divisors {
    Divisor<int> each, S_rows, S_columns, rows;
};

#define DIVISORS long long each, long long each_magic, long long S_rows_magic, long long S_columns_magic, long long rows, long long rows_magic
#define DIVISORS_OF_NUMBERS {By{each, each_magic}, By{S_rows, S_rows_magic}, By{S_columns, S_columns_magic}, By{rows, rows_magic}}

// The packs of one row of an image, which the threads of a block share out: call next() as long as there is one.
struct AlongRow {
    int column, pack, columns, packs, columns_apart, packs_apart;

    __device__ AlongRow(int columns, int packs) : columns(columns), packs(packs) {
        column = threadIdx.x / packs, pack = threadIdx.x - column * packs;
        columns_apart = BLOCK / packs, packs_apart = BLOCK - columns_apart * packs;
    }
    __device__ bool inside() const { return column < columns; }
    __device__ void next() {
        column += columns_apart, pack += packs_apart;
        if (pack >= packs) pack -= packs, ++column;
    }
};

template <int COUNT>
__device__ inline void depthwise_forward_packs(
    const stored* x, const stored* w, const real* b, stored* y, const Convolution& c, const Divisors& by
) {
    const int taps = c.F_rows * c.F_columns;
    for (int line = blockIdx.x; line < c.N * c.H2; line += gridDim.x) {
        const int image = line / by.rows, top = (line - image * c.H2) * c.S_rows - c.P_top;
        for (AlongRow at(c.W2, c.K / COUNT); at.inside(); at.next()) {
            const int k = at.pack * COUNT, d = COUNT > 1 ? k : k / by.each, left = at.column * c.S_columns - c.P_left;
            Pack<real, COUNT> sum = {};
            for (int row = 0; row < c.F_rows; ++row) {
                const int h = top + row * c.dilation_rows;
                for (int column = 0; column < c.F_columns; ++column) {
                    const int v = left + column * c.dilation_columns;
                    Pack<real, COUNT> seen = {};
                    if (0 <= h && h < c.H && 0 <= v && v < c.W) {
                        seen = load<COUNT>(x + ((long long)(image * c.H + h) * c.W + v) * c.D + d, 0);
                    }
                    const stored* weight = w + (long long)k * taps + row * c.F_columns + column;
#pragma unroll
                    for (int lane = 0; lane < COUNT; ++lane) {
                        sum.value[lane] = multiply_add(seen.value[lane], weight[lane * taps], sum.value[lane]);
                    }
                }
            }
#pragma unroll
            for (int lane = 0; lane < COUNT; ++lane) {
                if (b) sum.value[lane] += b[k + lane];
            }
            store(y + ((long long)line * c.W2 + at.column) * c.K + k, 0, sum);
        }
    }
}

// x  (N, H, W, D)                    in
// w  (K, F_rows, F_columns, 1)       in
// b  (K,)                            in; null: no bias
// y  (N, H2, W2, K)                  out
// A block takes a row of an image, a thread a pack of filters of one position.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
depthwise_forward(
    const stored* __restrict__ x, const stored* __restrict__ w, const real* __restrict__ b, stored* __restrict__ y, CONVOLUTION,
    DIVISORS
) {
    const Convolution c = CONVOLUTION_OF_NUMBERS;
    const Divisors by = DIVISORS_OF_NUMBERS;
    if (c.K == c.D && c.K % WIDTH == 0 && aligned(x, y)) depthwise_forward_packs<WIDTH>(x, w, b, y, c, by);
    else depthwise_forward_packs<1>(x, w, b, y, c, by);
}

// The windows of one axis that see a position, tap by tap: at() is their number, there() whether there is one.
struct Seeing {
    int window, behind, S, dilation, windows;  // the position stands `behind` the window's first one

    __device__ Seeing(int padded, int first, int S, int dilation, int windows)
        : window(first), behind(padded - first * S), S(S), dilation(dilation), windows(windows) {}
    __device__ bool there() const { return behind == 0 && 0 <= window && window < windows; }
    __device__ void next() {
        for (behind -= dilation; behind < 0; behind += S) --window;
    }
};

template <int COUNT>
__device__ inline void depthwise_backward_input_packs(const stored* dy, const stored* w, stored* dx, const Convolution& c, const Divisors& by) {
    const int taps = c.F_rows * c.F_columns, each = by.each;
    for (int line = blockIdx.x; line < c.N * c.H; line += gridDim.x) {
        const int image = line / by.rows, h = line - image * c.H, down_first = (h + c.P_top) / by.S_rows;
        for (AlongRow at(c.W, c.D / COUNT); at.inside(); at.next()) {
            const int d = at.pack * COUNT;
            Pack<real, COUNT> sum = {};
            Seeing down(h + c.P_top, down_first, c.S_rows, c.dilation_rows, c.H2);
            for (int row = 0; row < c.F_rows; ++row, down.next()) {
                if (!down.there()) continue;
                const int padded = at.column + c.P_left;
                Seeing across(padded, padded / by.S_columns, c.S_columns, c.dilation_columns, c.W2);
                for (int column = 0; column < c.F_columns; ++column, across.next()) {
                    if (!across.there()) continue;
                    const long long window = (long long)(image * c.H2 + down.window) * c.W2 + across.window;
                    for (int k = d * each; k < (d + 1) * each; ++k) {
                        const auto above = load<COUNT>(dy + window * c.K + k, 0);
                        const stored* weight = w + (long long)k * taps + row * c.F_columns + column;
#pragma unroll
                        for (int lane = 0; lane < COUNT; ++lane) {
                            sum.value[lane] = multiply_add(above.value[lane], weight[lane * taps], sum.value[lane]);
                        }
                    }
                }
            }
            store(dx + ((long long)line * c.W + at.column) * c.D + d, 0, sum);
        }
    }
}

// dy  (N, H2, W2, K)                 in
// w   (K, F_rows, F_columns, 1)      in
// dx  (N, H, W, D)                   out; exactly 0 where no window looked
// A block takes a row of an image, a thread a pack of maps of one position.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
depthwise_backward_input(
    const stored* __restrict__ dy, const stored* __restrict__ w, stored* __restrict__ dx, CONVOLUTION, DIVISORS
) {
    const Convolution c = CONVOLUTION_OF_NUMBERS;
    const Divisors by = DIVISORS_OF_NUMBERS;
    if (c.K == c.D && c.K % WIDTH == 0 && aligned(dy, dx)) depthwise_backward_input_packs<WIDTH>(dy, w, dx, c, by);
    else depthwise_backward_input_packs<1>(dy, w, dx, c, by);
}

constexpr int FILTERS = 32, LANES = BLOCK / FILTERS;

// x      (N, H, W, D)                              in
// dy     (N, H2, W2, K)                            in
// parts  (slices, K, F_rows, F_columns, 1)         out
// A block takes a slice of the positions, one tap and FILTERS filters, of which LANES threads take every LANES-th position.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
depthwise_backward_weights(
    const stored* __restrict__ x, const stored* __restrict__ dy, real* __restrict__ parts, CONVOLUTION, DIVISORS,
    long long slices
) {
    __shared__ real shared[LANES][FILTERS];
    const Convolution c = CONVOLUTION_OF_NUMBERS;
    const Divisors by = DIVISORS_OF_NUMBERS;
    const int taps = c.F_rows * c.F_columns, lane = threadIdx.x / FILTERS, filter = threadIdx.x % FILTERS;
    const Part part(blockIdx.x, tiles(c.K, FILTERS), taps);
    const int k = part.across * FILTERS + filter, row = part.down / c.F_columns;
    const int top = row * c.dilation_rows - c.P_top, left = (part.down - row * c.F_columns) * c.dilation_columns - c.P_left;
    const Slice lines(part.rest, (int)slices, c.N * c.H2);  // whole rows of windows
    real sum = 0;
    for (int line = lines.first; k < c.K && line < lines.last; ++line) {
        const int image = line / by.rows, h = top + (line - image * c.H2) * c.S_rows;
        if (h < 0 || h >= c.H) continue;
        const stored* seen = x + (long long)(image * c.H + h) * c.W * c.D + k / by.each;
        const stored* above = dy + (long long)line * c.W2 * c.K + k;
        for (int j = lane; j < c.W2; j += LANES) {
            const int v = left + j * c.S_columns;
            if (0 <= v && v < c.W) sum = multiply_add(above[(long long)j * c.K], seen[(long long)v * c.D], sum);
        }
    }
    shared[lane][filter] = sum;
    __syncthreads();
    if (lane > 0 || k >= c.K) return;
    for (int other = 1; other < LANES; ++other) sum += shared[other][filter];
    parts[((long long)part.rest * c.K + k) * taps + part.down] = sum;
}
