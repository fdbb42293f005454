// What the products of a convolution read: windows of a volume as rows of a matrix, gathered where they stand; no such
// matrix is ever made. A window sees the taps (row, column) of its filter, at each of them all maps of a group.

#include "tile.cuh"

// A convolution as kernels take it; gpunet.program.filters.ConvShape. All of it fits into an int, and so does every number
// of a position: gpunet/devices/cuda/implicit.py sees to that.
struct Convolution {
    int N, H, W, D, H2, W2, K, groups, F_rows, F_columns, S_rows, S_columns, P_top, P_left;
    int dilation_rows, dilation_columns;
    int maps, filters, length, positions;  // D/groups, K/groups; weights of a filter; windows. Given, they take no registers
};

#define CONVOLUTION                                                                                                  \
    long long N, long long H, long long W, long long D, long long H2, long long W2, long long K, long long groups,   \
        long long F_rows, long long F_columns, long long S_rows, long long S_columns, long long P_top,               \
        long long P_left, long long dilation_rows, long long dilation_columns, long long maps, long long filters,    \
        long long length, long long positions

#define CONVOLUTION_OF_NUMBERS                                                                                        \
    {(int)N, (int)H, (int)W, (int)D, (int)H2, (int)W2, (int)K, (int)groups, (int)F_rows, (int)F_columns, (int)S_rows, \
     (int)S_columns, (int)P_top, (int)P_left, (int)dilation_rows, (int)dilation_columns, (int)maps, (int)filters,         \
     (int)length, (int)positions}

// Stores 16 bytes that belong together at once, so that threads which store side by side find banks of their own.
template <typename Whole>
__device__ inline void store_whole(Whole* place, const Whole& value) {
    static_assert(sizeof(Whole) == 16, "one instruction stores 16 bytes");
    Pack<int, 4> words;
    memcpy(&words, &value, sizeof words);
    store(reinterpret_cast<int*>(place), words);
}

// Rows of a matrix that are windows of a volume of images x H x W positions, D values apart, of which `map0` is the first
// of the group. The order says for each step which values of a window a thread takes: `rows` and `columns` of the input behind the
// first tap, and how far along() the values of a position; and whether they are inside() of the sum. Until the next turn only
// the last of these changes. Call put_row or put_nothing for each pack first.
template <typename Stored, typename T, int COUNT, typename Order>
struct UnderWindows : AlongSum<Stored, T, T::M, COUNT> {
    using Share = AlongSum<Stored, T, T::M, COUNT>;
    const Stored* x;
    int H, W, D, map0;
    const Order& order;
    int top[Share::PACKS], left[Share::PACKS], pixel[Share::PACKS];  // of each window, at its first tap
    const Stored* from[Share::PACKS];                                // of each pack, since the last turn
    bool inside[Share::PACKS];

    __device__ UnderWindows(const Stored* x, int H, int W, int D, int map0, const Order& order)
        : x(x), H(H), W(W), D(D), map0(map0), order(order) {}
    __device__ void put_row(int pack, int image, int row, int column) {
        top[pack] = row, left[pack] = column, pixel[pack] = (image * H + row) * W + column;
    }
    __device__ void put_nothing(int pack) { top[pack] = -(1 << 30), left[pack] = pixel[pack] = 0; }
    __device__ void turn() {
        const int pixels = order.rows * W + order.columns;
        const bool seen = order.inside();
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            inside[pack] = seen && (unsigned int)(top[pack] + order.rows) < (unsigned int)H &&
                           (unsigned int)(left[pack] + order.columns) < (unsigned int)W;
            from[pack] = behind(x + (map0 + order.along()), inside[pack] ? pixel[pack] + pixels : 0, D);
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
