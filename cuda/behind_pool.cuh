// The gradient before a max-pool of 2 x 2 at stride 2, of which only that behind it is there, and switches: dy where the
// switch of a position's window points at it, else 0; 0 also for positions that no window sees.

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
#pragma unroll
        for (int lane = 0; lane < COUNT; ++lane) {
            if (where.value[lane] != number) values.value[lane] = real(0);
        }
        return values;
    }
};
