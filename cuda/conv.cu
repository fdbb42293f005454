// Convolution as a matrix product: im2col lays the windows of a chunk out as rows of a matrix, col2im adds the gradients
// of such a matrix up again. Source: CS231n "Implementation as Matrix Multiplication".
//
// A chunk is output rows row0 up to row0+rows of `images` images from image0 on. Its matrix, columns, has a row for each
// output position (image, i, j) and F_rows*F_columns*maps columns in the order of the weights: (row in the window, column
// in it, map). Of the D maps of the volume it holds `maps` from map0 on: those of one group. The positions of a window
// stand dilation_rows and dilation_columns apart.

// Where window (i, j) has its position (row, column): i*S_rows - P_top + row*dilation_rows, and likewise across. No position,
// and no offset D times as large, is farther from 0 than this, nor is what is added to it.
__device__ inline long long farthest(
    long long H, long long W, long long D, long long W2, long long F_rows, long long F_columns, long long S_rows,
    long long S_columns, long long P_top, long long P_left, long long dilation_rows, long long dilation_columns,
    long long end
) {
    const long long window = largest(F_rows * dilation_rows, F_columns * dilation_columns) + largest(P_top, P_left);
    return (largest(end * S_rows, W2 * S_columns) + largest(H, W) + window) * D;
}

// `x` and `dx` begin at map0 of the chunk's first image here: offsets inside a chunk are small even where the batch is not.
template <int COUNT, typename Index>
__device__ inline void im2col_packs(
    const real* x, real* columns, Index H, Index W, Index D, Divisor<Index> W2, Divisor<Index> F_rows,
    Divisor<Index> span, Index S_rows, Index S_columns, Index P_top, Index P_left, Index dilation_rows,
    Index dilation_columns, Divisor<Index> maps, Index images, Index row0, Divisor<Index> rows
) {
    const Index gap = dilation_columns * D - maps;  // between positions of a window's row in x; 0: it stands in one piece
    const Index values = images * rows * W2 * F_rows * span;
    each_pack<COUNT>(values, [=](Index item) {
        const Index window_row = item / span, along = item - window_row * span.number;
        const Index position = window_row / F_rows, f_row = window_row - position * F_rows.number;
        const Index line = position / W2, j = position - line * W2.number;
        const Index n = line / rows, i = row0 + line - n * rows.number;
        const Index h = i * S_rows - P_top + f_row * dilation_rows;
        const Index right = gap == 0 ? along : along + along / maps * gap;
        const Index offset = (j * S_columns - P_left) * D + right;  // inside row h of x
        const bool inside = 0 <= h && h < H && 0 <= offset && offset < W * D;
        Pack<real, COUNT> held = {};
        if (inside) held = load<COUNT>(x + ((n * H + h) * W * D + offset));
        store(columns + item, held);
    });
}

// x        (N, H, W, D)                               in
// columns  (images*rows*W2, F_rows*F_columns*maps)    out; not x; zeros where a window reaches over the edge
// The last numbers are the magics of F_columns*maps, F_rows, maps, W2 and rows. A thread takes a pack of maps at one
// position of one window.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
im2col(
    const real* __restrict__ x, real* __restrict__ columns, long long H, long long W, long long D, long long W2,
    long long F_rows, long long F_columns, long long S_rows, long long S_columns, long long P_top, long long P_left,
    long long dilation_rows, long long dilation_columns, long long map0, long long maps, long long image0, long long images,
    long long row0, long long rows, long long magic_span, long long magic_F_rows, long long magic_maps,
    long long magic_W2, long long magic_rows
) {
    x += image0 * H * W * D + map0;
    const bool packable = maps % WIDTH == 0 && aligned(x, columns);
    const long long values = largest(
        images * largest(H * W * D, rows * W2 * F_rows * F_columns * maps),
        farthest(
            H, W, D, W2, F_rows, F_columns, S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns, row0 + rows
        )
    );
    const By by_span = {F_columns * maps, magic_span}, by_F_rows = {F_rows, magic_F_rows}, by_maps = {maps, magic_maps};
    const By by_W2 = {W2, magic_W2}, by_rows = {rows, magic_rows};
    DISPATCH(
        im2col_packs, packable, values, x, columns, H, W, D, by_W2, by_F_rows, by_span, S_rows, S_columns, P_top, P_left,
        dilation_rows, dilation_columns, by_maps, images, row0, by_rows
    );
}

// The number in its window of the position that stands `distance` behind its first; -1 between two of them.
template <typename Index>
__device__ inline Index number_at(Index distance, Divisor<Index> dilation) {
    const Index number = distance / dilation;
    return number * dilation.number == distance ? number : -1;
}

template <typename Index>
__device__ inline Index number_at(Index distance, Size<1>) { return distance; }

// `Step` is a divisor of these indices, or where both dilations are 1 a type that says so: more loads are under way then.
template <int COUNT, typename Index, typename Step>
__device__ inline void col2im_steps(
    const real* columns, real* dx, Index H, Divisor<Index> W, Index D, Index W2, Index F_rows, Index F_columns,
    Divisor<Index> S_rows, Divisor<Index> S_columns, Index P_top, Index P_left, Step dilation_rows, Step dilation_columns,
    Divisor<Index> maps, Index images, Index row0, Index rows, Index first, Index fresh, Divisor<Index> height
) {
    const Index down_to = (F_rows - 1) * dilation_rows + 1, across_to = (F_columns - 1) * dilation_columns + 1;
    each_pack<COUNT>(images * height * W * maps, [=](Index item) {
        const Place<Index> at = place_of(item, height, W, maps);
        const Index h = first + at.row, w = at.column;
        const Index here = ((at.n * H + h) * W + w) * D + at.d;
        const Windows<Index> down = covering<Index>(h + P_top, down_to, S_rows, row0, row0 + rows);
        const Windows<Index> across = covering<Index>(w + P_left, across_to, S_columns, 0, W2);
        Pack<real, COUNT> sum = {};
        if (h < fresh) sum = load<COUNT>(dx + here);
        for (Index i = down.first; i < down.last; ++i) {
            const Index f_row = number_at<Index>(h + P_top - i * S_rows, dilation_rows);
            if (f_row < 0) continue;
#pragma unroll (sizeof(Index) == 4 ? 4 : 1)  // more 64-bit addresses at once than that would spill
            for (Index j = across.first; j < across.last; ++j) {
                const Index f_column = number_at<Index>(w + P_left - j * S_columns, dilation_columns);
                if (f_column < 0) continue;
                const Index window = (at.n * rows + i - row0) * W2 + j;
                const Index in_window = f_row * F_columns + f_column;
                const auto gradients = load<COUNT>(columns + ((window * F_rows * F_columns + in_window) * maps + at.d));
                for (int lane = 0; lane < COUNT; ++lane) sum.value[lane] += gradients.value[lane];
            }
        }
        store(dx + here, sum);
    });
}

template <int COUNT, typename Index>
__device__ inline void col2im_packs(
    const real* columns, real* dx, Index H, By W, Index D, Index W2, Index F_rows, Index F_columns, By S_rows,
    By S_columns, Index P_top, Index P_left, By dilation_rows, By dilation_columns, By maps, Index images, Index row0,
    Index rows, Index first, Index fresh, By height
) {
    if (dilation_rows.number == 1 && dilation_columns.number == 1) {
        col2im_steps<COUNT, Index>(
            columns, dx, H, W, D, W2, F_rows, F_columns, S_rows, S_columns, P_top, P_left, Size<1>(), Size<1>(), maps,
            images, row0, rows, first, fresh, height
        );
    } else {
        col2im_steps<COUNT, Index>(
            columns, dx, H, W, D, W2, F_rows, F_columns, S_rows, S_columns, P_top, P_left,
            Divisor<Index>(dilation_rows), Divisor<Index>(dilation_columns), maps, images, row0, rows, first, fresh, height
        );
    }
}

// columns  (images*rows*W2, F_rows*F_columns*maps)    in, the gradient of a chunk's matrix
// dx       (N, H, W, D)    rows first up to fresh: in and out, what earlier chunks of the image left is added to; rows
//                          fresh up to last: out. No other row is touched, and no other map. Not columns.
// A thread takes a pack of maps of one input position and adds the windows of the chunk that see it, in row-major order:
// cutting an image into chunks does not change a bit. Exactly 0 where no window sees it. The last numbers are the magics
// of W, S_rows, S_columns, dilation_rows, dilation_columns, maps and last - first.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
col2im(
    const real* __restrict__ columns, real* __restrict__ dx, long long H, long long W, long long D, long long W2,
    long long F_rows, long long F_columns, long long S_rows, long long S_columns, long long P_top, long long P_left,
    long long dilation_rows, long long dilation_columns, long long map0, long long maps, long long image0, long long images,
    long long row0, long long rows, long long first, long long fresh, long long last, long long magic_W,
    long long magic_S_rows, long long magic_S_columns, long long magic_dilation_rows, long long magic_dilation_columns,
    long long magic_maps, long long magic_height
) {
    dx += image0 * H * W * D + map0;
    const bool packable = maps % WIDTH == 0 && aligned(columns, dx);
    const long long values = largest(
        images * largest(H * W * D, rows * W2 * F_rows * F_columns * maps),
        farthest(
            H, W, D, W2, F_rows, F_columns, S_rows, S_columns, P_top, P_left, dilation_rows, dilation_columns, row0 + rows
        )
    );
    const By by_W = {W, magic_W}, by_S_rows = {S_rows, magic_S_rows}, by_S_columns = {S_columns, magic_S_columns};
    const By by_dilation_rows = {dilation_rows, magic_dilation_rows};
    const By by_dilation_columns = {dilation_columns, magic_dilation_columns};
    const By by_maps = {maps, magic_maps}, by_height = {last - first, magic_height};
    DISPATCH(
        col2im_packs, packable, values, columns, dx, H, by_W, D, W2, F_rows, F_columns, by_S_rows, by_S_columns, P_top,
        P_left, by_dilation_rows, by_dilation_columns, by_maps, images, row0, rows, first, fresh, by_height
    );
}
