// Values less the mean of their map, scaled and shifted: where they are stored, and where a convolution reads them.

// One multiply-add, so that all who make such a value again find the very bits.
__device__ inline real normalized(real value, real mean, real factor, real shift) {
    return fma(value - mean, factor, shift);
}

// A volume that is normalized where a gatherer takes values of it. What would be below `least` is 0; NaN stays.
struct Normalized {
    const real* x;
    const real* table;  // (3, maps): the mean of each map, what it is multiplied with, and what is added
    int maps;           // of all groups
    real least;         // 0 of ReLU, else -infinity

    // Packs of the same maps, whose means are numbers[first] and so on, the factors and shifts `apart` from these; what is
    // not `seen`, padding, is 0.
    template <int COUNT, int PACKS>
    __device__ void change(
        Pack<real, COUNT> (&values)[PACKS], const bool (&seen)[PACKS], const real* numbers, int first, int apart
    ) const {
        const auto means = load<COUNT>(numbers + first), factors = load<COUNT>(numbers + (first + apart));
        const auto shifts = load<COUNT>(numbers + (first + 2 * apart));
#pragma unroll
        for (int pack = 0; pack < PACKS; ++pack) {
#pragma unroll
            for (int lane = 0; lane < COUNT; ++lane) {
                real& value = values[pack].value[lane];
                value = one(value, seen[pack], means.value[lane], factors.value[lane], shifts.value[lane]);
            }
        }
    }
    // A tile of one map, of which there is what has a bit in `seen`; the rest stays 0.
    __device__ void change_tile(real (&tile)[4][4], unsigned int seen, int map) const {
        if (!seen) return;
        const real mean = table[map], factor = table[maps + map], shift = table[2 * maps + map];
#pragma unroll
        for (int at = 0; at < 16; ++at) {
            real& value = tile[at / 4][at % 4];
            value = one(value, seen & 1u << at, mean, factor, shift);
        }
    }
    // Below `least` is only what is below 0 with a ReLU, so what is not there and what it cuts off take one choice.
    __device__ real one(real value, bool seen, real mean, real factor, real shift) const {
        const real found = normalized(value, mean, factor, shift);
        return seen && !(found < least) ? found : real(0);
    }
};

#define NORMALIZED {x, table, (int)(groups * maps), norm_least}
