// The gradient of the filters of Winograd's convolution F(2x2, 3x3), made from that behind a max-pool of 2 x 2, of which a
// tile of dy is a window; cuda/winograd_sums.cuh.

#include "behind_pool.cuh"
#include "winograd_sums.cuh"

// One filter of dy for each of 32 threads side by side, of a window for each place of the sum.
struct FiltersOfWindows : OwnMap {
    BehindPool behind;
    const Tiles& t;

    __device__ FiltersOfWindows(const BehindPool& behind, const Tiles& t, int k0, int first, int last)
        : OwnMap{k0, t.K, first, last}, behind(behind), t(t) {}
    __device__ Source start() const {
        return {nullptr, steps(), TileAt(first + place(), t.down(), t.across()), map0 + map()};
    }
    __device__ void fetch(int step, Source& source, Held& held) const {
        TileAt& at = source.at;
        held.tile[0][0] = 0, held.switches[0][0] = 0;
        if (step < source.seen && at.row < behind.H3 && at.column < behind.W3) {
            const int window = (at.image * behind.H3 + at.row) * behind.W3 + at.column;
            const int k = (int)source.place;
            held.tile[0][0] = behind.dy[apart(window, t.K) + k];
            held.switches[0][0] = half_of(behind.switches[apart(window, halves(t.K)) + k / 2], k);
        }
        at.next(STEP, t.down(), t.across());
    }
    __device__ void put(int, const Source&, Held& held, Stage& stage) const {
        Values tile;
#pragma unroll
        for (int number = 0; number < 4; ++number) {
            tile[number / 2][number % 2] = held.switches[0][0] == number ? held.tile[0][0] : real(0);
        }
        change<2, 4>(tile, gradients_to_points), put_values(tile, stage.left);
    }
};

// x         (N, H, W, D)          in
// dy        (N, H3, W3, K)        in, behind a pool of windows in (N, H2, W2, K)
// switches  (N, H3, W3, ceil(K/2))        in
// parts     (slices, 16, K, D)    out
// Otherwise as sum_tiles of cuda/winograd2_weights.cu.
extern "C" __global__ void __launch_bounds__(BLOCK, WINOGRAD_BLOCKS)
unpool_sum_tiles(
    const real* __restrict__ x, const real* __restrict__ dy, const unsigned char* __restrict__ switches,
    real* __restrict__ parts, TILES, long long H3, long long W3, long long each
) {
    __shared__ AtPoints shared;
    const Tiles t = TILES_OF_NUMBERS;
    const BehindPool behind = {dy, switches, (int)H3, (int)W3};
    const auto gradients_of = [&](int k0, int first, int last) { return FiltersOfWindows(behind, t, k0, first, last); };
    sum_part(x, gradients_of, parts, t, (int)each, shared);
}
