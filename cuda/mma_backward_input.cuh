// The gradient of a convolution's input as a matrix product on tensor cores, without its matrix: dx[position, d] = sum over (tap,
// filter) of dy * w, for one set of positions that are a stride apart, as in cuda/backward_input.cuh.

#include "backward_input.cuh"
#include "mma_gather.cuh"

// What a block has in shared memory beside the steps: which set of positions it works on, by rows and by columns; the windows; and
// for each row of the tile the position of the batch that its results belong to; -1: none.
template <typename T>
struct InputPlaces {
    Axis down, across;
    Windows2d<T> windows;
    int pixel[T::M];
};

// The sum of one set: tap by tap, the filters of each tap in steps of their own, of which the last is filled up with zeros.
// So all threads of a block are at the same tap.
template <int STEP, bool STRAIGHT>
struct FiltersOfTaps {
    const Axis &down, &across;
    const Convolution& c;
    int row, column;    // number of the tap among those of the set
    int first, at;      // filter of the step, place of this thread in it
    int rows, columns;  // from the windows of the first tap to those of this one
    int weights;        // from the weights of a filter to those of this tap

    __device__ FiltersOfTaps(const Axis& down, const Axis& across, const Convolution& c, int step, int place)
        : down(down), across(across), c(c), at(place) {
        const int each = tiles(c.filters, STEP), tap = step / each;
        first = (step - tap * each) * STEP;
        row = tap / max(1, across.taps), column = tap - row * across.taps;
        turn();
    }
    __device__ static int steps(const Axis& down, const Axis& across, const Convolution& c) {
        return down.taps * across.taps * tiles(c.filters, STEP);
    }
    __device__ int straight() const { return STRAIGHT ? max(1, (c.filters - first) / STEP) : 1; }
    __device__ void skip(int steps) {
        first += steps * STEP;
        if (first < c.filters) return;
        first = 0;
        if (++column == across.taps) column = 0, ++row;
        turn();
    }
    __device__ void turn() {
        rows = -row * down.back, columns = -column * across.back;
        const int f_row = down.tap + row * down.apart, f_column = across.tap + column * across.apart;
        weights = (f_row * c.F_columns + f_column) * c.maps;
    }
    __device__ bool inside() const { return first + at < c.filters; }
    __device__ int along() const { return first + at; }
};

// The weights of a group, (filters, F_rows, F_columns, maps), with the maps as columns of a matrix, n0 the first of the tile.
template <typename Stored, typename T, int COUNT, typename Order>
struct ColumnsOfMaps : SidePacks<Stored, T, T::N, COUNT>, Mover<Stored, COUNT, SidePacks<Stored, T, T::N, COUNT>::PACKS> {
    using Share = SidePacks<Stored, T, T::N, COUNT>;
    const Stored* w;  // the map of this thread, at the first tap of the first filter
    const Order& order;
    int length, end;

    __device__ ColumnsOfMaps(const Stored* w, const Order& order, int n0)
        : w(w + n0 + Share::row()), order(order), length(order.c.length) {
        end = n0 + Share::row() < order.c.maps ? order.c.filters : 0;  // of what is no map there is nothing
    }
    __device__ void turn() {}
    __device__ void begin(int further, unsigned char* values) {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            const int filter = order.first + further * STEP_OF<Stored> + Share::at(pack);
            const bool inside = filter < end;
            Mover<Stored, COUNT, Share::PACKS>::begin(
                pack, values + Share::place(pack), w + (inside ? filter * length + order.weights : 0), inside
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

// The windows of the gradient, which lies as it is. Another kind of gradient has other such functions.
template <typename Stored>
__device__ inline Window window_of(const Stored* dy, const Convolution& c, int image, int top, int left) {
    return {top, left, (image * c.H2 + top) * c.W2 + left};
}

template <int COUNT, typename T, typename Stored, typename Order>
__device__ inline auto rows_of_gradient(
    const Stored* dy, const Convolution& c, int group, const Windows2d<T>& windows, const Order& order
) {
    return RowsUnderWindows<Stored, T, COUNT, Order>(dy + group * c.filters, c.H2, c.W2, c.K, windows, order);
}

// As store_rounded, but 0 where what stands at `below`, which may be the same place, is 0 or less; NaN there lets through.
template <typename Stored>
__device__ inline void store_above(
    const Stored* below, Stored* place, const Pack<float, RUN>& run, int left, bool packed
) {
    if (packed) {
        auto kept = load<RUN>(below);
#pragma unroll
        for (int lane = 0; lane < RUN; ++lane) kept.value[lane] = kept.value[lane] <= 0 ? 0.0f : run.value[lane];
        store(place, kept);
        return;
    }
#pragma unroll
    for (int lane = 0; lane < RUN; ++lane) {
        if (lane < left) place[lane] = (float)below[lane] <= 0 ? 0.0f : run.value[lane];
    }
}

template <typename Math, int COUNT, typename T, typename Gradient, typename Stored>
__device__ inline void backward_input_on_tensor_cores(
    Gradient dy, const Stored* w, const Stored* below, Stored* dx, real* parts, const Convolution& c, int slices, int stages,
    InputPlaces<T>& places
) {
    if constexpr (ON_TENSOR_CORES<Stored>) {
        const int row_sets = min(c.S_rows, c.H), column_sets = min(c.S_columns, c.W);
        const int most = c.N * tiles(c.H, c.S_rows) * tiles(c.W, c.S_columns);  // positions of the largest set
        const Part part(blockIdx.x, tiles(c.maps, T::N), tiles(most, T::M));
        const int group = part.rest % c.groups, rest = part.rest / c.groups;
        const int number = rest / column_sets / row_sets, m0 = part.down * T::M, n0 = part.across * T::N;
        if (threadIdx.x == 0) {
            places.down.set(rest / column_sets % row_sets, c.H, c.F_rows, c.S_rows, c.P_top, c.dilation_rows);
            places.across.set(rest % column_sets, c.W, c.F_columns, c.S_columns, c.P_left, c.dilation_columns);
        }
        __syncthreads();
        const Axis &down = places.down, &across = places.across;
        const int positions = c.N * down.count * across.count;
        if (m0 >= positions) return;
        places.windows.set([&](int row, Window& window) {
            places.pixel[row] = -1;
            const int m = m0 + row, line = m / across.count, image = line / down.count;
            if (m >= positions) return;
            const int i = line - image * down.count, j = m - line * across.count;
            const int top = down.origin + i, left = across.origin + j;
            window = window_of(dy, c, image, top, left);
            const int h = down.first + i * c.S_rows, v = across.first + j * c.S_columns;
            places.pixel[row] = (image * c.H + h) * c.W + v;
        });
        __syncthreads();
        constexpr int STEP = STEP_OF<Stored>;
        typedef FiltersOfTaps<STEP, (COUNT > 1)> Order;
        const Slice slice(number, slices, Order::steps(down, across, c));
        Order order(down, across, c, slice.first, SumPacks<Stored, T, T::M, COUNT>::at());
        auto rows = rows_of_gradient<COUNT, T>(dy, c, group, places.windows, order);
        ColumnsOfMaps<Stored, T, COUNT, Order> columns(w + (long long)group * c.filters * c.length, order, n0);
        Sums sums = {};
        multiply_on_tensor_cores<T, Math>(order, rows, columns, slice.steps(), stages, sums);

        if (parts) parts += (long long)number * c.N * c.H * c.W * c.D;
        const bool packed = (c.maps | c.D) % RUN == 0 && aligned(dx, parts, below);
        const int first = group * c.maps + n0;
        each_run_of<T, AlongSums, typename SidesOf<Stored, T::N>::Layout>(sums, [&](int row, int column, const Pack<float, RUN>& run) {
            const int pixel = places.pixel[row], left = c.maps - n0 - column;
            if (pixel < 0 || left <= 0) return;
            const long long place = (long long)pixel * c.D + first + column;
            if (parts) store_rounded(parts + place, run, left, packed);
            else if (below) store_above(below + place, dx + place, run, left, packed);
            else store_rounded(dx + place, run, left, packed);
        });
    }
}

// The kernels' bodies.
#define BACKWARD_INPUT(math, count, tile, gradient)                                                                \
    __shared__ InputPlaces<tile> places;                                                                           \
    backward_input_on_tensor_cores<math, count>(                                                                   \
        gradient, w, below, dx, parts, CONVOLUTION_OF_NUMBERS, (int)slices, (int)stages, places                                  \
    )
