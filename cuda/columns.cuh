// Sums over the rows of a matrix of D maps, part by part, always in one order: a block takes SIDE packs of maps of a part;
// threads side by side take packs side by side, LINES of them the rows of a pack in turn.

constexpr int SIDE = 8;              // packs that a block sums: its warps read whole sectors, with packs whole cache lines
constexpr int LINES = BLOCK / SIDE;  // threads that share out the rows of a pack
constexpr int RUN = 8;               // rows that a thread adds up before they go to its sum: few roundings on the way of each

// SUMS sums of COUNT maps each.
template <int SUMS, int COUNT>
struct Sums {
    Pack<real, COUNT> of[SUMS];
};

template <int COUNT>
__device__ inline void add_to(Pack<real, COUNT>& sum, const Pack<real, COUNT>& values) {
    for (int lane = 0; lane < COUNT; ++lane) sum.value[lane] += values.value[lane];
}

// Lets each(row, sums) add to the sums of a thread's maps for the rows [first, last), in runs, and adds up the threads of
// a pack, in a fixed tree. Every thread of the block must call it; `shared` holds BLOCK packs. AT_ONCE: rows whose loads
// are under way together, as many as leave all values in registers.
template <int SUMS, int COUNT, int AT_ONCE = RUN / SUMS, typename Each>
__device__ inline Sums<SUMS, COUNT> add_up(long long first, long long last, Pack<real, COUNT>* shared, Each each) {
    Sums<SUMS, COUNT> sums = {};
    long long row = first + threadIdx.x / SIDE;
    while (row < last) {
        Sums<SUMS, COUNT> run = {};
        if (row + (RUN - 1) * LINES < last) {
#pragma unroll AT_ONCE
            for (int ahead = 0; ahead < RUN; ++ahead) each(row + ahead * LINES, run);
        } else {
            for (long long left = row; left < last; left += LINES) each(left, run);
        }
        for (int sum = 0; sum < SUMS; ++sum) add_to(sums.of[sum], run.of[sum]);
        row += RUN * LINES;
    }
    const auto plus = [](Pack<real, COUNT> sum, const Pack<real, COUNT>& values) {
        add_to(sum, values);
        return sum;
    };
    for (int sum = 0; sum < SUMS; ++sum) sums.of[sum] = reduce(sums.of[sum], shared, plus, SIDE);
    return sums;
}

// The same shared memory for packs of one value.
__device__ inline Pack<real, 1>* alone(Pack<real, WIDTH>* shared) { return reinterpret_cast<Pack<real, 1>*>(shared); }

// Whether this thread is the one of its pack that writes what add_up gave.
__device__ inline bool writes() { return threadIdx.x < SIDE; }

// Whether this block is the last of `blocks` that come here with this counter, which is 0 before the first and behind the
// last: what they wrote before is there then for this one, if it reads by `fresh`. So one launch does what parts of a sum and
// their sum would take two for, and the order of the parts stays. Every thread of the block must call it.
// Source: NVIDIA, "CUDA C++ Programming Guide", memory fence functions.
__device__ inline bool comes_last(int* counter, int blocks, int& shared) {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        shared = atomicAdd(counter, 1) + 1;
        if (shared == blocks) *counter = 0;
    }
    __syncthreads();
    const bool last = shared == blocks;
    __syncthreads();  // nobody writes `shared` again before all have read
    if (last) __threadfence();
    return last;
}

// Calls body(part, first, last, k) for the packs of maps of the parts that this block takes: rows [first, last), none where
// there is no map k; k is the first map of the thread's pack.
template <int COUNT, typename Body>
__device__ inline void each_part(long long rows, long long D, long long block_rows, Body body) {
    constexpr int MAPS = SIDE * COUNT;
    const long long tiles = (D + MAPS - 1) / MAPS, parts = (rows + block_rows - 1) / block_rows;
    for (long long tile = blockIdx.x; tile < parts * tiles; tile += gridDim.x) {
        const long long k = tile % tiles * MAPS + threadIdx.x % SIDE * COUNT, part = tile / tiles;
        const long long first = part * block_rows, after = first + block_rows, last = after < rows ? after : rows;
        body(part, first, k < D ? last : first, k);
    }
}

// What another block may have written in this launch: no cache of this multiprocessor's own is asked.
__device__ inline real fresh(const real* value) { return *static_cast<const volatile real*>(value); }

// As each_part; the block that is the last to have done a part of some maps then calls sum(k) for each of them, SIDE at a time:
// every thread of the block does, with a k of its own for its lines, at least D where there is no map. `counters`: zeros, one
// for each SIDE maps, and zeros again behind the last block.
template <int COUNT, typename Body, typename Sum>
__device__ inline void each_part_and_sum(
    long long rows, long long D, long long block_rows, int* counters, int& shared, Body body, Sum sum
) {
    constexpr int MAPS = SIDE * COUNT;
    const int parts = (int)((rows + block_rows - 1) / block_rows);
    each_part<COUNT>(rows, D, block_rows, [&](long long part, long long first, long long last, long long k) {
        body(part, first, last, k);
        const long long begins = k - threadIdx.x % SIDE * COUNT;
        if (!comes_last(counters + begins / MAPS, parts, shared)) return;
        for (long long some = begins; some < begins + MAPS && some < D; some += SIDE) sum(some + threadIdx.x % SIDE);
    });
}
