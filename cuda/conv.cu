// Convolution as a matrix product: im2col lays the windows of a chunk out as rows of a matrix, col2im adds the gradients
// of such a matrix up again. Source: CS231n "Implementation as Matrix Multiplication".
//
// A chunk is output rows row0 up to row0+rows of `images` images from image0 on. Its matrix, columns, has a row for each
// output position (image, i, j) and F_rows*F_columns*maps columns in the order of the weights: (row in the window, column
// in it, map). Of the D maps of the volume it holds `maps` from map0 on: those of one group. The positions of a window
// stand `dilation` apart.

// Where window (i, j) has its position (row, column): i*S_rows - P_top + row*dilation, and likewise across. No position,
// and no offset D times as large, is farther from 0 than this, nor is what is added to it.
__device__ inline long long farthest(
    long long H, long long W, long long D, long long W2, long long F_rows, long long F_columns, long long S_rows,
    long long S_columns, long long P_top, long long P_left, long long dilation, long long end
) {
    const long long window = largest(F_rows, F_columns) * dilation + largest(P_top, P_left);
    return (largest(end * S_rows, W2 * S_columns) + largest(H, W) + window) * D;
}

// `x` and `dx` begin at map0 of the chunk's first image here: offsets inside a chunk are small even where the batch is not.
template <int COUNT, typename Index>
__device__ inline void im2col_packs(
    const real* x, real* columns, Index H, Index W, Index D, Index W2, Index F_rows, Index F_columns, Index S_rows,
    Index S_columns, Index P_top, Index P_left, Index dilation, Index maps, Index images, Index row0, Index rows
) {
    D /= COUNT, maps /= COUNT;
    const Index span = F_columns * maps;
    const Index gap = dilation * D - maps;  // between positions of a window's row in x; 0: it stands in one piece
    for (Index pack = first_item(); pack < images * rows * W2 * F_rows * span; pack += item_stride()) {
        const Index along = pack % span, window_row = pack / span;
        const Index f_row = window_row % F_rows, position = window_row / F_rows;
        const Index j = position % W2, i = row0 + position / W2 % rows, n = position / W2 / rows;
        const Index h = i * S_rows - P_top + f_row * dilation;
        const Index right = gap == 0 ? along : along + along / maps * gap;
        const Index offset = (j * S_columns - P_left) * D + right;  // inside row h of x
        const bool inside = 0 <= h && h < H && 0 <= offset && offset < W * D;
        Pack<real, COUNT> values = {};
        if (inside) values = load<COUNT>(x, (n * H + h) * W * D + offset);
        store(columns, pack, values);
    }
}

// x        (N, H, W, D)                               in
// columns  (images*rows*W2, F_rows*F_columns*maps)    out; not x; zeros where a window reaches over the edge
// A thread takes a pack of maps at one position of one window.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
im2col(
    const real* __restrict__ x, real* __restrict__ columns, long long H, long long W, long long D, long long W2,
    long long F_rows, long long F_columns, long long S_rows, long long S_columns, long long P_top, long long P_left,
    long long dilation, long long map0, long long maps, long long image0, long long images, long long row0, long long rows
) {
    x += image0 * H * W * D + map0;
    const bool packable = maps % WIDTH == 0 && aligned(x, columns);
    const long long values = largest(
        images * largest(H * W * D, rows * W2 * F_rows * F_columns * maps),
        farthest(H, W, D, W2, F_rows, F_columns, S_rows, S_columns, P_top, P_left, dilation, row0 + rows)
    );
    DISPATCH(
        im2col_packs, packable, values, x, columns, H, W, D, W2, F_rows, F_columns, S_rows, S_columns, P_top, P_left,
        dilation, maps, images, row0, rows
    );
}

// The number in its window of the position that stands `distance` behind its first; -1 between two of them.
template <typename Index>
__device__ inline Index number_at(Index distance, Index dilation) {
    return distance % dilation == 0 ? distance / dilation : -1;
}

// `step` is the dilation; where that is 1, of a type that says so: nothing is divided then, and more loads are under way.
template <int COUNT, typename Index, typename Step>
__device__ inline void col2im_packs(
    const real* columns, real* dx, Index H, Index W, Index D, Index W2, Index F_rows, Index F_columns, Index S_rows,
    Index S_columns, Index P_top, Index P_left, Step step, Index maps, Index images, Index row0, Index rows,
    Index first, Index fresh, Index last
) {
    D /= COUNT, maps /= COUNT;
    const Index dilation = step;
    const Index height = last - first;
    const Index down_to = (F_rows - 1) * dilation + 1, across_to = (F_columns - 1) * dilation + 1;
    for (Index pack = first_item(); pack < images * height * W * maps; pack += item_stride()) {
        const Index d = pack % maps, position = pack / maps;
        const Index w = position % W, h = first + position / W % height, n = position / W / height;
        const Index here = ((n * H + h) * W + w) * D + d;
        const Windows<Index> down = covering<Index>(h + P_top, down_to, S_rows, row0, row0 + rows);
        const Windows<Index> across = covering<Index>(w + P_left, across_to, S_columns, 0, W2);
        Pack<real, COUNT> sum = {};
        if (h < fresh) sum = load<COUNT>(dx, here);
        for (Index i = down.first; i < down.last; ++i) {
            const Index f_row = number_at(h + P_top - i * S_rows, dilation);
            if (f_row < 0) continue;
#pragma unroll (sizeof(Index) == 4 ? 4 : 1)  // more 64-bit addresses at once than that would spill
            for (Index j = across.first; j < across.last; ++j) {
                const Index f_column = number_at(w + P_left - j * S_columns, dilation);
                if (f_column < 0) continue;
                const Index window = (n * rows + i - row0) * W2 + j;
                const Index in_window = f_row * F_columns + f_column;
                const auto gradients = load<COUNT>(columns, (window * F_rows * F_columns + in_window) * maps + d);
                for (int lane = 0; lane < COUNT; ++lane) sum.value[lane] += gradients.value[lane];
            }
        }
        store(dx, here, sum);
    }
}

// columns  (images*rows*W2, F_rows*F_columns*maps)    in, the gradient of a chunk's matrix
// dx       (N, H, W, D)    rows first up to fresh: in and out, what earlier chunks of the image left is added to; rows
//                          fresh up to last: out. No other row is touched, and no other map. Not columns.
// A thread takes a pack of maps of one input position and adds the windows of the chunk that see it, in row-major order:
// cutting an image into chunks does not change a bit. Exactly 0 where no window sees it.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
col2im(
    const real* __restrict__ columns, real* __restrict__ dx, long long H, long long W, long long D, long long W2,
    long long F_rows, long long F_columns, long long S_rows, long long S_columns, long long P_top, long long P_left,
    long long dilation, long long map0, long long maps, long long image0, long long images, long long row0, long long rows,
    long long first, long long fresh, long long last
) {
    dx += image0 * H * W * D + map0;
    const bool packable = maps % WIDTH == 0 && aligned(columns, dx);
    const long long values = largest(
        images * largest(H * W * D, rows * W2 * F_rows * F_columns * maps),
        farthest(H, W, D, W2, F_rows, F_columns, S_rows, S_columns, P_top, P_left, dilation, row0 + rows)
    );
    if (dilation == 1) {
        DISPATCH(
            col2im_packs, packable, values, columns, dx, H, W, D, W2, F_rows, F_columns, S_rows, S_columns, P_top,
            P_left, Size<1>(), maps, images, row0, rows, first, fresh, last
        );
    } else {
        DISPATCH(
            col2im_packs, packable, values, columns, dx, H, W, D, W2, F_rows, F_columns, S_rows, S_columns, P_top,
            P_left, dilation, maps, images, row0, rows, first, fresh, last
        );
    }
}
