// Winograd's convolution F(2x2, 3x3) of a volume that is normalized on the way; then the bias.

#include "normalized.cuh"
#include "winograd_convolve.cuh"

// InputTiles of such a volume.
struct NormalizedTiles {
    Normalized norm;
    InputTiles tiles;

    __device__ Source start() const { return tiles.start(); }
    __device__ void fetch(int step, Source& source, Held& held) const { tiles.fetch(step, source, held); }
    __device__ void put(int step, const Source& source, Held& held, Stage& stage) const {
        if (OwnTile::inside(step, tiles.p)) norm.change_tile(held.tile, source.seen, step * STEP + OwnTile::map());
        tiles.put(step, source, held, stage);
    }
};

// table  (3, D)  in, what norm_table of cuda/conv_norm.cu wrote
// least  0 of ReLU behind the normalization, else -infinity
// All else as in cuda/winograd2.cu.
extern "C" __global__ void __launch_bounds__(BLOCK, WINOGRAD_BLOCKS)
norm_convolve(
    const real* __restrict__ x, const real* __restrict__ table, const real* __restrict__ values,
    const real* __restrict__ b, real* __restrict__ y, PLANE, long long y_row, real least
) {
    __shared__ AtPoints shared;
    const Plane p = PLANE_OF_NUMBERS;
    const NormalizedTiles inputs = {{x, table, p.D, least}, {x, p}};
    convolve_part<WIDTH>(inputs, values, p, shared, PlusBias{b, y, p, (int)y_row, false});
}

extern "C" __global__ void __launch_bounds__(BLOCK)
norm_convolve_scalars(
    const real* __restrict__ x, const real* __restrict__ table, const real* __restrict__ values,
    const real* __restrict__ b, real* __restrict__ y, PLANE, long long y_row, real least
) {
    __shared__ AtPoints shared;
    const Plane p = PLANE_OF_NUMBERS;
    const NormalizedTiles inputs = {{x, table, p.D, least}, {x, p}};
    convolve_part<1>(inputs, values, p, shared, PlusBias{b, y, p, (int)y_row, false});
}
