// Windows of a volume as rows of a matrix for cuda/mma.cuh, gathered where they stand.

#include "mma.cuh"

// Where the window of a row of the tile begins, at its first tap: row and column, and the position of the batch that this is.
struct alignas(16) Window {
    int top, left, pixel;
};

constexpr int IN_NO_IMAGE = -(1 << 30);  // a row that no tap leads from into an image

// What a block has in shared memory beside the steps: of each row of the tile its window.
template <typename T>
struct Windows2d {
    Window of[T::M];

    // place(row, window) says it for each row of the tile, each by one thread.
    template <typename Place>
    __device__ void set(Place place) {
        for (int row = threadIdx.x; row < T::M; row += T::THREADS) {
            Window window = {IN_NO_IMAGE, 0, 0};
            place(row, window);
            store_whole(&of[row], window);
        }
    }
};

// Rows that are windows of a volume of images x H x W positions, D values apart, of which x is the first of the group. The order
// says for each step which values of a window a thread takes: `rows` and `columns` of the input behind the first tap, and how
// far along() the values of a position; and whether they are inside() of the sum. Packs of one value are looked for at each
// step, for which the order goes on one by one.
template <typename Stored, typename T, int COUNT, typename Order>
struct RowsUnderWindows : SumPacks<Stored, T, T::M, COUNT>, Mover<Stored, COUNT, SumPacks<Stored, T, T::M, COUNT>::PACKS> {
    using Share = SumPacks<Stored, T, T::M, COUNT>;
    static constexpr int FOUND = COUNT > 1 ? Share::PACKS : 1;
    const Stored* x;
    int H, W, D;
    const Windows2d<T>& windows;
    const Order& order;
    const Stored* from[FOUND];  // of each pack, since the last turn
    bool inside[FOUND];

    __device__ RowsUnderWindows(const Stored* x, int H, int W, int D, const Windows2d<T>& windows, const Order& order)
        : x(x), H(H), W(W), D(D), windows(windows), order(order) {}
    __device__ const Stored* find(int pack, bool& is_inside) const {
        const Window window = windows.of[Share::Layout::row_of(Share::slot(pack))];
        is_inside = order.inside() && (unsigned int)(window.top + order.rows) < (unsigned int)H &&
                    (unsigned int)(window.left + order.columns) < (unsigned int)W;
        return behind(x + order.along(), is_inside ? window.pixel + order.rows * W + order.columns : 0, D);
    }
    __device__ void turn() {
        if constexpr (COUNT > 1) {
#pragma unroll
            for (int pack = 0; pack < Share::PACKS; ++pack) from[pack] = find(pack, inside[pack]);
        }
    }
    __device__ void begin(int further, unsigned char* values) {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            if constexpr (COUNT > 1) {
                Mover<Stored, COUNT, Share::PACKS>::begin(
                    pack, values + Share::place(pack), from[pack] + further * STEP_OF<Stored>, inside[pack]
                );
            } else {
                bool is_inside;
                const Stored* const place = find(pack, is_inside);
                Mover<Stored, COUNT, Share::PACKS>::begin(pack, values + Share::place(pack), place, is_inside);
            }
        }
    }
    __device__ void finish(unsigned char* values) {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            Mover<Stored, COUNT, Share::PACKS>::end(pack, values + Share::place(pack));
        }
    }
};

// Calls body(row, column, run) for each run of four results of this thread that lie side by side, row and column within the tile.
// All lanes of a warp come here together.
template <typename T, typename Left, typename Right, typename Body>
__device__ inline void each_run_of(const Sums& sums, Body body) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int lower = 0; lower < 2; ++lower) {
            const int row = T::row() + Left::row(i, lower);
#pragma unroll
            for (int second = 0; second < 2; ++second) {
                body(row, T::column() + Right::column(second), Right::run(sums[i], lower, second));
            }
        }
    }
}

// The first `left` of four values, then zeros; loaded at once where they are packed, and all of them there.
template <typename T>
__device__ inline Pack<T, RUN> load_first(const T* place, int left, bool packed) {
    if (packed) return load<RUN>(place);
    Pack<T, RUN> run = {};
#pragma unroll
    for (int lane = 0; lane < RUN; ++lane) {
        if (lane < left) run.value[lane] = place[lane];
    }
    return run;
}

// Stores the first `left` values of a run, each rounded once; whole where it is packed and all of them are there.
template <typename Stored>
__device__ inline void store_rounded(Stored* place, const Pack<float, RUN>& run, int left, bool packed) {
    if (packed) {
        store(place, run);
        return;
    }
#pragma unroll
    for (int lane = 0; lane < RUN; ++lane) {
        if (lane < left) place[lane] = run.value[lane];
    }
}
