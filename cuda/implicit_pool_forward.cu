// Convolution as a matrix product without its matrix, with a max-pool of 2 x 2 and ReLU behind it: the four rows of the
// product that a thread has side by side are a window of the pool, of which it stores the maximum; cuda/forward.cuh.

#include "forward.cuh"
#include "maximum.cuh"
#include "switches.cuh"

// The positions of the output as rows of the product, window after window, in each of them row by row.
struct ByWindow {
    __device__ static int count(const Convolution& c) { return c.positions; }
    __device__ static void place(int m, const Convolution& c, int& image, int& i, int& j) {
        const int window = m / 4, across = c.W2 / 2, line = window / across;
        image = line / (c.H2 / 2);
        i = (line - image * (c.H2 / 2)) * 2 + m / 2 % 2, j = (window - line * across) * 2 + m % 2;
    }
};

// What becomes of the four sums of each window, for some filters side by side: plus the bias, where there is one; the maximum
// of them and where it is; where `relu`, not below 0.
struct Pool {
    const real* b;
    real* y;
    unsigned char* switches;
    const Convolution& c;
    bool relu;

    template <int COLUMNS>
    __device__ void operator()(int window, int filter, const real (*sums)[COLUMNS], int first, int left) const {
        Pack<real, RUN> best;
        Pack<unsigned char, RUN> where;
#pragma unroll
        for (int lane = 0; lane < RUN; ++lane) {
            const bool biased = b && lane < left;
            const real bias = biased ? b[filter + lane] : real(0);
            real four[RUN];
#pragma unroll
            for (int number = 0; number < RUN; ++number) {
                const real sum = sums[number][first + lane];
                four[number] = biased ? sum + bias : sum;
            }
            const Maximum found(four, relu);
            best.value[lane] = found.value, where.value[lane] = lane < left ? found.number : 0;
        }
        const long long place = (long long)window * c.K + filter;
        RunOf<WIDTH, real>{y + place, left, c.filters % WIDTH == 0 && aligned(y)}.store_run(best);
        if (switches) {
            unsigned char* const to = switches + ((long long)window * halves(c.K) + filter / 2);
            const auto bytes = in_halves(where);
            if (c.filters % RUN == 0 && aligned(switches)) {
                store(to, bytes);
            } else {
#pragma unroll
                for (int lane = 0; lane < RUN / 2; ++lane) {
                    if (2 * lane < left) to[lane] = bytes.value[lane];
                }
            }
        }
    }
};

template <int COUNT, typename T>
__device__ inline void pool_forward_tile(
    const real* x, const real* w, const real* b, real* y, unsigned char* switches, const Convolution& c, bool relu,
    Stages<real, T>& stages
) {
    real sum[T::ROWS][T::COLUMNS] = {};
    forward_sums<COUNT, T>(x, w, c, 1, ByWindow(), stages, sum);
    const Pool finish = {b, y, switches, c, relu};
#pragma unroll
    for (int i = 0; i < T::ROWS; i += RUN) {
#pragma unroll
        for (int j = 0; j < T::COLUMNS; j += RUN) {
            const int row = stages.kept[0] + T::row() + i / RUN * 16, filter = stages.kept[1] + T::column() + j / RUN * 32;
            if (row < c.positions && filter < c.filters) {
                finish(row / RUN, stages.kept[2] * c.filters + filter, &sum[i], j, c.filters - filter);
            }
        }
    }
}

// x         (N, H, W, D)                      in
// w         (K, F_rows, F_columns, D/groups)  in
// b         (K,)                              in; null: no bias
// y         (N, H2/2, W2/2, K)                out
// switches  (N, H2/2, W2/2, ceil(K/2))        out, halves: row*2 + column of the maximum, 4 where ReLU gives 0; null: not
//                                             wanted. Where there are groups, each has an even number of filters
// H2 and W2 are even; slices is 1. Otherwise as the kernels of cuda/implicit_forward.cu.
extern "C" __global__ void __launch_bounds__(256, BLOCKS_OF_256)
pool_forward_128x128(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y,
    unsigned char* __restrict__ switches, CONVOLUTION, long long relu, long long slices
) {
    __shared__ Stages<real, Tile128x128> stages;
    pool_forward_tile<WIDTH>(x, w, b, y, switches, CONVOLUTION_OF_NUMBERS, relu != 0, stages);
}

extern "C" __global__ void __launch_bounds__(128, BLOCKS_OF_128)
pool_forward_128x64(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y,
    unsigned char* __restrict__ switches, CONVOLUTION, long long relu, long long slices
) {
    __shared__ Stages<real, Tile128x64> stages;
    pool_forward_tile<WIDTH>(x, w, b, y, switches, CONVOLUTION_OF_NUMBERS, relu != 0, stages);
}

extern "C" __global__ void __launch_bounds__(64, BLOCKS_OF_64)
pool_forward_64x64(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y,
    unsigned char* __restrict__ switches, CONVOLUTION, long long relu, long long slices
) {
    __shared__ Stages<real, Tile64x64> stages;
    pool_forward_tile<WIDTH>(x, w, b, y, switches, CONVOLUTION_OF_NUMBERS, relu != 0, stages);
}

extern "C" __global__ void __launch_bounds__(32, BLOCKS_OF_32)
pool_forward_32x32(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y,
    unsigned char* __restrict__ switches, CONVOLUTION, long long relu, long long slices
) {
    __shared__ Stages<real, Tile32x32> stages;
    pool_forward_tile<WIDTH>(x, w, b, y, switches, CONVOLUTION_OF_NUMBERS, relu != 0, stages);
}

extern "C" __global__ void __launch_bounds__(128, 2)
pool_forward_128x64_scalars(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y,
    unsigned char* __restrict__ switches, CONVOLUTION, long long relu, long long slices
) {
    __shared__ Stages<real, Tile128x64> stages;
    pool_forward_tile<1>(x, w, b, y, switches, CONVOLUTION_OF_NUMBERS, relu != 0, stages);
}

extern "C" __global__ void __launch_bounds__(32, SCALARS_OF_32)
pool_forward_32x32_scalars(
    const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* __restrict__ y,
    unsigned char* __restrict__ switches, CONVOLUTION, long long relu, long long slices
) {
    __shared__ Stages<real, Tile32x32> stages;
    pool_forward_tile<1>(x, w, b, y, switches, CONVOLUTION_OF_NUMBERS, relu != 0, stages);
}
