// Softmax cross-entropy: scores become probabilities, the loss is -log(probability of the label).
// Source: CS231n "Linear classification", softmax and its numeric stability; label smoothing: Szegedy et al. 2016.
//
// Of every class a probability of `share` = smoothing / K is wanted, of the label `extra` = 1 - smoothing more.

constexpr long long MOST_OF_A_WARP = 32 * WARP;  // classes: a warp takes a row of so many, a block one of more

// The threads that share a row: a warp, or where there are many classes the whole block. All of them get what any asks for.
template <bool WHOLE_BLOCK>
struct Team {
    static constexpr int SIZE = WHOLE_BLOCK ? BLOCK : WARP;

    Best* bests;
    real* sums;

    __device__ static long long first_row() { return WHOLE_BLOCK ? blockIdx.x : first_item() / WARP; }
    __device__ static long long rows_at_once() { return WHOLE_BLOCK ? gridDim.x : item_stride() / WARP; }
    __device__ static int member() { return threadIdx.x % SIZE; }

    __device__ Best best_of(const real* row, long long K) const {
        Best best = {0, -1};
        for (long long k = member(); k < K; k += SIZE) best = better(best, {row[k], k});
        if constexpr (WHOLE_BLOCK) return reduce(best, bests, better);
        return best_of_warp(best);
    }

    __device__ real sum_of(real value) const {
        if constexpr (WHOLE_BLOCK) return reduce_sum(value, sums);
        return reduce_warp(value, [](real a, real b) { return a + b; });
    }
};

template <typename Team>
__device__ inline void probabilities_of(
    const real* scores, const int* labels, real* probabilities, real* losses, int* hits, long long N, long long K,
    real extra, real share, Team team
) {
    for (long long n = team.first_row(); n < N; n += team.rows_at_once()) {
        const real* row = scores + n * K;
        const Best best = team.best_of(row, K);
        const real label_score = row[labels[n]];  // read before anyone writes probabilities over it

        real sum = 0, shifted = 0;
        for (long long k = team.member(); k < K; k += team.SIZE) {
            sum += exp(row[k] - best.value);
            if (share > 0) shifted += row[k] - best.value;  // an infinite score counts only where it is wanted
        }
        sum = team.sum_of(sum);
        if (share > 0) shifted = team.sum_of(shifted);
        __syncwarp();  // all have read the label's score

        for (long long k = team.member(); k < K; k += team.SIZE) probabilities[n * K + k] = exp(row[k] - best.value) / sum;
        if (team.member() == 0) {
            losses[n] = log(sum) - (extra * (label_score - best.value) + share * shifted);
            hits[n] = best.k == labels[n];
        }
    }
}

// scores         (N, K)  in
// labels         (N,)    int32, in, 0 <= label < K
// probabilities  (N, K)  out; may be scores
// losses         (N,)    out, -(extra * log(probability of the label) + share * sum of log(probability))
// hits           (N,)    int32, out, 1 where the label's score is the first maximum of the row, else 0
// A warp takes a row, its threads every 32nd class; a block where there are more than 1024 classes. Scores are shifted by
// their maximum: exp never overflows.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
softmax_forward(
    const real* scores, const int* __restrict__ labels, real* probabilities, real* __restrict__ losses,
    int* __restrict__ hits, long long N, long long K, real extra, real share
) {
    __shared__ Best bests[BLOCK];
    __shared__ real sums[BLOCK];
    if (K <= MOST_OF_A_WARP) {
        probabilities_of(scores, labels, probabilities, losses, hits, N, K, extra, share, Team<false>{bests, sums});
    } else {
        probabilities_of(scores, labels, probabilities, losses, hits, N, K, extra, share, Team<true>{bests, sums});
    }
}

template <typename Index>
__device__ inline void excesses(
    const real* probabilities, const int* labels, real* dx, Index N, Divisor<Index> K, long long images, real extra,
    real share, real weight
) {
    for (Index item = first_item(); item < N * K; item += item_stride()) {
        const Index n = item / K, k = item - n * K.number;
        const real excess = probabilities[item] - (k == labels[n] ? extra : real(0)) - share;
        dx[item] = excess / real(images) * weight;
    }
}

// probabilities  (N, K)  in
// labels         (N,)    int32, in
// dx             (N, K)  out; may be probabilities
// dx = weight * (probabilities - what is wanted) / images, the gradient of weight * the mean loss of so many images, of which
// these are N. A thread takes a class of an image.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
softmax_backward(
    const real* probabilities, const int* __restrict__ labels, real* dx, long long N, long long K, long long magic_K,
    long long images, real extra, real share, real weight
) {
    const By by_K = {K, magic_K};
    if (N * K < SMALL) excesses<int>(probabilities, labels, dx, N, by_K, images, extra, share, weight);
    else excesses<long long>(probabilities, labels, dx, N, by_K, images, extra, share, weight);
}
