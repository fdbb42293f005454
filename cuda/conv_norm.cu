// What a convolution must know of the normalization in front of it; cuda/normalized.cuh.

// mean, variance, scale, shift  (D,)    in
// table                         (3, D)  out: mean, scale / deviation and shift
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
norm_table(
    const real* __restrict__ mean, const real* __restrict__ variance, const real* __restrict__ scale,
    const real* __restrict__ shift, real* __restrict__ table, long long D, real eps
) {
    for (long long k = first_item(); k < D; k += item_stride()) {
        table[k] = mean[k];
        table[D + k] = scale[k] / sqrt(variance[k] + eps);
        table[2 * D + k] = shift[k];
    }
}
