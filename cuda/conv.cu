// Convolution as a matrix product: im2col lays the windows of a chunk out as rows of a matrix, col2im adds the gradients
// of such a matrix up again. Source: CS231n "Implementation as Matrix Multiplication".
//
// A chunk is output rows row0 up to row0+rows of `images` images from image0 on. Its matrix, columns, has a row for each
// output position (image, i, j) and F*F*D columns in the order of the weights: (row in the window, column in it, map).

// `x` and `dx` begin at the chunk's first image here: offsets inside a chunk are small even where the batch is not.
template <int COUNT, typename Index>
__device__ inline void im2col_packs(
    const real* x, real* columns, Index H, Index W, Index D, Index W2, Index F, Index S, Index P, Index images,
    Index row0, Index rows
) {
    D /= COUNT;
    const Index span = F * D;  // one row of a window stands in one piece, in x as in columns
    for (Index pack = first_item(); pack < images * rows * W2 * F * span; pack += item_stride()) {
        const Index along = pack % span, window_row = pack / span;
        const Index f_row = window_row % F, position = window_row / F;
        const Index j = position % W2, i = row0 + position / W2 % rows, n = position / W2 / rows;
        const Index h = i * S - P + f_row, offset = (j * S - P) * D + along;  // offset inside row h of x
        const bool inside = 0 <= h && h < H && 0 <= offset && offset < W * D;
        Pack<real, COUNT> values = {};
        if (inside) values = load<COUNT>(x, (n * H + h) * W * D + offset);
        store(columns, pack, values);
    }
}

// x        (N, H, W, D)               in
// columns  (images*rows*W2, F*F*D)    out; not x; zeros where a window reaches over the edge
// A thread takes a pack of maps at one position of one window.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
im2col(
    const real* __restrict__ x, real* __restrict__ columns, long long H, long long W, long long D, long long W2,
    long long F, long long S, long long P, long long image0, long long images, long long row0, long long rows
) {
    x += image0 * H * W * D;
    const bool packable = D % WIDTH == 0 && aligned(x, columns);
    const long long values = largest(images * D * largest(H * W, rows * W2 * F * F), reach(H, W, D, S, P));
    DISPATCH(im2col_packs, packable, values, x, columns, H, W, D, W2, F, S, P, images, row0, rows);
}

template <int COUNT, typename Index>
__device__ inline void col2im_packs(
    const real* columns, real* dx, Index H, Index W, Index D, Index W2, Index F, Index S, Index P, Index images,
    Index row0, Index rows, Index first, Index fresh, Index last
) {
    D /= COUNT;
    const Index height = last - first;
    for (Index pack = first_item(); pack < images * height * W * D; pack += item_stride()) {
        const Index d = pack % D, position = pack / D;
        const Index w = position % W, h = first + position / W % height, n = position / W / height;
        const Index here = ((n * H + h) * W + w) * D + d;
        const Windows<Index> down = covering<Index>(h + P, F, S, row0, row0 + rows);
        const Windows<Index> across = covering<Index>(w + P, F, S, 0, W2);
        Pack<real, COUNT> sum = {};
        if (h < fresh) sum = load<COUNT>(dx, here);
        for (Index i = down.first; i < down.last; ++i) {
            for (Index j = across.first; j < across.last; ++j) {
                const Index window = (n * rows + i - row0) * W2 + j;
                const Index in_window = (h + P - i * S) * F + (w + P - j * S);
                const auto gradients = load<COUNT>(columns, (window * F * F + in_window) * D + d);
                for (int lane = 0; lane < COUNT; ++lane) sum.value[lane] += gradients.value[lane];
            }
        }
        store(dx, here, sum);
    }
}

// columns  (images*rows*W2, F*F*D)    in, the gradient of a chunk's matrix
// dx       (N, H, W, D)               rows first up to fresh: in and out, what earlier chunks of the image left is added to;
//                                     rows fresh up to last: out. No other row is touched. Not columns.
// A thread takes a pack of maps of one input position and adds the windows of the chunk that cover it, in row-major order:
// cutting an image into chunks does not change a bit. Exactly 0 where no window covers it.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
col2im(
    const real* __restrict__ columns, real* __restrict__ dx, long long H, long long W, long long D, long long W2,
    long long F, long long S, long long P, long long image0, long long images, long long row0, long long rows,
    long long first, long long fresh, long long last
) {
    dx += image0 * H * W * D;
    const bool packable = D % WIDTH == 0 && aligned(columns, dx);
    const long long values = largest(images * D * largest(H * W, rows * W2 * F * F), reach(H, W, D, S, P));
    DISPATCH(
        col2im_packs, packable, values, columns, dx, H, W, D, W2, F, S, P, images, row0, rows, first, fresh, last
    );
}
