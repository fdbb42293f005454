// The gradient of the filters of Winograd's convolution F(2x2, 3x3), the adjoint of the convolution in its filters: tiles of
// x and of dy go to the points, are multiplied there and summed over all tiles. How a thread brings a tile of dy, a gatherer
// knows.

#include "winograd.cuh"

// Where the tiles of a batch stand, each with 4 x 4 values of x and 2 x 2 of dy.
struct Tiles {
    int N, H, W, D, H2, W2, K, P_top, P_left;

    __device__ int down() const { return tiles(H2, 2); }
    __device__ int across() const { return tiles(W2, 2); }
    __device__ int all() const { return N * down() * across(); }
    __device__ Part part() const { return Part(this_block(), tiles(D, PART), tiles(K, PART)); }
};

// What a thread brings for each step: one map, and one tile, of those from `first` to `last` that are summed up.
struct OwnMap {
    int map0, maps;  // first map of the block, and how many there are of all
    int first, last;

    __device__ static int map() { return threadIdx.x % PART; }
    __device__ static int place() { return threadIdx.x % HALF / PART; }
    // In how many steps there is anything to bring.
    __device__ unsigned int steps() const {
        return place() < STEP && map0 + map() < maps ? tiles(max(0, last - first - place()), STEP) : 0;
    }

    template <typename Factor>
    __device__ static void put_values(const Values& tile, Factor& values) {
        if (place() >= STEP) return;
#pragma unroll
        for (int point = 0; point < POINTS; ++point) values[point][place()][map()] = tile[point / 4][point % 4];
    }
};

// One map of a volume for each of 32 threads side by side, of a tile for each place of the sum. SIDE is 2 for dy, whose
// tiles do not overlap, and 4 for x.
template <int SIDE>
struct MapsOfTiles : OwnMap {
    const real* x;
    const Tiles& t;

    __device__ MapsOfTiles(const real* x, const Tiles& t, int map0, int maps, int first, int last)
        : OwnMap{map0, maps, first, last}, x(x), t(t) {}
    __device__ Source start() const {
        return {x + map0 + map(), steps(), TileAt(first + place(), t.down(), t.across())};
    }
    __device__ void fetch(int step, Source& source, Held& held) const {
        TileAt& at = source.at;
        const int H = SIDE == 2 ? t.H2 : t.H, W = SIDE == 2 ? t.W2 : t.W;
        const int top = 2 * at.row - (SIDE == 2 ? 0 : t.P_top), left = 2 * at.column - (SIDE == 2 ? 0 : t.P_left);
        const long long position = (at.image * H + top) * W + left;
        held.seen = step < source.seen ? inside<SIDE>(top, left, H, W) : 0;
        load_tile<SIDE>(source.next + position * maps, held.seen, W, maps, held.tile);
        at.next(STEP, t.down(), t.across());
    }
    __device__ void put(int, const Source&, Held& held, Stage& stage) const {
        if constexpr (SIDE == 2) change<2, 4>(held.tile, gradients_to_points), put_values(held.tile, stage.left);
        else change<4, 4>(held.tile, inputs_to_points), put_values(held.tile, stage.right);
    }
};

// A volume that lies as it is. Another kind of volume has another such function.
__device__ inline auto input_maps(const real* x, const Tiles& t, int d0, int first, int last) {
    return MapsOfTiles<4>(x, t, d0, t.D, first, last);
}

// The sums of the block at all points over the tiles of its slice; gradients_of(k0, first, last) gives the gatherer of dy.
template <typename Volume, typename Gradients>
__device__ inline void sum_part(
    Volume x, Gradients gradients_of, real* parts, const Tiles& t, int each, AtPoints& shared
) {
    real sum[2 * RUN][2 * RUN] = {};
    {
        const Part part = t.part();
        const int first = part.rest * each, last = min(first + each, t.all());
        const auto gradients = gradients_of(part.down * PART, first, last);
        const auto inputs = input_maps(x, t, part.across * PART, first, last);
        multiply_points<false>(gradients, inputs, tiles(last - first, STEP), shared, sum);
    }
    const Part part = t.part();
    const int k0 = part.down * PART, d0 = part.across * PART;
    real* const own = parts + (long long)(part.rest * POINTS + own_point()) * t.K * t.D;
    const bool packed = t.D % WIDTH == 0 && aligned(parts);
#pragma unroll
    for (int i = 0; i < 2 * RUN; ++i) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            const int k = k0 + own_row() + i / RUN * 16 + i % RUN, d = d0 + own_column() + j * 16;
            Pack<real, RUN> run;
#pragma unroll
            for (int lane = 0; lane < RUN; ++lane) run.value[lane] = sum[i][j * RUN + lane];
            if (k < t.K && d < t.D) RunOf<WIDTH, real>{own + ((long long)k * t.D + d), t.D - d, packed}.store_run(run);
        }
    }
}

#define TILES                                                                                                     \
    long long N, long long H, long long W, long long D, long long H2, long long W2, long long K, long long P_top, \
        long long P_left
#define TILES_OF_NUMBERS {(int)N, (int)H, (int)W, (int)D, (int)H2, (int)W2, (int)K, (int)P_top, (int)P_left}
