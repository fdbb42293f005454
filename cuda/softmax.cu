// Softmax cross-entropy: scores become probabilities, the loss is -log(probability of the label).
// Source: CS231n "Linear classification", softmax and its numeric stability; label smoothing: Szegedy et al. 2016.
//
// Of every class a probability of `share` = smoothing / K is wanted, of the label `extra` = 1 - smoothing more.

// scores         (N, K)  in
// labels         (N,)    int32, in, 0 <= label < K
// probabilities  (N, K)  out; may be scores
// losses         (N,)    out, -(extra * log(probability of the label) + share * sum of log(probability))
// hits           (N,)    int32, out, 1 where the label's score is the first maximum of the row, else 0
// A block takes a row; its threads take every 256th class. Scores are shifted by their maximum: exp never overflows.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
softmax_forward(
    const real* scores, const int* __restrict__ labels, real* probabilities, real* __restrict__ losses,
    int* __restrict__ hits, long long N, long long K, real extra, real share
) {
    __shared__ Best bests[BLOCK];
    __shared__ real sums[BLOCK];
    for (long long n = blockIdx.x; n < N; n += gridDim.x) {
        const real* row = scores + n * K;
        const Best best = best_of(row, K, bests);
        const real label_score = row[labels[n]];  // read before anyone writes probabilities over it

        real sum = 0, shifted = 0;
        for (long long k = threadIdx.x; k < K; k += BLOCK) {
            sum += exp(row[k] - best.value);
            if (share > 0) shifted += row[k] - best.value;  // an infinite score counts only where it is wanted
        }
        sum = reduce_sum(sum, sums);
        shifted = reduce_sum(shifted, sums);

        for (long long k = threadIdx.x; k < K; k += BLOCK) probabilities[n * K + k] = exp(row[k] - best.value) / sum;
        if (threadIdx.x == 0) {
            losses[n] = log(sum) - (extra * (label_score - best.value) + share * shifted);
            hits[n] = best.k == labels[n];
        }
    }
}

// probabilities  (N, K)  in
// labels         (N,)    int32, in
// dx             (N, K)  out; may be probabilities
// dx = weight * (probabilities - what is wanted) / images, the gradient of weight * the mean loss of so many images, of which
// these are N. A block takes a row, a thread every 256th class.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
softmax_backward(
    const real* probabilities, const int* __restrict__ labels, real* dx, long long N, long long K, long long images,
    real extra, real share, real weight
) {
    for (long long n = blockIdx.x; n < N; n += gridDim.x) {
        for (long long k = threadIdx.x; k < K; k += BLOCK) {
            const real excess = probabilities[n * K + k] - (k == labels[n] ? extra : real(0)) - share;
            dx[n * K + k] = excess / real(images) * weight;
        }
    }
}
