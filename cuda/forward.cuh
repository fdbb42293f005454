// Convolution as a matrix product without its matrix: y[position, filter] = sum over (f_row, f_col, d) of x * w. A block
// makes one tile of the results of a group, for one slice of the sum.

#include "gather.cuh"

// The sum of a window in one piece, tap by tap and map by map: the values of a step may belong to several taps. Each thread
// is at a tap of its own.
struct InOnePiece {
    const Convolution& c;
    int l, d;           // place in the sum, map
    int rows, columns;  // from the first tap to this one

    __device__ InOnePiece(const Convolution& c) : c(c) {}
    __device__ void start(int step, int place) {
        l = step * DEPTH + place;
        const int tap = l / c.maps, row = tap / c.F_columns;
        d = l - tap * c.maps, rows = row * c.dilation_rows, columns = (tap - row * c.F_columns) * c.dilation_columns;
    }
    __device__ void next() {
        l += DEPTH;
        for (d += DEPTH; d >= c.maps; d -= c.maps) {
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
    const Convolution& c;
    const InOnePiece& order;  // that of the windows, which goes on before this does
    int left, first;          // filters of the group from this thread's first one on, and where its weights begin

    __device__ FilterRows(const Stored* w, const Convolution& c, const InOnePiece& order, int group, int n0)
        : w(w), c(c), order(order), left(c.filters - n0 - Share::row(0)) {
        first = (group * c.filters + n0 + Share::row(0)) * c.length;
    }
    __device__ void next() {}
    __device__ void fetch() {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            const int further = Share::row(pack) - Share::row(0);
            this->held[pack] = {};
            if (further < left && order.inside()) {
                this->held[pack] = load<COUNT>(w + (further * c.length + first + order.l), 0);
            }
        }
    }
};

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
template <int COUNT, typename T, typename Positions>
__device__ inline void forward_sums(
    const real* x, const real* w, const Convolution& c, int slices, Positions, Stages<real, T>& stages,
    real (&sum)[T::ROWS][T::COLUMNS]
) {
    const Part part(blockIdx.x, tiles(c.filters, T::N), tiles(Positions::count(c), T::M));
    const int m0 = part.down * T::M, n0 = part.across * T::N, group = part.rest % c.groups, number = part.rest / c.groups;
    const Slice slice(number, slices, tiles(c.length, DEPTH));
    UnderWindows<real, T, COUNT, InOnePiece> windows(x, c.H, c.W, c.D, group * c.maps, {c});
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
    FilterRows<real, T, COUNT> rows(w, c, windows.order, group, n0);
    windows.start(slice.first);
    keep(stages, m0, n0, group, number);
    multiply<T>(windows, rows, slice.steps(), stages, sum);
}
