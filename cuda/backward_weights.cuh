// The gradient of a convolution's weights as a matrix product without its matrix: dw[filter, (tap, map)] = sum over all
// positions of dy * x. A block makes one tile of the results of a group, for one slice of the positions.

#include "gather.cuh"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 700 && __CUDA_ARCH__ < 750
constexpr int WEIGHT_BLOCKS_OF_256 = 1;  // two would spill
#else
constexpr int WEIGHT_BLOCKS_OF_256 = BLOCKS_OF_256;
#endif

// The sum over positions, the last step of which is filled up with zeros. Between two turns each thread of a block looks at
// most at one position for all.
template <typename T>
struct ByPosition {
    int position, count;  // of the first value of the step, and of all

    __device__ ByPosition(int step, int count) : position(step * DEPTH), count(count) {}
    __device__ int step() const { return position / DEPTH; }
    __device__ int straight() const { return max(1, min(T::THREADS, count - position) / DEPTH); }
    __device__ void skip(int steps) { position += steps * DEPTH; }
};

// The first row and column that a window sees if there is no padding, and the position of the batch that this would be.
struct alignas(16) Corner {
    int h, v, pixel;
};

// From the corner of a window to what a weight sees of it, and where this stands if the corner is the very first position.
struct alignas(16) Tap {
    int top, left;
    const real* seen;
};

constexpr int NOWHERE = -(1 << 30);  // a row that is in no image, nor any that a window may see from there

// What a block has in shared memory beside the steps.
template <typename T>
struct WeightStages : Stages<real, T> {
    Corner corners[T::THREADS];  // of each position until the next turn
    Tap taps[T::N];              // of each weight, or of the first of each pack; a thread's own would take registers
};

// The filters of a group as rows of a matrix, their gradients at one position after the other.
template <typename Stored, typename T, int COUNT>
struct GradientRows : AlongSide<Stored, T, T::M, COUNT> {
    using Share = AlongSide<Stored, T, T::M, COUNT>;
    const Stored* dy;
    const Convolution& c;
    const ByPosition<T>& order;
    const int (&kept)[4];  // of the block, its first filter in the group and the group
    const Stored* from[Share::PACKS];
    bool inside[Share::PACKS];

    __device__ GradientRows(const Stored* dy, const Convolution& c, const ByPosition<T>& order, const int (&kept)[4])
        : dy(dy), c(c), order(order), kept(kept) {}
    __device__ void turn() {
        const int filter = kept[0] + Share::row();
        const int end = filter < c.filters ? order.count : 0;  // of what is no filter there is nothing
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            const int at = order.position + Share::at(pack);
            inside[pack] = at < end;
            from[pack] = behind(dy + (kept[2] * c.filters + filter), at, c.K);
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
            if (inside[pack]) this->held[pack] = load<COUNT>(behind(from[pack], further * DEPTH, c.K));
        }
    }
};

// For gradients behind a pool beside the corner of each position: 4 * that behind the pool + its number in the window; -1: none.
template <typename T>
struct PooledWeightStages : WeightStages<T> {
    int pooled[T::THREADS];
};

// The weights of a filter as rows of a matrix: what each of them saw, at one position after the other. With each turn a
// thread works out for all where the window of one position begins.
template <typename T, int COUNT>
struct SeenRows : AlongSide<real, T, T::N, COUNT> {
    using Share = AlongSide<real, T, T::N, COUNT>;
    const Convolution& c;
    const ByPosition<T>& order;
    WeightStages<T>& stages;
    bool inside[Share::PACKS];  // of the packs on their way

    __device__ SeenRows(
        const real* x, const Convolution& c, const ByPosition<T>& order, WeightStages<T>& stages, int group, int n0
    ) : c(c), order(order), stages(stages) {
        for (int first = threadIdx.x * COUNT; first < T::N; first += T::THREADS * COUNT) {
            const int n = n0 + first, tap = n / c.maps, row = tap / c.F_columns, map = group * c.maps + n - tap * c.maps;
            const int top = row * c.dilation_rows - c.P_top;
            const int left = (tap - row * c.F_columns) * c.dilation_columns - c.P_left;
            const Tap seen = {
                n < c.length ? top : NOWHERE,  // what is no weight sees nothing
                left, x + ((long long)(top * c.W + left) * c.D + map)
            };
            store_whole(&stages.taps[first / COUNT], seen);
        }
    }
    __device__ void turn() {
        const int at = order.position + threadIdx.x, line = at / c.W2, image = line / c.H2;
        const int h = (line - image * c.H2) * c.S_rows, v = (at - line * c.W2) * c.S_columns;
        const Pack<int, 4> corner = {at < order.count ? h : NOWHERE, v, (image * c.H + h) * c.W + v};
        store(&stages.corners[threadIdx.x].h, corner);  // whole, so that threads find banks of their own
        __syncthreads();
    }
    __device__ void stop() {
        const Pack<int, 4> nowhere = {NOWHERE};
        store(&stages.corners[threadIdx.x].h, nowhere);
        __syncthreads();
    }
    __device__ void fetch(int further) {
        further = counted_once(further);
        const Tap tap = stages.taps[Share::row() / COUNT];
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            const Corner corner = stages.corners[further * DEPTH + Share::at(pack)];
            inside[pack] = (unsigned int)(corner.h + tap.top) < (unsigned int)c.H &
                           (unsigned int)(corner.v + tap.left) < (unsigned int)c.W;
            this->held[pack] = {};
            if (inside[pack]) this->held[pack] = load<COUNT>(behind(tap.seen, corner.pixel, c.D));
        }
    }
};

// A volume that lies as it is. Another kind of volume has another such function.
template <int COUNT, typename T>
__device__ inline auto seen_rows(
    const real* x, const Convolution& c, const ByPosition<T>& order, WeightStages<T>& stages, int group, int n0
) {
    return SeenRows<T, COUNT>(x, c, order, stages, group, n0);
}

// The gradients, which lie as they are. Another kind of gradient has another such function.
template <int COUNT, typename T>
__device__ inline auto gradient_rows(
    const real* dy, const Convolution& c, const ByPosition<T>& order, const WeightStages<T>& stages
) {
    return GradientRows<real, T, COUNT>(dy, c, order, stages.kept);
}

template <int COUNT, typename T, typename Volume, typename Gradient, typename Shared>
__device__ inline void backward_weights_tile(
    Volume x, Gradient dy, real* dw, int accumulate, const Convolution& c, int slices, Shared& stages
) {
    const Part part(blockIdx.x, tiles(c.length, T::N), tiles(c.filters, T::M));
    const int group = part.rest % c.groups, number = part.rest / c.groups;
    const int m0 = part.down * T::M, n0 = part.across * T::N;
    const Slice slice(number, slices, tiles(c.positions, DEPTH));
    keep(stages, slice.last, m0, n0, group, number);
    ByPosition<T> order(slice.first, c.positions);
    auto gradients = gradient_rows<COUNT, T>(dy, c, order, stages);
    auto seen = seen_rows<COUNT, T>(x, c, order, stages, group, n0);
    real sum[T::ROWS][T::COLUMNS] = {};
    multiply<T>(order, gradients, seen, stages, sum);

    dw += ((long long)stages.kept[3] * c.K + stages.kept[2] * c.filters) * c.length;
    const bool packed = c.length % WIDTH == 0 && aligned(dw);
    each_run<T>(sum, [&](int row, int column, Pack<real, RUN> run) {
        const int filter = stages.kept[0] + row, weight = stages.kept[1] + column;
        if (filter >= c.filters || weight >= c.length) return;
        const RunOf<WIDTH, real> place = {dw + (long long)filter * c.length + weight, c.length - weight, packed};
        if (accumulate) place.add_to(run);
        place.store_run(run);
    });
}
