// Convolution as a matrix product on tensor cores, without its matrix: y[position, filter] = sum over (f_row, f_col, d) of x * w.
// A block makes one tile of the results of a group, for one slice of the sum.

#include "mma_gather.cuh"

// The sum of a window in one piece, tap by tap and map by map, in steps of STEP values. A step may reach from one tap into the
// next ones: then each thread is at a tap of its own; otherwise all are at the same, as long as it has maps.
template <int STEP, bool STRAIGHT>
struct TapsInOnePiece {
    const Convolution& c;
    int place, l, d;    // of this thread in the step, in the sum, and its map
    int rows, columns;  // from the first tap to this one

    __device__ TapsInOnePiece(const Convolution& c, int step, int place) : c(c), place(place), l(step * STEP + place) {
        const int tap = l / c.maps, row = tap / c.F_columns;
        d = l - tap * c.maps, rows = row * c.dilation_rows, columns = (tap - row * c.F_columns) * c.dilation_columns;
    }
    __device__ int straight() const {
        const int tap = l - d, first = l - place;  // where they begin in the sum
        return STRAIGHT && tap <= first ? max(1, (tap + c.maps - first) / STEP) : 1;
    }
    __device__ void skip(int steps) {
        l += steps * STEP;
        for (d += steps * STEP; d >= c.maps; d -= c.maps) {
            columns += c.dilation_columns;
            if (columns == c.F_columns * c.dilation_columns) columns = 0, rows += c.dilation_rows;
        }
    }
    __device__ bool inside() const { return l < c.length; }
    __device__ int along() const { return d; }
};

// The filters of a group as columns of a matrix, as they lie: w is (filters, length), n0 the first of the tile.
template <typename Stored, typename T, int COUNT, typename Order>
struct ColumnsOfFilters : SumPacks<Stored, T, T::N, COUNT>, Mover<Stored, COUNT, SumPacks<Stored, T, T::N, COUNT>::PACKS> {
    using Share = SumPacks<Stored, T, T::N, COUNT>;
    const Stored* w;
    const Order& order;
    int length, left;  // filters of the group from the first one of the tile on

    __device__ ColumnsOfFilters(const Stored* w, const Order& order, int n0)
        : w(w + n0 * order.c.length), order(order), length(order.c.length), left(order.c.filters - n0) {}
    __device__ void turn() {}
    __device__ void begin(int further, unsigned char* values) {
        const int l = order.l + further * STEP_OF<Stored>;
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            const int column = Share::Layout::column_of(Share::slot(pack));
            const bool inside = column < left && l < length;
            Mover<Stored, COUNT, Share::PACKS>::begin(
                pack, values + Share::place(pack), w + (inside ? column * length + l : 0), inside
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

// The positions of the output as rows of the product, in their order.
struct RowByRow {
    __device__ static int count(const Convolution& c) { return c.positions; }
    __device__ static void place(int m, const Convolution& c, int& image, int& i, int& j) {
        const int line = m / c.W2;
        image = line / c.H2, i = line - image * c.H2, j = m - line * c.W2;
    }
};

// Which part of the work a block does.
template <typename T>
struct ForwardPart {
    int m0, n0, group, number;  // first row, first filter in the group, the group, and the number of the slice

    __device__ ForwardPart(const Convolution& c, int rows) {
        const Part part(blockIdx.x, tiles(c.filters, T::N), tiles(rows, T::M));
        m0 = part.down * T::M, n0 = part.across * T::N, group = part.rest % c.groups, number = part.rest / c.groups;
    }
};

// Of a volume as it lies. Another kind of volume has another such function.
template <int COUNT, typename T, typename Stored, typename Order>
__device__ inline auto rows_under_windows(
    const Stored* x, const Convolution& c, int map0, const Windows2d<T>& windows, const Order& order
) {
    return RowsUnderWindows<Stored, T, COUNT, Order>(x + map0, c.H, c.W, c.D, windows, order);
}

// The sums of the tile that is this block's.
template <typename Math, int COUNT, typename T, typename Positions, typename Volume, typename Stored>
__device__ inline void forward_sums_of(
    const Volume& x, const Stored* w, const Convolution& c, const ForwardPart<T>& part, int slices, int stages, Positions,
    Windows2d<T>& windows, Sums& sums
) {
    windows.set([&](int row, Window& window) {
        const int m = part.m0 + row;
        if (m >= Positions::count(c)) return;
        int image, i, j;
        Positions::place(m, c, image, i, j);
        const int top = i * c.S_rows - c.P_top, left = j * c.S_columns - c.P_left;
        window = {top, left, (image * c.H + top) * c.W + left};
    });
    constexpr int STEP = STEP_OF<Stored>;
    const Slice slice(part.number, slices, tiles(c.length, STEP));
    typedef TapsInOnePiece<STEP, (COUNT > 1)> Order;
    Order order(c, slice.first, SumPacks<Stored, T, T::M, COUNT>::at());
    auto rows = rows_under_windows<COUNT, T>(x, c, part.group * c.maps, windows, order);
    ColumnsOfFilters<Stored, T, COUNT, Order> columns(w + (long long)part.group * c.filters * c.length, order, part.n0);
    multiply_on_tensor_cores<T, Math>(order, rows, columns, slice.steps(), stages, sums);
}

// What becomes of the results: plus the bias, where there is one, not below `least`, and stored. Of a slice the sums alone, among
// the parts.
template <typename Math, int COUNT, typename T, typename Volume, typename Stored>
__device__ inline void forward_on_tensor_cores(
    const Volume& x, const Stored* w, const real* b, Stored* y, real* parts, const Convolution& c, int y_row, real least, int slices, int stages,
    Windows2d<T>& windows
) {
    if constexpr (ON_TENSOR_CORES<Stored>) {
        const ForwardPart<T> part(c, c.positions);
        Sums sums = {};
        forward_sums_of<Math, COUNT>(x, w, c, part, slices, stages, RowByRow(), windows, sums);
        if (parts) b = nullptr, parts += (long long)part.number * c.positions * y_row;
        const bool packed = (c.filters | y_row) % RUN == 0 && aligned(y, parts, b);
        each_run_of<T, AlongSums, AlongSums>(sums, [&](int row, int column, Pack<float, RUN> run) {
            const int position = part.m0 + row, left = c.filters - part.n0 - column;
            if (position >= c.positions || left <= 0) return;
            const int filter = part.group * c.filters + part.n0 + column;
            const auto bias = b ? load_first(b + filter, left, packed) : Pack<real, RUN>();
#pragma unroll
            for (int lane = 0; lane < RUN; ++lane) {
                if (b) run.value[lane] += bias.value[lane];
                run.value[lane] = run.value[lane] <= least ? (float)least : run.value[lane];  // NaN stays
            }
            const long long place = (long long)position * y_row + filter;
            if (parts) store_rounded(parts + place, run, left, packed);
            else store_rounded(y + place, run, left, packed);
        });
    }
}

// The kernels' bodies.
#define FORWARD(math, count, tile) FORWARD_OF(math, count, tile, x)
#define FORWARD_OF(math, count, tile, volume)                                                                            \
    __shared__ Windows2d<tile> windows;                                                                                  \
    forward_on_tensor_cores<math, count>(                                                                                \
        volume, w, b, y, parts, CONVOLUTION_OF_NUMBERS, (int)y_row, least, (int)slices, (int)stages, windows                         \
    )
