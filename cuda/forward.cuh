// Convolution as a matrix product without its matrix: y[position, filter] = sum over (f_row, f_col, d) of x * w. A block
// makes one tile of the results of a group, for one slice of the sum.

#include "gather.cuh"

// The sum of a window in one piece, tap by tap and map by map. A step may reach from one tap into the next ones: then each
// thread is at a tap of its own; otherwise all are at the same, as long as it has maps.
struct InOnePiece {
    const Convolution& c;
    int place, l, d;    // of this thread in the step, in the sum, and its map
    int rows, columns;  // from the first tap to this one

    __device__ InOnePiece(const Convolution& c, int step, int place) : c(c), place(place), l(step * DEPTH + place) {
        const int tap = l / c.maps, row = tap / c.F_columns;
        d = l - tap * c.maps, rows = row * c.dilation_rows, columns = (tap - row * c.F_columns) * c.dilation_columns;
    }
    __device__ int step() const { return (l - place) / DEPTH; }
    __device__ int straight() const {
        const int tap = l - d, first = l - place;  // where they begin in the sum
        return tap <= first ? max(1, (tap + c.maps - first) / DEPTH) : 1;
    }
    __device__ void skip(int steps) {
        l += steps * DEPTH;
        for (d += steps * DEPTH; d >= c.maps; d -= c.maps) {
            columns += c.dilation_columns;
            if (columns == c.F_columns * c.dilation_columns) columns = 0, rows += c.dilation_rows;
        }
    }
    __device__ bool inside() const { return l < c.length; }
    __device__ int along() const { return d; }
};

// The filters of a group as rows of a matrix, as they lie: w is (filters, length).
template <typename Stored, typename T, int COUNT>
struct FilterRows : AlongSum<Stored, T, T::N, COUNT> {
    using Share = AlongSum<Stored, T, T::N, COUNT>;
    const Stored* w;
    const InOnePiece& order;
    int length, left, first;  // filters of the group from this thread's first one on, and where its weights begin
    const Stored* from[Share::PACKS];
    bool inside[Share::PACKS];

    __device__ FilterRows(const Stored* w, const InOnePiece& order, int group, int n0)
        : w(w), order(order), length(order.c.length), left(order.c.filters - n0 - Share::row(0)) {
        first = (group * order.c.filters + n0 + Share::row(0)) * length;
    }
    __device__ void turn() {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            const int further = Share::row(pack) - Share::row(0);
            inside[pack] = further < left && order.inside();
            from[pack] = w + (further * length + first + order.l);
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
            if (inside[pack]) this->held[pack] = load<COUNT>(from[pack] + further * DEPTH);
        }
    }
};

// The windows of a volume that lies as it is. Another kind of volume has another such function.
template <int COUNT, typename T>
__device__ inline auto windows_of(
    const real* x, const Convolution& c, int group, const InOnePiece& order, const Stages<real, T>&
) {
    return UnderWindows<real, T, COUNT, InOnePiece>(x, c.H, c.W, c.D, group * c.maps, order);
}

// The positions of the output as rows of the product, in their order.
struct InOrder {
    __device__ static int count(const Convolution& c) { return c.positions; }
    __device__ static void place(int m, const Convolution& c, int& image, int& i, int& j) {
        const int line = m / c.W2;
        image = line / c.H2, i = line - image * c.H2, j = m - line * c.W2;
    }
};

// The sums of the tile that is this block's; what stands in `kept` of the stages: its first row, its first filter in the
// group, the group, and the number of the slice.
template <int COUNT, typename T, typename Volume, typename Positions, typename Shared>
__device__ inline void forward_sums(
    Volume x, const real* w, const Convolution& c, int slices, Positions, Shared& stages,
    real (&sum)[T::ROWS][T::COLUMNS]
) {
    const Part part(blockIdx.x, tiles(c.filters, T::N), tiles(Positions::count(c), T::M));
    const int m0 = part.down * T::M, n0 = part.across * T::N, group = part.rest % c.groups, number = part.rest / c.groups;
    const Slice slice(number, slices, tiles(c.length, DEPTH));
    InOnePiece order(c, slice.first, AlongSum<real, T, T::M, COUNT>::at());
    auto windows = windows_of<COUNT, T>(x, c, group, order, stages);
#pragma unroll
    for (int pack = 0; pack < windows.PACKS; ++pack) {
        const int m = m0 + windows.row(pack);
        if (m < Positions::count(c)) {
            int image, i, j;
            Positions::place(m, c, image, i, j);
            windows.put_row(pack, image, i * c.S_rows - c.P_top, j * c.S_columns - c.P_left);
        } else {
            windows.put_nothing(pack);
        }
    }
    FilterRows<real, T, COUNT> rows(w, order, group, n0);
    keep(stages, slice.last, m0, n0, group, number);
    multiply<T>(order, windows, rows, stages, sum);
}
