// What gatherers of cuda/mma.cuh see of the gradient before a max-pool of 2 x 2, of which only that behind it is there, and
// switches; cuda/behind_pool.cuh. Values wait in registers until it is known which of them count.

#include "behind_pool.cuh"
#include "mma_backward_input.cuh"
#include "mma_backward_weights.cuh"

// dy        (N, H3, W3, K)
// switches  (N, H3, W3, ceil(K/2))
template <typename Stored>
struct BehindAPool {
    const Stored* dy;
    const unsigned char* switches;
    int H3, W3;
};

// PACKS packs of a gradient on their way, each with the switches beside it.
template <typename Stored, int COUNT, int PACKS>
struct Chosen {
    static constexpr int BYTES = COUNT * (int)sizeof(Stored), PER_WORD = 4 / (int)sizeof(Stored);
    static constexpr int WAITING = COUNT > 1 ? PACKS : 1;  // single values do not wait: they would take too many registers
    RawBytes<BYTES < 4 ? 4 : BYTES> held[WAITING];
    HalvesOf<COUNT> where[WAITING];
    unsigned char number[WAITING];  // where a switch should point

    __device__ void begin(
        int pack, unsigned char* place, const BehindAPool<Stored>& behind, int window, int K, int k, int which, bool inside
    ) {
        const Stored* const from = behind.dy + apart(window, K) + k;
        const unsigned char* const switches = behind.switches + apart(window, halves(K)) + k / 2;
        if constexpr (COUNT == 1) {
            Stored value = {};
            if (inside && half_of(*switches, k) == which) value = *from;
            *reinterpret_cast<Stored*>(place) = value;
        } else {
            held[pack] = {}, where[pack] = {}, number[pack] = (unsigned char)which;
            if (inside) held[pack] = words_at<BYTES>(from), where[pack] = load<COUNT / 2>(switches);
        }
    }
    // What the switches do not point at is 0.
    __device__ void end(int pack, unsigned char* place) {
        if constexpr (COUNT > 1) {
#pragma unroll
            for (int lane = 0; lane < COUNT; ++lane) {
                const unsigned int others = PER_WORD == 1 ? 0 : 0xFFFFu << (lane + 1) % 2 * 16;
                if (half_of(where[pack].value[lane / 2], lane) != number[pack]) held[pack].value[lane / PER_WORD] &= others;
            }
            store(reinterpret_cast<unsigned int*>(place), held[pack]);
        }
    }
};

// Where the gradient before the pool stands behind it: of the window, and which number of it.
template <typename Stored>
__device__ inline Window window_of(const BehindAPool<Stored>& dy, const Convolution& c, int image, int top, int left) {
    return {top, left, image * dy.H3};
}

// RowsUnderWindows of a gradient before the pool; `pixel` of a window is the first row of its image behind it.
template <typename Stored, typename T, int COUNT, typename Order>
struct RowsUnderPooledWindows : SumPacks<Stored, T, T::M, COUNT>, Chosen<Stored, COUNT, SumPacks<Stored, T, T::M, COUNT>::PACKS> {
    using Share = SumPacks<Stored, T, T::M, COUNT>;
    const BehindAPool<Stored> behind_pool;
    int K;
    const Windows2d<T>& windows;
    const Order& order;

    __device__ RowsUnderPooledWindows(
        const BehindAPool<Stored>& behind_pool, int K, const Windows2d<T>& windows, const Order& order
    ) : behind_pool(behind_pool), K(K), windows(windows), order(order) {}
    __device__ void turn() {}
    __device__ void begin(int further, unsigned char* values) {
        const int along = order.along() + further * STEP_OF<Stored>;
        const bool seen = order.first + order.at + further * STEP_OF<Stored> < order.c.filters;
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            const Window first = windows.of[Share::Layout::row_of(Share::slot(pack))];
            const int row = first.top + order.rows, column = first.left + order.columns;
            const bool inside = seen && (unsigned int)row < 2u * behind_pool.H3 && (unsigned int)column < 2u * behind_pool.W3;
            const int window = inside ? (first.pixel + (row >> 1)) * behind_pool.W3 + (column >> 1) : 0;
            const int number = (row & 1) * 2 + (column & 1);
            Chosen<Stored, COUNT, Share::PACKS>::begin(
                pack, values + Share::place(pack), behind_pool, window, K, along, number, inside
            );
        }
    }
    __device__ void finish(unsigned char* values) {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            Chosen<Stored, COUNT, Share::PACKS>::end(pack, values + Share::place(pack));
        }
    }
};

template <int COUNT, typename T, typename Stored, typename Order>
__device__ inline auto rows_of_gradient(
    BehindAPool<Stored> dy, const Convolution& c, int group, const Windows2d<T>& windows, const Order& order
) {
    dy.dy += group * c.filters, dy.switches += group * c.filters / 2;  // groups have an even number of filters
    return RowsUnderPooledWindows<Stored, T, COUNT, Order>(dy, c.K, windows, order);
}

// For gradients behind a pool beside the corner of each position: 4 * that behind the pool + its number in the window; -1: none.
template <typename T>
struct PooledPlaces : WeightPlaces<T> {
    int pooled[T::THREADS];
};

// RowsOfGradients before the pool. With each turn a thread works out for all where one position stands behind it.
template <typename Stored, typename T, int COUNT, typename Order>
struct RowsOfPooledGradients : SidePacks<Stored, T, T::M, COUNT>, Chosen<Stored, COUNT, SidePacks<Stored, T, T::M, COUNT>::PACKS> {
    using Share = SidePacks<Stored, T, T::M, COUNT>;
    const BehindAPool<Stored> behind_pool;  // at the first filter of the tile
    const Convolution& c;
    const Order& order;
    int (&pooled)[T::THREADS];
    bool there;

    __device__ RowsOfPooledGradients(
        const BehindAPool<Stored>& behind_pool, const Convolution& c, const Order& order, int m0, PooledPlaces<T>& places
    ) : behind_pool(behind_pool), c(c), order(order), pooled(places.pooled), there(m0 + Share::row() < c.filters) {}
    __device__ void turn() {
        const int at = order.position + threadIdx.x, line = at / c.W2, number = line / c.H2;
        const int row = line - number * c.H2, column = at - line * c.W2;
        const int window = (number * behind_pool.H3 + (row >> 1)) * behind_pool.W3 + (column >> 1);
        const bool seen = row < 2 * behind_pool.H3 && column < 2 * behind_pool.W3 && at < order.count;
        pooled[threadIdx.x] = seen ? window * 4 + (row & 1) * 2 + (column & 1) : -1;
    }
    __device__ void begin(int further, unsigned char* values) {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            const int found = pooled[further * STEP_OF<Stored> + Share::at(pack)];
            const bool inside = there && found >= 0;
            const int window = inside ? found >> 2 : 0;
            Chosen<Stored, COUNT, Share::PACKS>::begin(
                pack, values + Share::place(pack), behind_pool, window, c.K, Share::row(), found & 3, inside
            );
        }
    }
    __device__ void finish(unsigned char* values) {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            Chosen<Stored, COUNT, Share::PACKS>::end(pack, values + Share::place(pack));
        }
    }
};

template <int COUNT, typename T, typename Stored, typename Order>
__device__ inline auto gradients_of(
    BehindAPool<Stored> dy, const Convolution& c, const Order& order, int first, int m0, PooledPlaces<T>& places
) {
    dy.dy += first, dy.switches += first / 2;
    return RowsOfPooledGradients<Stored, T, COUNT, Order>(dy, c, order, m0, places);
}

// dy as the kernels are given it.
#define GRADIENT_BEHIND_A_POOL (BehindAPool<stored>{dy, switches, (int)H3, (int)W3})
