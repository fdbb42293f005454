// Softmax cross-entropy: scores become probabilities, the loss is the mean of -log(probability of the label).
// Source: CS231n "Linear classification", softmax and its numeric stability.

struct Best {
    real value;
    long long k;  // -1: none yet
};

// The better of two; of equals, and of NaNs, the first.
__device__ inline Best better(Best a, Best b) {
    if (a.k < 0 || b.k < 0) return a.k < 0 ? b : a;
    if (beats(b.value, a.value)) return b;
    return beats(a.value, b.value) || a.k < b.k ? a : b;
}

// scores         (N, K)  in
// labels         (N,)    int32, in, 0 <= label < K
// probabilities  (N, K)  out; may be scores
// losses         (N,)    out, -log(probability of the label)
// hits           (N,)    int32, out, 1 where the label's score is the first maximum of the row, else 0
// A block takes a row; its threads take every 256th class. Scores are shifted by their maximum: exp never overflows.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
softmax_forward(
    const real* scores, const int* __restrict__ labels, real* probabilities, real* __restrict__ losses,
    int* __restrict__ hits, long long N, long long K
) {
    __shared__ Best bests[BLOCK];
    __shared__ real sums[BLOCK];
    for (long long n = blockIdx.x; n < N; n += gridDim.x) {
        const real* row = scores + n * K;
        Best best = {0, -1};
        for (long long k = threadIdx.x; k < K; k += BLOCK) best = better(best, {row[k], k});
        best = reduce(best, bests, better);

        const real label_score = row[labels[n]];  // read before anyone writes probabilities over it
        real sum = 0;
        for (long long k = threadIdx.x; k < K; k += BLOCK) sum += exp(row[k] - best.value);
        sum = reduce_sum(sum, sums);

        for (long long k = threadIdx.x; k < K; k += BLOCK) probabilities[n * K + k] = exp(row[k] - best.value) / sum;
        if (threadIdx.x == 0) {
            losses[n] = log(sum) - (label_score - best.value);
            hits[n] = best.k == labels[n];
        }
    }
}

// losses   (N,)  in
// hits     (N,)  int32, in
// loss     (1,)  out, mean of losses
// correct  (1,)  int32, out, sum of hits
// One block does all (more would do the same): each thread adds every 256th value, then a fixed tree adds the threads' sums.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
softmax_mean(
    const real* __restrict__ losses, const int* __restrict__ hits, real* __restrict__ loss, int* __restrict__ correct,
    long long N
) {
    __shared__ real sums[BLOCK];
    __shared__ int counts[BLOCK];
    real sum = 0;
    int count = 0;
    for (long long n = threadIdx.x; n < N; n += BLOCK) {
        sum += losses[n];
        count += hits[n];
    }
    sum = reduce_sum(sum, sums);
    count = reduce_sum(count, counts);
    if (threadIdx.x == 0) {
        *loss = sum / real(N);
        *correct = count;
    }
}

// probabilities  (N, K)  in
// labels         (N,)    int32, in
// dx             (N, K)  out; may be probabilities
// dx = (probabilities - 1 at the label) / images, the gradient of the mean loss of so many images, of which these are N. A
// block takes a row, a thread every 256th class.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
softmax_backward(
    const real* probabilities, const int* __restrict__ labels, real* dx, long long N, long long K, long long images
) {
    for (long long n = blockIdx.x; n < N; n += gridDim.x) {
        for (long long k = threadIdx.x; k < K; k += BLOCK) {
            dx[n * K + k] = (probabilities[n * K + k] - real(k == labels[n] ? 1 : 0)) / real(images);
        }
    }
}
