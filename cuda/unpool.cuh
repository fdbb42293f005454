// What gatherers of cuda/gather.cuh see of the gradient before a max-pool.

#include "behind_pool.cuh"
#include "gather.cuh"

// Packs of a gradient on their way, each with the switches beside it; which number of its window each is from.
template <int PACKS, int COUNT>
struct Switched {
    HalvesOf<COUNT> where[PACKS];
    unsigned int number[PACKS];  // in each half of a byte

    __device__ void from(int pack, int which) { number[pack] = which * 0x11111111u; }
    // `switches`: where the half of map `k` of the position lies.
    __device__ void fetch(int pack, const real* dy, const unsigned char* switches, int k, Pack<real, COUNT>& held) {
        held = load<COUNT>(dy), where[pack] = load<sizeof(HalvesOf<COUNT>)>(switches);
        if (COUNT == 1) where[pack].value[0] >>= k % 2 * 4;
    }
    // What the switches do not point at is 0.
    __device__ void choose(Pack<real, COUNT> (&held)[PACKS]) const {
#pragma unroll
        for (int pack = 0; pack < PACKS; ++pack) keep_chosen(held[pack], where[pack], number[pack]);
    }
};

// UnderWindows of a gradient before the pool, in the order TapByTap of cuda/backward_input.cuh, which knows the convolution
// and its set, and the set the group: what a thread would hold of its own takes registers.
template <typename T, int COUNT, typename Order>
struct UnderPooledWindows : AlongSum<real, T, T::M, COUNT> {
    using Share = AlongSum<real, T, T::M, COUNT>;
    BehindPool behind;
    const Order& order;
    long long from[Share::PACKS];  // of each pack, since the last turn
    int behind_by[Share::PACKS];   // halves more than values up to there: one a window where maps are odd in number
    bool inside[Share::PACKS];
    Switched<Share::PACKS, COUNT> switched;

    __device__ UnderPooledWindows(const BehindPool& behind, const Order& order) : behind(behind), order(order) {}
    __device__ void put_row(int pack, int number, int row, int column) {
        put_window(pack, row, column, number * behind.H3);
    }
    __device__ void put_nothing(int pack) { put_window(pack, -(1 << 30), 0, 0); }
    // One thread for all that take values of the same row.
    __device__ void put_window(int pack, int top, int left, int image) {
        if (Share::at() == 0) order.set.windows[Share::row(pack)] = {top, left, image};
    }
    __device__ void turn() {
        const bool seen = order.inside();
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            const auto& first = order.set.windows[Share::row(pack)];
            const int row = first.top + order.rows, column = first.left + order.columns;
            inside[pack] = seen && (unsigned int)row < 2u * behind.H3 && (unsigned int)column < 2u * behind.W3;
            const int window = inside[pack] ? (first.image + (row >> 1)) * behind.W3 + (column >> 1) : 0;
            const int k = order.set.kept[1] * order.c.filters + order.along();
            from[pack] = apart(window, order.c.K) + k;
            behind_by[pack] = COUNT == 1 && order.c.K % 2 ? window : 0;
            switched.from(pack, (row & 1) * 2 + (column & 1));
            this->held[pack] = {};
        }
    }
    __device__ void stop() {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) inside[pack] = false;
    }
    __device__ void fetch(int further) {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            const long long at = from[pack] + further * DEPTH, twice = COUNT == 1 ? at + behind_by[pack] : at;
            if (inside[pack]) switched.fetch(pack, behind.dy + at, behind.switches + twice / 2, (int)twice, this->held[pack]);
        }
    }
    template <typename Stage>
    __device__ void put(Stage& stage) {
        switched.choose(this->held);
        Share::put(stage);
    }
};

template <int COUNT, typename T, typename Order>
__device__ inline auto gradient_windows(const BehindPool& behind, const Convolution& c, int group, const Order& order) {
    return UnderPooledWindows<T, COUNT, Order>(behind, order);
}

// GradientRows of a gradient before the pool. With each turn a thread works out for all where one position stands behind it.
template <typename T, int COUNT, typename Order, typename Stages>
struct PooledGradientRows : AlongSide<real, T, T::M, COUNT> {
    using Share = AlongSide<real, T, T::M, COUNT>;
    BehindPool behind;  // at the filter of this thread
    const Convolution& c;
    const Order& order;
    Stages& stages;
    bool there;
    int odd;  // whether its filter's half is the upper one
    Switched<Share::PACKS, COUNT> switched;

    __device__ PooledGradientRows(const BehindPool& all, const Convolution& c, const Order& order, Stages& stages)
        : behind(all), c(c), order(order), stages(stages) {
        const int filter = stages.kept[0] + Share::row(), place = stages.kept[2] * c.filters + filter;
        odd = place % 2;
        behind.dy += place, behind.switches += place / 2, there = filter < c.filters;
    }
    __device__ void turn() {
        const int at = order.position + threadIdx.x, line = at / c.W2, number = line / c.H2;
        const int row = line - number * c.H2, column = at - line * c.W2;
        const int window = (number * behind.H3 + (row >> 1)) * behind.W3 + (column >> 1);
        const bool seen = row < 2 * behind.H3 && column < 2 * behind.W3 && at < order.count;
        stages.pooled[threadIdx.x] = seen ? window * 4 + (row & 1) * 2 + (column & 1) : -1;
    }
    __device__ void stop() { there = false; }
    __device__ void fetch(int further) {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            const int pooled = stages.pooled[further * DEPTH + Share::at(pack)];
            this->held[pack] = {}, switched.from(pack, pooled & 3);
            if (there && pooled >= 0) {
                const int window = pooled >> 2;
                const unsigned char* const where = behind.switches + apart(window, halves(c.K));
                switched.fetch(pack, behind.dy + apart(window, c.K), where, odd, this->held[pack]);
            }
        }
    }
    template <typename Stage>
    __device__ void put(Stage& stage) {
        switched.choose(this->held);
        Share::put(stage);
    }
};

template <int COUNT, typename T, typename Order, typename Stages>
__device__ inline auto gradient_rows(const BehindPool& behind, const Convolution& c, const Order& order, Stages& stages) {
    return PooledGradientRows<T, COUNT, Order, Stages>(behind, c, order, stages);
}
