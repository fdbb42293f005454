// Convolution without sharing: every output position has filters of its own and is a small matrix product by itself.
// Source: CS231n "Convolutional Layer", on locally-connected layers; products by tiles: CUDA C++ Programming Guide.
//
// N images of H x W x D; outputs H2 x W2 x K; windows of F x F at stride S, P zeros around the input. A window holds
// L = F*F*D values in the order (row in it, column in it, map).

constexpr int TILE = 32;             // rows and columns of a product that a block makes at a time
constexpr int APART = BLOCK / TILE;  // a thread makes every 8th value of a column of them
constexpr int EACH = TILE / APART;   // so many

// What a block has in hand of both factors: 32 steps of the sums, by step and then by row or column of the product. The
// value that is too many in each row keeps threads that write one below the other out of each other's way.
struct Hand {
    real left[TILE][TILE + 1], right[TILE][TILE + 1];
};

template <typename Index>
struct Sizes {
    Index N, H, D, H2, K, F, P;
    Divisor<Index> W, W2, S, FD;  // FD = F * D: values of a row of a window

    __device__ inline Index L() const { return F * FD; }

    // Value `step` of the window whose first row and first offset inside a row are these, in image n of x; 0 outside.
    __device__ inline real seen(const stored* x, Index n, Index top, Index left, Index step) const {
        const Index row = step / FD, h = top + row, along = left + step - row * FD.number;
        return 0 <= h && h < H && 0 <= along && along < W * D ? x[(n * H + h) * W * D + along] : real(0);
    }

    // Where the window of an output position begins: its row, and its offset inside a row of x.
    __device__ inline Index top_of(Index position) const { return position / W2 * S - P; }
    __device__ inline Index left_of(Index position) const { return (position % W2 * S - P) * D; }
};

// What the kernels are told, for 32-bit indices where they suffice.
struct Told {
    long long N, H, W, D, H2, W2, K, F, S, P, magic_W, magic_W2, magic_S, magic_FD;

    template <typename Index>
    __device__ inline Sizes<Index> as() const {
        return {
            (Index)N, (Index)H, (Index)D, (Index)H2, (Index)K, (Index)F, (Index)P, By{W, magic_W}, By{W2, magic_W2},
            By{S, magic_S}, By{F * D, magic_FD}
        };
    }

    __device__ inline bool small() const {
        const long long volumes = N * largest(H * W * D, H2 * W2 * K), weights = H2 * W2 * K * F * F * D;
        return largest(largest(volumes, weights), reach(H, W, D, S, P)) < SMALL;
    }
};

// The tile of one product that a block works on: of product `place`, rows from `row` on, columns from `column` on.
template <typename Index>
struct Tile {
    Index place, row, column, rows, columns;

    // sum[e] is of the row that is e*APART below this thread's, of its column.
    __device__ inline Index row_of(int e) const { return row + threadIdx.x / TILE + e * APART; }
    __device__ inline Index column_of() const { return column + threadIdx.x % TILE; }
    __device__ inline bool has(int e) const { return row_of(e) < rows && column_of() < columns; }
};

// Calls body(tile) for the tiles that this block takes, of `products` products of rows x columns.
template <typename Index, typename Body>
__device__ inline void each_tile(Index products, Index rows, Index columns, Body body) {
    const Index down = (rows + TILE - 1) / TILE, across = (columns + TILE - 1) / TILE;
    for (Index item = blockIdx.x; item < products * down * across; item += gridDim.x) {
        body(Tile<Index>{item / down / across, item % down * TILE, item / down % across * TILE, rows, columns});
    }
}

// part[step][line] = value(line, step) for the lines and steps of a tile. Threads side by side take steps side by side
// where ALONG, else lines: whichever lie side by side in memory.
template <bool ALONG, typename Value>
__device__ inline void take(real (&part)[TILE][TILE + 1], Value value) {
    const int fast = threadIdx.x % TILE;
    for (int slow = threadIdx.x / TILE; slow < TILE; slow += APART) {
        if (ALONG) part[fast][slow] = value(slow, fast);
        else part[slow][fast] = value(fast, slow);
    }
}

// sum[e] += left(row, step) * right(column, step) for all steps, in order. Every thread of the block must call it.
template <bool LEFT_ALONG, bool RIGHT_ALONG, typename Index, typename Left, typename Right>
__device__ inline void add_products(
    real (&sum)[EACH], Hand& hand, Tile<Index> tile, Index steps, Left left, Right right
) {
    for (Index first = 0; first < steps; first += TILE) {
        __syncthreads();  // what was in hand has been used
        take<LEFT_ALONG>(hand.left, [&](int line, int step) {
            return tile.row + line < tile.rows && first + step < steps ? left(tile.row + line, first + step) : real(0);
        });
        take<RIGHT_ALONG>(hand.right, [&](int line, int step) {
            return tile.column + line < tile.columns && first + step < steps ? right(tile.column + line, first + step)
                                                                             : real(0);
        });
        __syncthreads();
#pragma unroll (sizeof(Index) == 4 ? 4 : 1)  // more at once would spill with 64-bit indices
        for (int step = 0; step < TILE && first + step < steps; ++step) {
            const real factor = hand.right[step][threadIdx.x % TILE];
            for (int e = 0; e < EACH; ++e) sum[e] += hand.left[step][threadIdx.x / TILE + e * APART] * factor;
        }
    }
}

template <typename Index>
__device__ inline void outputs(
    const stored* x, const real* w, const real* b, stored* y, Hand& hand, Sizes<Index> of
) {
    const Index positions = of.H2 * of.W2, K = of.K, L = of.L();
    each_tile<Index>(positions, of.N, K, [&](Tile<Index> tile) {
        const Index top = of.top_of(tile.place), left = of.left_of(tile.place);
        real sum[EACH] = {};
        add_products<true, true>(
            sum, hand, tile, L, [&](Index n, Index step) { return of.seen(x, n, top, left, step); },
            [&](Index k, Index step) { return w[(tile.place * K + k) * L + step]; }
        );
        for (int e = 0; e < EACH; ++e) {
            const Index value = tile.place * K + tile.column_of();
            if (tile.has(e)) y[tile.row_of(e) * positions * K + value] = sum[e] + b[value];
        }
    });
}

// x  (N, H, W, D)          in
// w  (H2, W2, K, F, F, D)  in
// b  (H2, W2, K)           in
// y  (N, H2, W2, K)        out; none of the others
// A block takes 32 images and 32 filters of one position, a thread four of the images and one filter.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
local_forward(
    const stored* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, stored* __restrict__ y,
    long long N, long long H, long long W, long long D, long long H2, long long W2, long long K, long long F,
    long long S, long long P,
    long long magic_W, long long magic_W2, long long magic_S, long long magic_FD
) {
    __shared__ Hand hand;
    const Told told = {N, H, W, D, H2, W2, K, F, S, P, magic_W, magic_W2, magic_S, magic_FD};
    if (told.small()) outputs(x, w, b, y, hand, told.as<int>());
    else outputs(x, w, b, y, hand, told.as<long long>());
}

template <typename Index>
__device__ inline void weight_gradients(
    const stored* x, const stored* dy, real* dw, Hand& hand, Sizes<Index> of, bool accumulate
) {
    const Index positions = of.H2 * of.W2, K = of.K, L = of.L();
    each_tile<Index>(positions, K, L, [&](Tile<Index> tile) {
        const Index top = of.top_of(tile.place), left = of.left_of(tile.place);
        real sum[EACH] = {};
        add_products<false, false>(
            sum, hand, tile, of.N, [&](Index k, Index n) { return dy[(n * positions + tile.place) * K + k]; },
            [&](Index step, Index n) { return of.seen(x, n, top, left, step); }
        );
        for (int e = 0; e < EACH; ++e) {
            const Index value = (tile.place * K + tile.row_of(e)) * L + tile.column_of();
            if (tile.has(e)) dw[value] = accumulate ? dw[value] + sum[e] : sum[e];
        }
    });
}

// x   (N, H, W, D)          in
// dy  (N, H2, W2, K)        in
// dw  (H2, W2, K, F, F, D)  out; where accumulate is 1, in and out: added to; none of the others
// A block takes 32 filters and 32 of their values at one position, a thread four of the filters and one value; images
// are added up in order.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
local_backward_weights(
    const stored* __restrict__ x, const stored* __restrict__ dy, real* __restrict__ dw, long long N, long long H,
    long long W, long long D, long long H2, long long W2, long long K, long long F, long long S, long long P,
    long long magic_W, long long magic_W2, long long magic_S, long long magic_FD, long long accumulate
) {
    __shared__ Hand hand;
    const Told told = {N, H, W, D, H2, W2, K, F, S, P, magic_W, magic_W2, magic_S, magic_FD};
    if (told.small()) weight_gradients(x, dy, dw, hand, told.as<int>(), accumulate != 0);
    else weight_gradients(x, dy, dw, hand, told.as<long long>(), accumulate != 0);
}

template <typename Index>
__device__ inline void input_gradients(const stored* dy, const real* w, stored* dx, Hand& hand, Sizes<Index> of) {
    const Index W = of.W, D = of.D, K = of.K, image = of.H2 * of.W2 * K, filter = of.L();
    each_tile<Index>(of.H * W, of.N, D, [&](Tile<Index> tile) {
        const Index row = tile.place / of.W, column = tile.place - row * W;
        real sum[EACH] = {};
        each_window<Index>(row, column, of.F, of.S, of.P, of.H2, of.W2, [&](Index i, Index j) {
            // Of the first image and the first filter; found once, or there would be too few registers.
            const Index position = i * of.W2 + j, in_window = (row + of.P - i * of.S) * of.F + column + of.P - j * of.S;
            const stored* gradients = dy + position * K;
            const real* weights = w + position * K * filter + in_window * D;
            add_products<true, false>(
                sum, hand, tile, K, [&](Index n, Index k) { return gradients[n * image + k]; },
                [&](Index d, Index k) { return weights[k * filter + d]; }
            );
        });
        for (int e = 0; e < EACH; ++e) {
            if (tile.has(e)) dx[(tile.row_of(e) * of.H * W + tile.place) * D + tile.column_of()] = sum[e];
        }
    });
}

// dy  (N, H2, W2, K)        in
// w   (H2, W2, K, F, F, D)  in
// dx  (N, H, W, D)          out; none of the others; exactly 0 where no window looks
// A block takes 32 images and 32 maps of one input position, a thread four of the images and one map; it adds the
// windows that see the position in row-major order, of each all filters.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
local_backward_input(
    const stored* __restrict__ dy, const real* __restrict__ w, stored* __restrict__ dx, long long N, long long H,
    long long W, long long D, long long H2, long long W2, long long K, long long F, long long S, long long P,
    long long magic_W, long long magic_W2, long long magic_S, long long magic_FD
) {
    __shared__ Hand hand;
    const Told told = {N, H, W, D, H2, W2, K, F, S, P, magic_W, magic_W2, magic_S, magic_FD};
    if (told.small()) input_gradients(dy, w, dx, hand, told.as<int>());
    else input_gradients(dy, w, dx, hand, told.as<long long>());
}
