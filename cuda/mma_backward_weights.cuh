// The gradient of a convolution's weights as a matrix product on tensor cores, without its matrix: dw[filter, (tap, map)] = sum
// over all positions of dy * x. A block makes one tile of the results of a group, for one slice of the positions.

#include "backward_weights.cuh"
#include "mma_gather.cuh"

// What a block has in shared memory beside the steps: the corner of each position until the next turn, and of each weight, or of
// the first of each pack, what it sees from there.
template <typename T>
struct WeightPlaces {
    Corner corners[T::THREADS];
    Tap taps[T::N];
};

// The sum over positions, the last step of which is filled up with zeros. Between two turns each thread of a block looks at
// most at one position for all.
template <int STEP, typename T>
struct Positions {
    int position, count;  // of the first value of the step, and of all
    static_assert(T::THREADS % STEP == 0, "a turn is for whole steps");

    __device__ Positions(int step, int count) : position(step * STEP), count(count) {}
    __device__ int straight() const { return T::THREADS / STEP; }
    __device__ void skip(int steps) { position += steps * STEP; }
};

// The filters of a group as rows of a matrix, their gradients at one position after the other.
template <typename Stored, typename T, int COUNT, typename Order>
struct RowsOfGradients : SidePacks<Stored, T, T::M, COUNT>, Mover<Stored, COUNT, SidePacks<Stored, T, T::M, COUNT>::PACKS> {
    using Share = SidePacks<Stored, T, T::M, COUNT>;
    const Stored* dy;  // at the first filter of the tile
    const Order& order;
    int K, end;

    __device__ RowsOfGradients(const Stored* dy, const Convolution& c, const Order& order, int m0)
        : dy(dy + Share::row()), order(order), K(c.K) {
        end = m0 + Share::row() < c.filters ? order.count : 0;  // of what is no filter there is nothing
    }
    __device__ void turn() {}
    __device__ void begin(int further, unsigned char* values) {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            const int position = order.position + further * STEP_OF<Stored> + Share::at(pack);
            const bool inside = position < end;
            Mover<Stored, COUNT, Share::PACKS>::begin(
                pack, values + Share::place(pack), behind(dy, inside ? position : 0, K), inside
            );
        }
    }
    __device__ void finish(unsigned char* values) {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            Mover<Stored, COUNT, Share::PACKS>::end(pack, values + Share::place(pack));
        }
    }
};

// The weights of a filter as columns of a matrix: what each of them saw, at one position after the other. With each turn a
// thread works out for all where the window of one position begins.
template <typename Stored, typename T, int COUNT, typename Order>
struct ColumnsSeen : SidePacks<Stored, T, T::N, COUNT>, Mover<Stored, COUNT, SidePacks<Stored, T, T::N, COUNT>::PACKS> {
    using Share = SidePacks<Stored, T, T::N, COUNT>;
    const Stored* x;  // at the first map of the group
    const Convolution& c;
    const Order& order;
    WeightPlaces<T>& places;

    __device__ ColumnsSeen(const Stored* x, const Convolution& c, const Order& order, WeightPlaces<T>& places, int n0)
        : x(x), c(c), order(order), places(places) {
        for (int first = threadIdx.x * COUNT; first < T::N; first += T::THREADS * COUNT) {
            const int n = n0 + first, tap = n / c.maps, row = tap / c.F_columns;
            const int top = row * c.dilation_rows - c.P_top;
            const int left = (tap - row * c.F_columns) * c.dilation_columns - c.P_left;
            const Tap seen = {
                n < c.length ? top : NOWHERE,  // what is no weight sees nothing
                left, reinterpret_cast<const real*>(x + ((long long)(top * c.W + left) * c.D + n - tap * c.maps))
            };
            store_whole(&places.taps[first / COUNT], seen);
        }
    }
    __device__ void turn() {
        const int at = order.position + threadIdx.x, line = at / c.W2, image = line / c.H2;
        const int h = (line - image * c.H2) * c.S_rows, v = (at - line * c.W2) * c.S_columns;
        const Corner corner = {at < order.count ? h : NOWHERE, v, (image * c.H + h) * c.W + v};
        store_whole(&places.corners[threadIdx.x], corner);
        __syncthreads();
    }
    __device__ const Stored* find(int further, int pack, bool& inside) const {
        const Tap tap = places.taps[Share::row() / COUNT];
        const Corner corner = places.corners[further * STEP_OF<Stored> + Share::at(pack)];
        inside = (unsigned int)(corner.h + tap.top) < (unsigned int)c.H &
                 (unsigned int)(corner.v + tap.left) < (unsigned int)c.W;
        return inside ? behind(reinterpret_cast<const Stored*>(tap.seen), corner.pixel, c.D) : x;
    }
    __device__ void begin(int further, unsigned char* values) {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            bool inside;
            const Stored* const place = find(further, pack, inside);
            Mover<Stored, COUNT, Share::PACKS>::begin(pack, values + Share::place(pack), place, inside);
        }
    }
    __device__ void finish(unsigned char* values) {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            Mover<Stored, COUNT, Share::PACKS>::end(pack, values + Share::place(pack));
        }
    }
};

// The gradients, which lie as they are. Another kind of gradient has another such function.
template <int COUNT, typename T, typename Stored, typename Order, typename Places>
__device__ inline auto gradients_of(
    const Stored* dy, const Convolution& c, const Order& order, int first, int m0, Places& places
) {
    return RowsOfGradients<Stored, T, COUNT, Order>(dy + first, c, order, m0);
}

// What was seen of a volume as it lies. Another kind of volume has another such function.
template <int COUNT, typename T, typename Stored, typename Order, typename Places>
__device__ inline auto columns_seen(
    const Stored* x, const Convolution& c, const Order& order, Places& places, int map0, int n0
) {
    return ColumnsSeen<Stored, T, COUNT, Order>(x + map0, c, order, places, n0);
}

template <typename Stored, typename Math, int COUNT, typename T, typename Volume, typename Gradient, typename Places>
__device__ inline void backward_weights_on_tensor_cores(
    const Volume& x, Gradient dy, float* dw, int accumulate, const Convolution& c, int slices, int stages, Places& places
) {
    if constexpr (ON_TENSOR_CORES<Stored>) {
        const Part part(blockIdx.x, tiles(c.length, T::N), tiles(c.filters, T::M));
        const int group = part.rest % c.groups, number = part.rest / c.groups;
        const int m0 = part.down * T::M, n0 = part.across * T::N;
        constexpr int STEP = STEP_OF<Stored>;
        const Slice slice(number, slices, tiles(c.positions, STEP));
        typedef Positions<STEP, T> Order;
        Order order(slice.first, c.positions);
        auto rows = gradients_of<COUNT, T>(dy, c, order, group * c.filters + m0, m0, places);
        auto columns = columns_seen<COUNT, T>(x, c, order, places, group * c.maps, n0);
        Sums sums = {};
        multiply_on_tensor_cores<T, Math>(order, rows, columns, slice.steps(), stages, sums);

        dw += ((long long)number * c.K + group * c.filters + m0) * c.length + n0;
        const bool packed = c.length % RUN == 0 && aligned(dw);
        typedef typename SidesOf<Stored, T::M>::Layout Left;
        typedef typename SidesOf<Stored, T::N>::Layout Right;
        each_run_of<T, Left, Right>(sums, [&](int row, int column, Pack<float, RUN> run) {
            const int left = c.length - n0 - column;
            if (m0 + row >= c.filters || left <= 0) return;
            float* const place = dw + (long long)row * c.length + column;
            if (accumulate) {
                const auto before = load_first(place, left, packed);
#pragma unroll
                for (int lane = 0; lane < RUN; ++lane) run.value[lane] += before.value[lane];
            }
            store_rounded(place, run, left, packed);
        });
    }
}

// The kernels' bodies.
#define BACKWARD_WEIGHTS(math, count, tile, kind, gradient) BACKWARD_WEIGHTS_OF(math, count, tile, kind, x, gradient)
#define BACKWARD_WEIGHTS_OF(math, count, tile, kind, volume, gradient)                                                   \
    __shared__ kind<tile> places;                                                                                        \
    backward_weights_on_tensor_cores<stored, math, count, tile>(                                                         \
        volume, gradient, (float*)dw, (int)accumulate, CONVOLUTION_OF_NUMBERS, (int)slices, (int)stages, places               \
    )
