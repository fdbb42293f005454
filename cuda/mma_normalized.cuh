// Volumes that are normalized on their way to tensor cores; cuda/normalized.cuh.
//
// A copy to shared memory cannot change what it brings. So a thread normalizes what it has brought itself when that has arrived,
// before the barrier behind which others see it: no other thread waits for that. Steps begin some turns ahead; of which map the
// values are, and which are none of the volume, a thread notes beside the step when it begins one. Values one by one pass through
// registers instead.

#include "mma_backward_weights.cuh"
#include "mma_forward.cuh"
#include "normalized.cuh"

// A tile with a note of each thread behind the values of a step; as in gpunet/devices/cuda/tensor_tiles.py.
template <typename T>
struct WithNotes : T {
    static constexpr int STAGE_BYTES = T::STAGE_BYTES + T::THREADS * (int)sizeof(int);
};

// The note of this thread, in the step whose left or right values these are.
template <typename T>
__device__ inline int& note_of_left(unsigned char* values) {
    return reinterpret_cast<int*>(values + (T::M + T::N) * STEP_BYTES)[threadIdx.x];
}
template <typename T>
__device__ inline int& note_of_right(unsigned char* values) {
    return reinterpret_cast<int*>(values + T::N * STEP_BYTES)[threadIdx.x];
}

template <typename Stored>
struct NormalizedStored {
    const Stored* x;
    Normalized norm;  // without x
};

// What is done to maps side by side. A value is rounded to its type before the convolution reads it, as where it is stored.
template <int COUNT>
struct Change {
    Pack<real, COUNT> means, factors, shifts;

    // The numbers of the first map; those of a kind are `apart`, and of eight the second four are `further`.
    __device__ Change(const real* numbers, int apart, int further = 4)
        : means(pieces(numbers, further)), factors(pieces(numbers + apart, further)),
          shifts(pieces(numbers + 2 * apart, further)) {}
    __device__ static Pack<real, COUNT> pieces(const real* numbers, int further) {
        if constexpr (COUNT <= 4) {
            return load<COUNT>(numbers);
        } else {
            static_assert(COUNT == 8, "a pack of halves");
            const auto first = load<4>(numbers), second = load<4>(numbers + further);
            Pack<real, COUNT> both;
#pragma unroll
            for (int lane = 0; lane < 4; ++lane) both.value[lane] = first.value[lane], both.value[4 + lane] = second.value[lane];
            return both;
        }
    }
    template <typename Stored>
    __device__ void change(Stored* place, const Normalized& norm) const {
        auto values = load<COUNT>(place);
#pragma unroll
        for (int lane = 0; lane < COUNT; ++lane) {
            real& value = values.value[lane];
            value = norm.one(value, true, means.value[lane], factors.value[lane], shifts.value[lane]);
        }
        store(place, values);
    }
};

// RowsUnderWindows of such a volume.
template <typename Stored, typename T, int COUNT, typename Order>
struct RowsUnderNormalizedWindows : RowsUnderWindows<Stored, T, COUNT, Order> {
    using Rows = RowsUnderWindows<Stored, T, COUNT, Order>;
    using Share = typename Rows::Share;
    static_assert(COUNT == 1 || Share::PACKS <= 8, "a note has room for so many");
    const Normalized& norm;
    int map0;

    __device__ RowsUnderNormalizedWindows(
        const NormalizedStored<Stored>& volume, int map0, const Convolution& c, const Windows2d<T>& windows, const Order& order
    ) : Rows(volume.x + map0, c.H, c.W, c.D, windows, order), norm(volume.norm), map0(map0) {}
    __device__ void begin(int further, unsigned char* values) {
        if constexpr (COUNT > 1) {
            Rows::begin(further, values);
            int note = (map0 + this->order.along() + further * STEP_OF<Stored>) << 8;
#pragma unroll
            for (int pack = 0; pack < Share::PACKS; ++pack) note |= this->inside[pack] << pack;
            note_of_left<T>(values) = note;
        } else {
            const real* const numbers = norm.table + (map0 + this->order.along());
            const bool there = this->order.inside();
            const real mean = there ? numbers[0] : 0, factor = there ? numbers[norm.maps] : 0;
            const real shift = there ? numbers[2 * norm.maps] : 0;
#pragma unroll
            for (int pack = 0; pack < Share::PACKS; ++pack) {
                bool inside;
                const Stored* const place = this->find(pack, inside);
                Stored& value = *reinterpret_cast<Stored*>(values + Share::place(pack));
                value = Stored(norm.one(inside ? (real)*place : real(0), inside, mean, factor, shift));
            }
        }
    }
    __device__ void settle(unsigned char* values) {
        if constexpr (COUNT > 1) {
            const int note = note_of_left<T>(values);
            if (!(note & 0xFF)) return;
            const Change<COUNT> change(norm.table + (note >> 8), norm.maps);
#pragma unroll
            for (int pack = 0; pack < Share::PACKS; ++pack) {
                if (note & 1 << pack) change.change(reinterpret_cast<Stored*>(values + Share::place(pack)), norm);
            }
        }
    }
};

template <int COUNT, typename T, typename Stored, typename Order>
__device__ inline auto rows_under_windows(
    const NormalizedStored<Stored>& x, const Convolution& c, int map0, const Windows2d<T>& windows, const Order& order
) {
    return RowsUnderNormalizedWindows<Stored, T, COUNT, Order>(x, map0, c, windows, order);
}

// Beside the places, what the normalization does to the map of each weight; a thread's own would take registers.
template <typename T>
struct NormalizedWeightPlaces : WeightPlaces<T> {
    alignas(16) real numbers[3][T::N];
};

// ColumnsSeen of such a volume.
template <typename Stored, typename T, int COUNT, typename Order>
struct NormalizedColumnsSeen : ColumnsSeen<Stored, T, COUNT, Order> {
    using Columns = ColumnsSeen<Stored, T, COUNT, Order>;
    using Share = typename Columns::Share;
    const Normalized& norm;
    NormalizedWeightPlaces<T>& places;

    __device__ NormalizedColumnsSeen(
        const NormalizedStored<Stored>& volume, int map0, const Convolution& c, const Order& order,
        NormalizedWeightPlaces<T>& places, int n0
    ) : Columns(volume.x + map0, c, order, places, n0), norm(volume.norm), places(places) {
        for (int column = threadIdx.x; column < T::N; column += T::THREADS) {
            const int map = map0 + (n0 + column) % c.maps;
#pragma unroll
            for (int number = 0; number < 3; ++number) {
                places.numbers[number][where(column)] = norm.table[number * norm.maps + map];
            }
        }
    }
    // Of packs of eight the first four of all come before the second four, so that threads side by side find banks of their own.
    __device__ static int where(int column) {
        return COUNT == 8 ? column % 8 / 4 * (T::N / 2) + column / 8 * 4 + column % 4 : column;
    }
    __device__ void begin(int further, unsigned char* values) {
        int note = 0;
        const real* const numbers = places.numbers[0] + Share::row();
#pragma unroll
        for (int pack = 0; pack < Share::PACKS; ++pack) {
            bool inside;
            const Stored* const place = this->find(further, pack, inside);
            unsigned char* const to = values + Share::place(pack);
            if constexpr (COUNT > 1) {
                Mover<Stored, COUNT, Share::PACKS>::begin(pack, to, place, inside);
                note |= inside << pack;
            } else {
                const real value = inside ? (real)*place : real(0);
                *reinterpret_cast<Stored*>(to) =
                    Stored(norm.one(value, inside, numbers[0], numbers[T::N], numbers[2 * T::N]));
            }
        }
        if constexpr (COUNT > 1) note_of_right<T>(values) = note;
    }
    __device__ void settle(unsigned char* values) {
        if constexpr (COUNT > 1) {
            const int note = note_of_right<T>(values);
            if (!note) return;
            const Change<COUNT> change(places.numbers[0] + where(Share::row()), T::N, T::N / 2);
#pragma unroll
            for (int pack = 0; pack < Share::PACKS; ++pack) {
                if (note & 1 << pack) change.change(reinterpret_cast<Stored*>(values + Share::place(pack)), norm);
            }
        }
    }
};

template <int COUNT, typename T, typename Stored, typename Order>
__device__ inline auto columns_seen(
    const NormalizedStored<Stored>& x, const Convolution& c, const Order& order, NormalizedWeightPlaces<T>& places, int map0,
    int n0
) {
    return NormalizedColumnsSeen<Stored, T, COUNT, Order>(x, map0, c, order, places, n0);
}

#define NORMALIZED_STORED {x, {nullptr, table, (int)(groups * maps), norm_least}}
