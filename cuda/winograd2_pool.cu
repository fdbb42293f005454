// Winograd's convolution F(2x2, 3x3) with a max-pool of 2 x 2 and ReLU behind it: a tile of results is a window of the pool,
// of which the maximum is stored; and the gradient of the input made from that behind the pool.

#include "behind_pool.cuh"
#include "maximum.cuh"
#include "winograd_convolve.cuh"

// What becomes of a tile: plus the bias, where there is one; the maximum and where it is; where `relu`, not below 0.
struct Pool {
    const real* b;
    real* y;
    unsigned char* switches;
    const Plane& p;
    bool relu;

    __device__ void operator()(const TileAt& at, int k, const Values& tile) const {
        const bool there = k < p.K;
        const real bias = b && there ? b[k] : real(0);
        const real four[4] = {tile[0][0] + bias, tile[0][1] + bias, tile[1][0] + bias, tile[1][1] + bias};
        const Maximum found(four, relu);
        const long long window = (at.image * p.down() + at.row) * p.across() + at.column;
        if (there) y[window * p.K + k] = found.value;
        if (!switches) return;
        const int number = there ? found.number : 0, next = __shfl_down_sync(0xFFFFFFFFu, number, 1);
        if (there && k % 2 == 0) switches[window * halves(p.K) + k / 2] = both(number, next);
    }
};

// x         (N, H, W, D)         in
// values    (16, D, K)           in, what filters_to_points of cuda/winograd2.cu wrote
// b         (K,)                 in; null: no bias
// y         (N, H2/2, W2/2, K)   out
// switches  (N, H2/2, W2/2, ceil(K/2))  out, halves: row*2 + column of the maximum, 4 where ReLU gives 0; null: not wanted
// H2 and W2 are even. Otherwise as the kernels of cuda/winograd2.cu.
extern "C" __global__ void __launch_bounds__(BLOCK, WINOGRAD_BLOCKS)
pool_convolve(
    const real* __restrict__ x, const real* __restrict__ values, const real* __restrict__ b, real* __restrict__ y,
    unsigned char* __restrict__ switches, PLANE, long long relu
) {
    __shared__ AtPoints shared;
    const Plane p = PLANE_OF_NUMBERS;
    convolve_part<WIDTH>(InputTiles{x, p}, values, p, shared, Pool{b, y, switches, p, relu != 0});
}

extern "C" __global__ void __launch_bounds__(BLOCK)
pool_convolve_scalars(
    const real* __restrict__ x, const real* __restrict__ values, const real* __restrict__ b, real* __restrict__ y,
    unsigned char* __restrict__ switches, PLANE, long long relu
) {
    __shared__ AtPoints shared;
    const Plane p = PLANE_OF_NUMBERS;
    convolve_part<1>(InputTiles{x, p}, values, p, shared, Pool{b, y, switches, p, relu != 0});
}

// Tiles of a gradient before the pool that begin in the second row and column of a window, as padding by 1 has it: 3 x 3
// windows hold all of a tile.
struct TilesAcrossWindows {
    BehindPool behind;
    const Plane& p;

    __device__ Source start() const {
        const OwnTile own(p);
        const int row = own.top >> 1, column = own.left >> 1;
        const int window = (own.at.image * behind.H3 + row) * behind.W3 + column;
        const unsigned int seen = own.there ? inside<3>(row, column, behind.H3, behind.W3) : 0;
        return {nullptr, seen, TileAt(), window};
    }
    __device__ void fetch(int step, Source& source, Held& held) const {
        const unsigned int seen = OwnTile::inside(step, p) ? source.seen : 0;
#pragma unroll
        for (int window = 0; window < 9; ++window) {  // D is even: a switch lies where its gradient does, at the half
            const int row = window / 3, column = window % 3;
            held.tile[row][column] = 0, held.switches[row][column] = 0;
            if (!(seen & 1u << window)) continue;
            const long long place = apart((int)source.place + row * behind.W3 + column, p.D) + (step * STEP + OwnTile::map());
            held.tile[row][column] = behind.dy[place], held.switches[row][column] = behind.switches[place >> 1];
        }
    }
    __device__ void put(int, const Source&, Held& held, Stage& stage) const {
        Values tile;
#pragma unroll
        for (int row = 0; row < 4; ++row) {
#pragma unroll
            for (int column = 0; column < 4; ++column) {
                const int i = (row + 1) / 2, j = (column + 1) / 2, number = (row + 1) % 2 * 2 + (column + 1) % 2;
                const int where = half_of(held.switches[i][j], OwnTile::map());
                tile[row][column] = where == number ? held.tile[i][j] : real(0);
            }
        }
        put_tile(tile, stage);
    }
};

// The same for tiles that begin anywhere: each value is looked for in its window.
struct TilesOfWindows {
    BehindPool behind;
    const Plane& p;

    __device__ Source start() const {
        const OwnTile own(p);
        return {nullptr, own.there, own.at};
    }
    __device__ void fetch(int step, Source& source, Held& held) const {
        const bool more = source.seen && OwnTile::inside(step, p);
#pragma unroll
        for (int at = 0; at < 16; ++at) {
            const int row = source.at.top(p.P_top) + at / 4, column = source.at.left(p.P_left) + at % 4;
            held.tile[at / 4][at % 4] = 0;
            if (more && (unsigned int)row < 2u * behind.H3 && (unsigned int)column < 2u * behind.W3) {
                const int window = (source.at.image * behind.H3 + row / 2) * behind.W3 + column / 2;
                const int map = step * STEP + OwnTile::map(), number = row % 2 * 2 + column % 2;
                held.tile[at / 4][at % 4] = behind.gradient(window, map, p.D, number);
            }
        }
    }
    __device__ void put(int, const Source&, Held& held, Stage& stage) const { put_tile(held.tile, stage); }
};

// dy        (N, H3, W3, D)      in, behind a pool of windows in (N, H, W, D)
// switches  (N, H3, W3, ceil(D/2))  in
// values    (16, D, K)          in, what filters_to_points of cuda/winograd2.cu wrote where `turned`
// below     (N, H2, W2, K)      in: as `convolve` of cuda/winograd2.cu has it
// dx        (N, H2, W2, K)      out; may lie where `below` does
// P_top and P_left are odd, D is even. Otherwise as the kernels of cuda/winograd2.cu.
extern "C" __global__ void __launch_bounds__(BLOCK, WINOGRAD_BLOCKS)
unpool_convolve(
    const real* __restrict__ dy, const unsigned char* __restrict__ switches, const real* __restrict__ values,
    const real* below, real* dx, PLANE, long long H3, long long W3
) {
    __shared__ AtPoints shared;
    const Plane p = PLANE_OF_NUMBERS;
    const TilesAcrossWindows gradients = {{dy, switches, (int)H3, (int)W3}, p};
    convolve_part<WIDTH>(gradients, values, p, shared, PlusBias{nullptr, dx, p, p.K, false, below});
}

// Any padding, and maps that need not be packs, nor pairs.
extern "C" __global__ void __launch_bounds__(BLOCK)
unpool_convolve_scalars(
    const real* __restrict__ dy, const unsigned char* __restrict__ switches, const real* __restrict__ values,
    const real* below, real* dx, PLANE, long long H3, long long W3
) {
    __shared__ AtPoints shared;
    const Plane p = PLANE_OF_NUMBERS;
    const TilesOfWindows gradients = {{dy, switches, (int)H3, (int)W3}, p};
    convolve_part<1>(gradients, values, p, shared, PlusBias{nullptr, dx, p, p.K, false, below});
}
