// The gradient of a convolution's input as a matrix product without its matrix: dx[position, d] = sum over (tap, filter) of
// dy * w. Positions that are a stride apart are seen at the same taps of a filter, all others at other ones: so the
// positions of an image fall into S_rows x S_columns sets, each a product of its own, in which no value is multiplied that
// does not count. A block makes one tile of the results of one set and one group, for one slice of the sum.

#include "gather.cuh"

// The positions first, first + S, ... of one axis. They are seen at the taps tap, tap + apart, ... of a filter: position
// number q at number t of these taps by window number origin + q - t*back, if there is such a window.
struct Axis {
    int first, count, tap, apart, taps, origin, back;

    __device__ void set(int begin, int size, int F, int S, int P, int dilation) {
        first = begin, tap = 0;
        const int common = greatest_common(S, dilation);
        count = tiles(size - first, S), apart = S / common, back = dilation / common;
        while (tap < F && (first + P - tap * dilation) % S != 0) ++tap;
        taps = tap < F ? (F - 1 - tap) / apart + 1 : 0;
        origin = (first + P - tap * dilation) / S;
    }
    __device__ static int greatest_common(int a, int b) {
        while (b) {
            const int rest = a % b;
            a = b, b = rest;
        }
        return a;
    }
};

// What a block has in shared memory beside the steps: which set of positions it works on, by rows and by columns, and for
// each row of the tile the position of the batch that its results belong to; -1: none.
template <typename T>
struct InputStages : Stages<real, T> {
    Axis down, across;
    int pixel[T::M];
};

// Where the windows of a gradient behind a pool begin, for each row of the tile: row, column, and first row of the image.
template <typename T>
struct PooledStages : InputStages<T> {
    struct {
        int top, left, image;
    } windows[T::M];
};

// The sum of one set: tap by tap, the filters of each tap in steps of their own, of which the last is filled up with zeros.
// So all threads of a block are at the same tap.
template <typename Set>
struct TapByTap {
    Set& set;
    const Convolution& c;
    int row, column;      // number of the tap among those of the set
    int first, at;        // filter of the step, place of this thread in it
    int rows, columns;    // from the windows of the first tap to those of this one
    int weights;          // from the weights of a filter to those of this tap

    __device__ TapByTap(Set& set, const Convolution& c) : set(set), c(c) {}
    __device__ int steps() const { return set.down.taps * set.across.taps * tiles(c.filters, DEPTH); }
    __device__ void start(int step, int place) {
        const int each = tiles(c.filters, DEPTH), tap = step / each;
        first = (step - tap * each) * DEPTH, at = place;
        row = tap / max(1, set.across.taps), column = tap - row * set.across.taps;
        turn();
    }
    __device__ int step() const { return (row * set.across.taps + column) * tiles(c.filters, DEPTH) + first / DEPTH; }
    __device__ int straight() const { return max(1, (c.filters - first) / DEPTH); }
    __device__ void skip(int steps) {
        first += steps * DEPTH;
        if (first < c.filters) return;
        first = 0;
        if (++column == set.across.taps) column = 0, ++row;
        turn();
    }
    __device__ void turn() {
        rows = -row * set.down.back, columns = -column * set.across.back;
        const int f_row = set.down.tap + row * set.down.apart, f_column = set.across.tap + column * set.across.apart;
        weights = (f_row * c.F_columns + f_column) * c.maps;
    }
    __device__ bool inside() const { return first + at < c.filters; }
    __device__ int along() const { return first + at; }
};

// The weights of a group, (filters, F_rows, F_columns, maps), with the maps as rows of a matrix.
template <typename Stored, typename T, int COUNT, typename Order>
struct MapRows : AlongSide<Stored, T, T::N, COUNT> {
    using Share = AlongSide<Stored, T, T::N, COUNT>;
    const Stored* w;  // the map of this thread, at the first tap of the first filter
    const Order& order;
    int length, end;
    const Stored* from[Share::PACKS];
    bool inside[Share::PACKS];

    __device__ MapRows(const Stored* w, const Order& order, int n0)
        : w(w + n0 + Share::row()), order(order), length(order.c.length) {
        end = n0 + Share::row() < order.c.maps ? order.c.filters : 0;  // of what is no map there is nothing
    }
    __device__ void turn() {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            const int filter = order.first + Share::at(pack);
            inside[pack] = filter < end;
            from[pack] = w + ((long long)filter * length + order.weights);
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
            if (inside[pack]) this->held[pack] = load<COUNT>(behind(from[pack], further * DEPTH, length));
        }
    }
};

// The windows of the gradient, which lies as it is. Another kind of gradient has another such function.
template <int COUNT, typename T, typename Order>
__device__ inline auto gradient_windows(const real* dy, const Convolution& c, int group, const Order& order) {
    return UnderWindows<real, T, COUNT, Order>(dy, c.H2, c.W2, c.K, group * c.filters, order);
}

template <int COUNT, typename T, typename Gradient, typename Set>
__device__ inline void backward_input_tile(
    Gradient dy, const real* w, const real* below, real* dx, const Convolution& c, int slices, Set& stages
) {
    const int row_sets = min(c.S_rows, c.H), column_sets = min(c.S_columns, c.W);
    const int most = c.N * tiles(c.H, c.S_rows) * tiles(c.W, c.S_columns);  // positions of the largest set
    const Part part(blockIdx.x, tiles(c.maps, T::N), tiles(most, T::M));
    const int group = part.rest % c.groups, rest = part.rest / c.groups;
    const int number = rest / column_sets / row_sets, m0 = part.down * T::M, n0 = part.across * T::N;
    if (threadIdx.x == 0) {
        stages.down.set(rest / column_sets % row_sets, c.H, c.F_rows, c.S_rows, c.P_top, c.dilation_rows);
        stages.across.set(rest % column_sets, c.W, c.F_columns, c.S_columns, c.P_left, c.dilation_columns);
    }
    __syncthreads();
    const Axis &down = stages.down, &across = stages.across;
    const int positions = c.N * down.count * across.count;
    if (m0 >= positions) return;

    TapByTap<Set> order(stages, c);
    auto windows = gradient_windows<COUNT, T>(dy, c, group, order);
#pragma unroll
    for (int pack = 0; pack < windows.PACKS; ++pack) {
        const int m = m0 + windows.row(pack), line = m / across.count, image = line / down.count;
        if (m < positions) {
            const int row = down.origin + line - image * down.count, column = across.origin + m - line * across.count;
            windows.put_row(pack, image, row, column);
        } else {
            windows.put_nothing(pack);
        }
    }
    for (int row = threadIdx.x; row < T::M; row += T::THREADS) {
        const int m = m0 + row, line = m / across.count, image = line / down.count;
        const int h = down.first + (line - image * down.count) * c.S_rows;
        const int v = across.first + (m - line * across.count) * c.S_columns;
        stages.pixel[row] = m < positions ? (image * c.H + h) * c.W + v : -1;
    }
    const Slice slice(number, slices, order.steps());
    keep(stages, slice.last, n0, group, number, 0);
    order.start(slice.first, windows.at());
    MapRows<real, T, COUNT, TapByTap<Set>> rows(w + (long long)group * c.filters * c.length, order, n0);
    real sum[T::ROWS][T::COLUMNS] = {};
    multiply<T>(order, windows, rows, stages, sum);
    __syncthreads();

    dx += (long long)stages.kept[2] * c.N * c.H * c.W * c.D;
    const bool packed = c.maps % WIDTH == 0 && aligned(dx, below);
    each_run<T>(sum, [&](int row, int column, const Pack<real, RUN>& run) {
        const int pixel = stages.pixel[row], map = stages.kept[0] + column;
        if (pixel < 0 || map >= c.maps) return;
        const long long place = (long long)pixel * c.D + (stages.kept[1] * c.maps + map);
        const RunOf<WIDTH, real> to = {dx + place, c.maps - map, packed};
        if (below) to.store_above(below + place, run);
        else to.store_run(run);
    });
}
