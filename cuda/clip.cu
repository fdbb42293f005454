// Gradient clipping: by value, and by the norm of all gradients together.
// Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks".

// dw  (count,)  in and out
// dw = dw between -most and most; NaN stays NaN. A thread takes a pack of neighbouring values.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
clip_by_value(real* dw, long long count, real most) {
    elementwise(count, aligned(dw), [=](auto size, long long pack) {
        auto gradients = load<size>(dw, pack);
        for (int lane = 0; lane < size; ++lane) {
            real& g = gradients.value[lane];
            if (g > most) g = most;
            if (g < -most) g = -most;
        }
        store(dw, pack, gradients);
    });
}

// dw        (count,)                      in
// partials  (ceil(count / block_values),) out: the sum of the squares of so many values
// A block of threads takes one sum: each thread adds every 256th square, then these are added in a fixed tree.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
square_sums(const real* __restrict__ dw, real* __restrict__ partials, long long count, long long block_values) {
    __shared__ real shared[BLOCK];
    const long long blocks = (count + block_values - 1) / block_values;
    for (long long block = blockIdx.x; block < blocks; block += gridDim.x) {
        const long long after = (block + 1) * block_values, last = after < count ? after : count;
        real sum = 0;
        for (long long item = block * block_values + threadIdx.x; item < last; item += BLOCK) sum += dw[item] * dw[item];
        sum = reduce_sum(sum, shared);
        if (threadIdx.x == 0) partials[block] = sum;
    }
}

// partials    (blocks,)  in
// square_sum  (1,)       out; where begins is 0, in and out: added to
// One block of threads: each adds every 256th of the partial sums, then these are added in a fixed tree.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
add_partials(const real* __restrict__ partials, real* __restrict__ square_sum, long long blocks, long long begins) {
    __shared__ real shared[BLOCK];
    real sum = 0;
    for (long long item = threadIdx.x; item < blocks; item += BLOCK) sum += partials[item];
    sum = reduce_sum(sum, shared);
    if (blockIdx.x == 0 && threadIdx.x == 0) square_sum[0] = begins ? sum : square_sum[0] + sum;
}

// square_sum  (1,)      in: of the squares of all gradients
// dw          (count,)  in and out
// dw *= most / (norm + 1e-6) where that is below 1, norm being the root of square_sum. A thread takes a pack of values.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
clip_by_norm(const real* __restrict__ square_sum, real* __restrict__ dw, long long count, real most) {
    const real factor = most / (sqrt(square_sum[0]) + real(1e-6));
    if (factor > real(1)) return;  // a NaN goes on
    elementwise(count, aligned(dw), [=](auto size, long long pack) {
        auto gradients = load<size>(dw, pack);
        for (int lane = 0; lane < size; ++lane) gradients.value[lane] *= factor;
        store(dw, pack, gradients);
    });
}
