// Multiclass SVM: a score within the margin of the label's costs what it is too near, or the square of that.
// Source: CS231n "Linear classification", Multiclass Support Vector Machine loss; squared: "L2-SVM" there.

// scores  (N, K)  in
// labels  (N,)    int32, in, 0 <= label < K
// losses  (N,)    out, sum over the other classes of max(0, score - label's score + margin), or of its squares
// hits    (N,)    int32, out, 1 where the label's score is the first maximum of the row, else 0
// A block takes a row; its threads take every 256th class.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
hinge_forward(
    const real* __restrict__ scores, const int* __restrict__ labels, real* __restrict__ losses,
    int* __restrict__ hits, long long N, long long K, real margin, long long squared
) {
    __shared__ Best bests[BLOCK];
    __shared__ real sums[BLOCK];
    for (long long n = blockIdx.x; n < N; n += gridDim.x) {
        const real* row = scores + n * K;
        const long long label = labels[n];
        real sum = 0;
        for (long long k = threadIdx.x; k < K; k += BLOCK) {
            const real excess = row[k] - row[label] + margin;
            if (k != label && !(excess <= 0)) sum += squared ? excess * excess : excess;  // NaN counts
        }
        sum = reduce_sum(sum, sums);
        const Best best = best_of(row, K, bests);
        if (threadIdx.x == 0) {
            losses[n] = sum;
            hits[n] = best.k == label;
        }
    }
}

// How fast the loss of a class rises with its excess; 0 at the kink, NaN for NaN.
__device__ inline real slope(real excess, long long squared) {
    if (excess <= 0) return 0;
    return squared ? 2 * excess : excess > 0 ? real(1) : excess;
}

// scores  (N, K)  in
// labels  (N,)    int32, in
// dx      (N, K)  out; may be scores
// dx = weight * slope / images for the other classes, minus their sum for the label. A block takes a row, a thread every
// 256th class.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
hinge_backward(
    const real* scores, const int* __restrict__ labels, real* dx, long long N, long long K, long long images,
    real margin, long long squared, real weight
) {
    __shared__ real sums[BLOCK];
    for (long long n = blockIdx.x; n < N; n += gridDim.x) {
        const real* row = scores + n * K;
        const long long label = labels[n];
        const real label_score = row[label];  // all have read it before anyone writes over it
        real sum = 0;
        for (long long k = threadIdx.x; k < K; k += BLOCK) {
            if (k != label) sum += slope(row[k] - label_score + margin, squared);
        }
        sum = reduce_sum(sum, sums);
        for (long long k = threadIdx.x; k < K; k += BLOCK) {
            const real rise = k == label ? -sum : slope(row[k] - label_score + margin, squared);
            dx[n * K + k] = rise / real(images) * weight;
        }
    }
}
