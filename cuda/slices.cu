// Sums that were made in slices: the slices added up, in order.

// parts  (slices, count)  in; the sums of each slice
// b      (K,)             in; added to each of the K last values; null: nothing is
// relu   1: sums below 0 become 0
// below  (count,)         in: what a ReLU gave, where that is 0 sums are 0; sums may lie in its place; null: none
// sums   (count,)         out; in and out where accumulate is 1: what was there comes last
// A thread takes one value. Its products were added in an order that the shape says, so the bits are the same everywhere.
extern "C" __global__ void __launch_bounds__(BLOCK)
add_slices(
    const real* __restrict__ parts, const real* __restrict__ b, const stored* below, stored* sums, long long count,
    long long slices, long long K, long long accumulate, long long relu
) {
    for (long long item = first_item(); item < count; item += item_stride()) {
        real sum = parts[item];
        for (long long slice = 1; slice < slices; ++slice) sum += parts[slice * count + item];
        if (b) sum += b[item % K];
        if (accumulate) sum += (real)sums[item];
        if (relu && sum <= real(0)) sum = real(0);  // NaN is not
        if (below && (real)below[item] <= real(0)) sum = 0;
        sums[item] = stored(sum);
    }
}
