// Sigmoid and tanh. Source: CS231n "Commonly used activation functions".
//
// In every kernel, of `count` values each,
//   x, dy, y  (count,)  in; y is what the forward kernel wrote
//   y, dx     (count,)  out; y may be x, dx may be dy or y
// A thread takes a pack of neighbouring values.

// y = rule(x) for every value.
template <typename Rule>
__device__ inline void squash(const stored* x, stored* y, long long count, Rule rule) {
    elementwise(count, aligned(x, y), [=](auto size, long long pack) {
        auto values = load<size>(x, pack);
        for (int lane = 0; lane < size; ++lane) values.value[lane] = rule(values.value[lane]);
        store(y, pack, values);
    });
}

// dx = dy * slope(y) for every value.
template <typename Rule>
__device__ inline void squash_backward(const stored* dy, const stored* y, stored* dx, long long count, Rule slope) {
    elementwise(count, aligned(dy, y, dx), [=](auto size, long long pack) {
        const auto outputs = load<size>(y, pack);
        auto gradients = load<size>(dy, pack);
        for (int lane = 0; lane < size; ++lane) gradients.value[lane] *= slope(outputs.value[lane]);
        store(dx, pack, gradients);
    });
}

// y = 1 / (1 + exp(-x)), from exp(-|x|), which never overflows
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
sigmoid_forward(const stored* x, stored* y, long long count) {
    squash(x, y, count, [](real value) {
        const real exponent = exp(-fabs(value));
        return (value >= real(0) ? real(1) : exponent) / (real(1) + exponent);
    });
}

// dx = dy * (y * (1 - y))
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
sigmoid_backward(const stored* dy, const stored* y, stored* dx, long long count) {
    squash_backward(dy, y, dx, count, [](real output) { return output * (real(1) - output); });
}

// y = tanh(x)
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
tanh_forward(const stored* x, stored* y, long long count) {
    squash(x, y, count, [](real value) { return tanh(value); });
}

// dx = dy * ((1 - y) * (1 + y))
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
tanh_backward(const stored* dy, const stored* y, stored* dx, long long count) {
    squash_backward(dy, y, dx, count, [](real output) { return (real(1) - output) * (real(1) + output); });
}
