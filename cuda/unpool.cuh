// What gatherers of cuda/gather.cuh see of the gradient before a max-pool.

#include "behind_pool.cuh"
#include "gather.cuh"

// UnderWindows of a gradient before the pool, in the order TapByTap of cuda/backward_input.cuh, which knows the convolution
// and its set, and the set the group: what a thread would hold of its own takes registers.
template <typename T, int COUNT, typename Order>
struct UnderPooledWindows : AlongSum<real, T, T::M, COUNT> {
    using Share = AlongSum<real, T, T::M, COUNT>;
    BehindPool behind;
    Order order;
    int top[Share::PACKS], left[Share::PACKS], image[Share::PACKS];  // of each window of filters, at its first tap

    __device__ UnderPooledWindows(const BehindPool& behind, Order order) : behind(behind), order(order) {}
    __device__ void put_row(int pack, int number, int row, int column) {
        top[pack] = row, left[pack] = column, image[pack] = number * behind.H3;
    }
    __device__ void put_nothing(int pack) { top[pack] = -(1 << 30), left[pack] = image[pack] = 0; }
    __device__ void start(int step) { order.start(step, Share::at()); }
    __device__ void next() { order.next(); }
    __device__ void fetch() {
        const bool seen = order.inside();
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            const int row = top[pack] + order.rows, column = left[pack] + order.columns;
            const bool inside = (unsigned int)row < 2u * behind.H3 && (unsigned int)column < 2u * behind.W3;
            this->held[pack] = {};
            if (seen && inside) {
                const int window = (image[pack] + (row >> 1)) * behind.W3 + (column >> 1);
                this->held[pack] = behind.template gradients<COUNT>(
                    apart(window, order.c.K) + (order.set.kept[1] * order.c.filters + order.along()), (row & 1) * 2 + (column & 1)
                );
            }
        }
    }
};

template <int COUNT, typename T, typename Order>
__device__ inline auto gradient_windows(const BehindPool& behind, const Convolution& c, int group, const Order& order) {
    return UnderPooledWindows<T, COUNT, Order>(behind, order);
}

// GradientRows of a gradient before the pool. A thread knows at which (row, column) of which image its positions are.
template <typename T, int COUNT>
struct PooledGradientRows : AlongSide<real, T, T::M, COUNT> {
    using Share = AlongSide<real, T, T::M, COUNT>;
    BehindPool behind;  // at the filter of this thread
    const Convolution& c;
    int position, end;
    int row[Share::PACKS], column[Share::PACKS], image[Share::PACKS];

    __device__ PooledGradientRows(const BehindPool& all, const Convolution& c, int filter, int positions)
        : behind(all), c(c), end(positions) {
        behind.dy += filter, behind.switches += filter;
    }
    __device__ void start(int step) {
        position = step * DEPTH;
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            const int at = position + Share::at(pack), line = at / c.W2, number = line / c.H2;
            row[pack] = line - number * c.H2, column[pack] = at - line * c.W2, image[pack] = number * behind.H3;
        }
    }
    __device__ void next() {
        position += DEPTH;
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            for (column[pack] += DEPTH; column[pack] >= c.W2; column[pack] -= c.W2) {
                if (++row[pack] == c.H2) row[pack] = 0, image[pack] += behind.H3;
            }
        }
    }
    __device__ void fetch() {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            const bool seen = row[pack] < 2 * behind.H3 && column[pack] < 2 * behind.W3;
            this->held[pack] = {};
            if (seen && position + Share::at(pack) < end) {
                const int window = (image[pack] + (row[pack] >> 1)) * behind.W3 + (column[pack] >> 1);
                this->held[pack] = behind.template gradients<COUNT>(
                    apart(window, c.K), (row[pack] & 1) * 2 + (column[pack] & 1)
                );
            }
        }
    }
};

template <int COUNT, typename T>
__device__ inline auto gradient_rows(const BehindPool& behind, const Convolution& c, int group, int m0) {
    const int filter = m0 + PooledGradientRows<T, COUNT>::Share::row();
    return PooledGradientRows<T, COUNT>(behind, c, group * c.filters + filter, filter < c.filters ? c.positions : 0);
}
