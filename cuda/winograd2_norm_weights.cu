// The gradient of the filters of Winograd's convolution F(2x2, 3x3) where its volume is normalized on the way;
// cuda/winograd_sums.cuh.

#include "normalized.cuh"
#include "winograd_sums.cuh"

// MapsOfTiles of such a volume.
struct NormalizedMaps : MapsOfTiles<4> {
    Normalized norm;

    __device__ NormalizedMaps(const Normalized& norm, const Tiles& t, int d0, int first, int last)
        : MapsOfTiles<4>(norm.x, t, d0, t.D, first, last), norm(norm) {}
    __device__ void put(int step, const Source& source, Held& held, Stage& stage) const {
        norm.change_tile(held.tile, held.seen, map0 + map());
        MapsOfTiles<4>::put(step, source, held, stage);
    }
};

__device__ inline auto input_maps(const Normalized& x, const Tiles& t, int d0, int first, int last) {
    return NormalizedMaps(x, t, d0, first, last);
}

// table  (3, D)  in, what norm_table of cuda/conv_norm.cu wrote
// least  0 of ReLU behind the normalization, else -infinity
// All else as in cuda/winograd2_weights.cu, which brings the sums back to weights.
extern "C" __global__ void __launch_bounds__(BLOCK, WINOGRAD_BLOCKS)
norm_sum_tiles(
    const real* __restrict__ x, const real* __restrict__ table, const real* __restrict__ dy, real* __restrict__ parts,
    TILES, long long each, real least
) {
    __shared__ AtPoints shared;
    const Tiles t = TILES_OF_NUMBERS;
    const auto gradients_of = [&](int k0, int first, int last) { return MapsOfTiles<2>(dy, t, k0, t.K, first, last); };
    const Normalized volume = {x, table, t.D, least};
    sum_part(volume, gradients_of, parts, t, (int)each, shared);
}
