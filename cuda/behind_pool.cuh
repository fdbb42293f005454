// The gradient before a max-pool of 2 x 2 at stride 2, of which only that behind it is there, and switches in halves of bytes:
// dy where the switch of a position's window points at it, else 0; 0 also for positions that no window sees.

#include "switches.cuh"
#include "tile.cuh"

// What holds the switches of COUNT neighbouring maps, from an even one on; of one map the byte that it lies in.
template <int COUNT>
using HalvesOf = Pack<unsigned char, COUNT == 1 ? 1 : COUNT / 2>;

// Sets to 0 what no switch of a pack points at; `number`: where a switch should point, in each half of a byte; one map has its
// switch in the lower half.
template <int COUNT>
__device__ inline void keep_chosen(Pack<real, COUNT>& values, const HalvesOf<COUNT>& where, unsigned int number) {
    unsigned int others = 0;
    memcpy(&others, &where, sizeof(where));  // side by side in a register: a half that is 0 then points here
    others ^= number;
#pragma unroll
    for (int lane = 0; lane < COUNT; ++lane) {
        if (others & 0xfu << 4 * lane) values.value[lane] = real(0);
    }
}

// dy        (N, H3, W3, K)
// switches  (N, H3, W3, ceil(K/2))
struct BehindPool {
    const real* dy;
    const unsigned char* switches;
    int H3, W3;

    // What position `number` of a window, (n*H3 + i)*W3 + j, has of map k.
    __device__ real gradient(int window, int k, int K, int number) const {
        const int where = half_of(switches[apart(window, halves(K)) + k / 2], k);
        return where == number ? dy[apart(window, K) + k] : real(0);
    }
};
