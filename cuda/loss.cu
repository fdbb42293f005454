// What all losses share: the mean over the images, and the sum of several of them. Source: CS231n "Softmax classifier".

// losses   (N,)  in
// hits     (N,)  int32, in
// loss     (1,)  out, mean of losses
// correct  (1,)  int32, out, sum of hits
// One block does all (more would do the same): each thread adds every 256th value, then a fixed tree adds the threads' sums.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
mean_loss(
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

// part   (1,)  in
// total  (1,)  in and out: weight * part is added. One thread does it.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
add_loss(const real* __restrict__ part, real* __restrict__ total, real weight) {
    if (first_item() == 0) *total += weight * *part;
}
