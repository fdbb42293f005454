// Several arrays of a kind in one launch: a table says where each stands and how long it is, and blocks share them out.

constexpr int MOST_NUMBERS = 480;  // of a table: all parameters of a launch have room for 512
constexpr int SHARE = 16 * BLOCK;  // values that a block does; both as in gpunet/devices/cuda/table.py

// Of each entry in turn: ARRAYS pointers, how many values there are at each, and the first block behind its own.
struct Table {
    long long numbers[MOST_NUMBERS];
};

template <int ARRAYS>
struct Entries {
    static constexpr int NUMBERS = ARRAYS + 2;

    __device__ static long long end(const Table& table, int entry) { return table.numbers[entry * NUMBERS + ARRAYS + 1]; }
    __device__ static long long count(const Table& table, int entry) { return table.numbers[entry * NUMBERS + ARRAYS]; }
    __device__ static real* array(const Table& table, int entry, int number) {
        return reinterpret_cast<real*>(table.numbers[entry * NUMBERS + number]);
    }
};

// Calls body(entry, first, count) for the entry whose block this is, and for its values [first, first + count), at most
// SHARE; first is a multiple of SHARE. A launch has as many blocks as the last entry ends with.
template <int ARRAYS, typename Body>
__device__ inline void each_share(const Table& table, long long entries, Body body) {
    typedef Entries<ARRAYS> Of;
    int entry = 0, last = (int)entries - 1;
    while (entry < last) {
        const int middle = (entry + last) / 2;
        if (blockIdx.x < Of::end(table, middle)) last = middle;
        else entry = middle + 1;
    }
    const long long before = entry > 0 ? Of::end(table, entry - 1) : 0, first = (blockIdx.x - before) * SHARE;
    const long long left = Of::count(table, entry) - first;
    if (left > 0) body(entry, first, (int)(left < SHARE ? left : SHARE));
}

// As `elementwise`, for the values of a block's share.
template <typename Body>
__device__ inline void within_share(int count, bool packable, Body body) {
    const int packs = packable ? count / WIDTH : 0;
    for (int pack = threadIdx.x; pack < packs; pack += BLOCK) body(Size<WIDTH>(), pack);
    for (int item = packs * WIDTH + threadIdx.x; item < count; item += BLOCK) body(Size<1>(), item);
}
