// A max-pool of 2 x 2, and ReLU, behind a convolution on tensor cores: the four rows of the product that a thread has side by
// side are a window of the pool, of which it stores the maximum.

#include "maximum.cuh"
#include "switches.cuh"
#include "mma_forward.cuh"

// The positions of the output as rows of the product, window after window, in each of them row by row.
struct WindowByWindow {
    __device__ static int count(const Convolution& c) { return c.positions; }
    __device__ static void place(int m, const Convolution& c, int& image, int& i, int& j) {
        const int window = m / 4, across = c.W2 / 2, line = window / across;
        image = line / (c.H2 / 2);
        i = (line - image * (c.H2 / 2)) * 2 + m / 2 % 2, j = (window - line * across) * 2 + m % 2;
    }
};

// What becomes of the four sums of each window, for 4 filters side by side: plus the bias, where there is one; the maximum of what
// would be stored, and where it is; where `relu`, not below 0.
template <typename Stored>
struct PoolOf {
    const real* b;
    Stored* y;
    unsigned char* switches;
    int K;
    bool relu, packed;

    __device__ void operator()(int window, int filter, const float (&sums)[RUN][4], int left) const {
        Pack<float, RUN> best;
        Pack<unsigned char, RUN> where;
        const auto bias = b ? load_first(b + filter, left, packed) : Pack<real, RUN>();
#pragma unroll
        for (int lane = 0; lane < RUN; ++lane) {
            real four[4];
#pragma unroll
            for (int number = 0; number < 4; ++number) {
                const float sum = sums[lane][number];
                four[number] = (real)Stored(b ? sum + bias.value[lane] : sum);
            }
            const Maximum found(four, relu);
            best.value[lane] = found.value, where.value[lane] = lane < left ? found.number : 0;
        }
        store_rounded(y + ((long long)window * K + filter), best, left, packed);
        if (!switches) return;
        unsigned char* const to = switches + ((long long)window * halves(K) + filter / 2);
        const auto bytes = in_halves(where);
        if (packed) {
            store(to, bytes);
            return;
        }
#pragma unroll
        for (int lane = 0; lane < RUN / 2; ++lane) {
            if (2 * lane < left) to[lane] = bytes.value[lane];
        }
    }
};

template <typename Math, int COUNT, typename T, typename Stored>
__device__ inline void pool_forward_on_tensor_cores(
    const Stored* x, const Stored* w, const real* b, Stored* y, unsigned char* switches, const Convolution& c, bool relu,
    int stages, Windows2d<T>& windows
) {
    if constexpr (ON_TENSOR_CORES<Stored>) {
        const ForwardPart<T> part(c, c.positions);
        Sums sums = {};
        forward_sums_of<Math, COUNT>(x, w, c, part, 1, stages, WindowByWindow(), windows, sums);
        const PoolOf<Stored> finish = {b, y, switches, c.K, relu, c.filters % RUN == 0 && aligned(y, switches, b)};
#pragma unroll
        for (int half = 0; half < 2; ++half) {
#pragma unroll
            for (int second = 0; second < 2; ++second) {
                const int row = part.m0 + T::row() + AlongSums::row(half * 2, 0);
                const int column = T::column() + AlongSums::column(second), left = c.filters - part.n0 - column;
                if (row >= c.positions || left <= 0) continue;
                float four[RUN][4];
#pragma unroll
                for (int j = 0; j < RUN; ++j) {
#pragma unroll
                    for (int at = 0; at < 4; ++at) four[j][at] = sums[half * 2 + at / 2][j][at % 2 * 2 + second];
                }
                finish(row / 4, part.group * c.filters + part.n0 + column, four, left);
            }
        }
    }
}

// The kernels' bodies.
#define POOL_FORWARD(math, count, tile)                                                                                  \
    __shared__ Windows2d<tile> windows;                                                                                  \
    pool_forward_on_tensor_cores<math, count>(                                                                           \
        x, w, b, y, switches, CONVOLUTION_OF_NUMBERS, relu != 0, (int)stages, windows                                    \
    )
