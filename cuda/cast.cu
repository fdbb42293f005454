// Values of one floating type as those of another.

// x  (count,)  in
// y  (count,)  out; may not be x
// A thread takes a pack of neighbouring values.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
cast_forward(const real* __restrict__ x, real* __restrict__ y, long long count) {
    elementwise(count, aligned(x, y), [=](auto size, long long pack) { store(y, pack, load<size>(x, pack)); });
}
