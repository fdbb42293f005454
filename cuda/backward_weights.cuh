// The gradient of a convolution's weights as a matrix product without its matrix: dw[filter, (tap, map)] = sum over all
// positions of dy * x. A block makes one tile of the results of a group, for one slice of the positions.

#include "gather.cuh"

// The filters of a group as rows of a matrix, their gradients at one position after the other.
template <typename Stored, typename T, int COUNT>
struct GradientRows : AlongSide<Stored, T, T::M, COUNT> {
    using Share = AlongSide<Stored, T, T::M, COUNT>;
    const Stored* dy;
    int K, filter, position, end;  // filter of this thread; first position of the step, and the end of all

    __device__ GradientRows(const Stored* dy, const Convolution& c, int group, int m0)
        : dy(dy), K(c.K), filter(group * c.filters + m0 + Share::row()) {
        end = m0 + Share::row() < c.filters ? c.positions : 0;  // of what is no filter there is nothing
    }
    __device__ void start(int step) { position = step * DEPTH; }
    __device__ void next() { position += DEPTH; }
    __device__ void fetch() {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            const int at = position + Share::at(pack);
            this->held[pack] = {};
            if (at < end) this->held[pack] = load<COUNT>(behind(dy + filter, at, K), 0);
        }
    }
};

// What going along the windows takes, in positions of the input: from one window to the next that a thread looks at; from
// the first of a row of windows to behind its last, and from the first row to behind the last; and on to the next row and
// the next image, in positions of the batch. Made on the host: such numbers take no registers.
struct Way {
    int step, row, image, row_pixels, image_pixels;
};

#define WAY long long step, long long row, long long image, long long row_pixels, long long image_pixels
#define WAY_OF_NUMBERS {(int)step, (int)row, (int)image, (int)row_pixels, (int)image_pixels}

// The weights of a filter as rows of a matrix: what each of them saw, at one position after the other. A thread has one
// tap, and knows at which (h, v) of an image this stands in the window.
template <typename Stored, typename T, int COUNT>
struct SeenRows : AlongSide<Stored, T, T::N, COUNT> {
    using Share = AlongSide<Stored, T, T::N, COUNT>;
    const Stored* x;
    const Convolution& c;
    const Way& way;
    const int& position;  // that of the gradients, which goes on before this does
    int map, top, left;   // of this thread, and where it is in the first window
    int row_end, image_end;  // where v and h would stand behind the last window
    int h[Share::PACKS], v[Share::PACKS], pixel[Share::PACKS];

    __device__ SeenRows(const Stored* x, const Convolution& c, const Way& way, const int& position, int group, int n0)
        : x(x), c(c), way(way), position(position) {
        const int n = n0 + Share::row(), tap = n / c.maps, row = tap / c.F_columns;
        map = group * c.maps + n - tap * c.maps;
        top = n < c.length ? row * c.dilation_rows - c.P_top : -c.H - way.image;  // what is no weight sees nothing
        left = (tap - row * c.F_columns) * c.dilation_columns - c.P_left;
        row_end = left + way.row, image_end = top + way.image;
    }
    __device__ void start(int step) {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            const int at = step * DEPTH + Share::at(pack), line = at / c.W2, image = line / c.H2;
            h[pack] = top + (line - image * c.H2) * c.S_rows, v[pack] = left + (at - line * c.W2) * c.S_columns;
            pixel[pack] = (image * c.H + h[pack]) * c.W + v[pack];
        }
    }
    __device__ void next() {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            v[pack] += way.step, pixel[pack] += way.step;
            while (v[pack] >= row_end) {
                v[pack] -= way.row, h[pack] += c.S_rows, pixel[pack] += way.row_pixels;
                if (h[pack] >= image_end) h[pack] -= way.image, pixel[pack] += way.image_pixels;
            }
        }
    }
    __device__ void fetch() {
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            const bool inside = (unsigned int)h[pack] < (unsigned int)c.H && (unsigned int)v[pack] < (unsigned int)c.W;
            this->held[pack] = {};
            if (inside && position + Share::at(pack) < c.positions) {
                this->held[pack] = load<COUNT>(behind(x + map, pixel[pack], c.D), 0);
            }
        }
    }
};

// The gradients, which lie as they are. Another kind of gradient has another such function.
template <int COUNT, typename T>
__device__ inline auto gradient_rows(const real* dy, const Convolution& c, int group, int m0) {
    return GradientRows<real, T, COUNT>(dy, c, group, m0);
}

template <int COUNT, typename T, typename Gradient>
__device__ inline void backward_weights_tile(
    const real* x, Gradient dy, real* dw, int accumulate, const Convolution& c, const Way& way, int slices,
    Stages<real, T>& stages
) {
    const Part part(blockIdx.x, tiles(c.length, T::N), tiles(c.filters, T::M));
    const int group = part.rest % c.groups, number = part.rest / c.groups;
    const int m0 = part.down * T::M, n0 = part.across * T::N;
    const Slice slice(number, slices, tiles(c.positions, DEPTH));
    auto gradients = gradient_rows<COUNT, T>(dy, c, group, m0);
    SeenRows<real, T, COUNT> seen(x, c, way, gradients.position, group, n0);
    gradients.start(slice.first), seen.start(slice.first);
    keep(stages, m0, n0, group, number);
    real sum[T::ROWS][T::COLUMNS] = {};
    multiply<T>(gradients, seen, slice.steps(), stages, sum);

    dw += ((long long)stages.kept[3] * c.K + stages.kept[2] * c.filters) * c.length;
    const bool packed = c.length % WIDTH == 0 && aligned(dw);
    each_run<T>(sum, [&](int row, int column, Pack<real, RUN> run) {
        const int filter = stages.kept[0] + row, weight = stages.kept[1] + column;
        if (filter >= c.filters || weight >= c.length) return;
        const RunOf<WIDTH, real> place = {dw + (long long)filter * c.length + weight, c.length - weight, packed};
        if (accumulate) place.add_to(run);
        place.store_run(run);
    });
}
