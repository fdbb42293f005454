// Images arrive as bytes and become numbers here.

// x       (count,)  uint8, in
// y       (count,)  out; not x
// y = x * scale + shift. A thread takes a pack of neighbouring values.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
image_to_float(const unsigned char* __restrict__ x, stored* __restrict__ y, long long count, real scale, real shift) {
    elementwise(count, aligned(x, y), [=](auto size, long long pack) {
        const auto bytes = load<size>(x, pack);
        Pack<real, size> values;
        for (int lane = 0; lane < size; ++lane) values.value[lane] = real(bytes.value[lane]) * scale + shift;
        store(y, pack, values);
    });
}
