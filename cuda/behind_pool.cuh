// The gradient before a max-pool of 2 x 2 at stride 2, of which only that behind it is there, and switches: dy where the
// switch of a position's window points at it, else 0; 0 also for positions that no window sees.

// Sets to 0 what no switch of a pack points at; `number`: where a switch should point, in each byte.
template <int COUNT>
__device__ inline void keep_chosen(
    Pack<real, COUNT>& values, const Pack<unsigned char, COUNT>& where, unsigned int number
) {
    unsigned int others = 0;
    memcpy(&others, &where, COUNT);  // side by side in a register: a byte that is 0 then points here
    others ^= number;
#pragma unroll
    for (int lane = 0; lane < COUNT; ++lane) {
        if (others & 0xffu << 8 * lane) values.value[lane] = real(0);
    }
}

// dy, switches  (N, H3, W3, K)
struct BehindPool {
    const real* dy;
    const unsigned char* switches;
    int H3, W3;

    // Those of `number` of the window at `place`, (n*H3 + i)*W3 + j, from value `along` of it on.
    template <int COUNT>
    __device__ Pack<real, COUNT> gradients(long long place, int number) const {
        auto values = load<COUNT>(dy + place, 0);
        const auto where = load<COUNT>(switches + place, 0);
        keep_chosen(values, where, number * 0x01010101u);
        return values;
    }
};
