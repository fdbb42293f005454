// Values of one floating type as those of another: copies of filters in halves, and what is computed with in float32.

// A thread takes a pack of neighbouring values, as many as are MOVED bytes of the wider type.
template <typename From, typename To>
__device__ inline void cast(const From* x, To* y, long long count) {
    constexpr int PACK = MOVED / sizeof(real);
    elementwise<PACK>(count, aligned(x, y), [=](auto size, long long pack) { store(y, pack, load<size>(x, pack)); });
}

// x  (count,)  in
// y  (count,)  out; may not be x; each value is rounded to the nearest one, of two equally near to the even one
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
cast_narrow(const real* __restrict__ x, stored* __restrict__ y, long long count) {
    cast(x, y, count);
}

// x  (count,)  in
// y  (count,)  out; may not be x; each value is as it was
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
cast_wide(const stored* __restrict__ x, real* __restrict__ y, long long count) {
    cast(x, y, count);
}
