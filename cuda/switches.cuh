// How switches of pooling lie: a number for each value, or, of few places, half a byte for each, two neighbouring maps a byte,
// the first in the lower half; what is left over of the last byte of a position is 0. gpunet/program/switches.py.

// Bytes for the halves of so many maps.
template <typename Index>
__device__ inline Index halves(Index maps) { return (maps + 1) / 2; }

// The half of map k, where `byte` is the one that it lies in.
__device__ inline int half_of(unsigned char byte, int k) { return byte >> k % 2 * 4 & 15; }

// Two numbers below 16 side by side.
__device__ inline unsigned char both(int first, int second) { return (unsigned char)(first | second << 4); }

// The numbers of a pack of maps, an even number of them, in halves.
template <int COUNT, typename Number>
__device__ inline Pack<unsigned char, COUNT / 2> in_halves(const Pack<Number, COUNT>& where) {
    Pack<unsigned char, COUNT / 2> bytes;
#pragma unroll
    for (int lane = 0; lane < COUNT; lane += 2) bytes.value[lane / 2] = both(where.value[lane], where.value[lane + 1]);
    return bytes;
}

// Switches as kernels of pooling read and write them; `position`: of the output, among those of all images. Kernels that only
// read have const ones.

// One value each, D a position.
template <typename Number>
struct Whole {
    Number* numbers;

    __device__ bool wanted() const { return numbers; }
    template <int COUNT, typename Index, typename Seen>
    __device__ void put(Index position, Index D, Index d, const Pack<Seen, COUNT>& where) const {
        Pack<Number, COUNT> pack;
#pragma unroll
        for (int lane = 0; lane < COUNT; ++lane) pack.value[lane] = (Number)where.value[lane];
        store(numbers + (position * D + d), pack);
    }
    template <int COUNT, typename Index>
    __device__ auto get(Index position, Index D, Index d) const {
        return load<COUNT>(numbers + (position * D + d));
    }
};

// Halves. One map alone is read, but not written, as it shares its byte.
template <typename Byte>
struct Halved {
    Byte* numbers;

    __device__ bool wanted() const { return true; }
    template <int COUNT, typename Index, typename Seen>
    __device__ void put(Index position, Index D, Index d, const Pack<Seen, COUNT>& where) const {
        if constexpr (COUNT > 1) store(numbers + (position * halves(D) + d / 2), in_halves(where));
    }
    template <int COUNT, typename Index>
    __device__ auto get(Index position, Index D, Index d) const {
        Pack<unsigned char, COUNT> where;
        const unsigned char* from = numbers + (position * halves(D) + d / 2);
        if constexpr (COUNT == 1) {
            where.value[0] = half_of(*from, (int)(d % 2));
        } else {
            const auto held = load<COUNT / 2>(from);
#pragma unroll
            for (int lane = 0; lane < COUNT; ++lane) where.value[lane] = half_of(held.value[lane / 2], lane);
        }
        return where;
    }
};
