// Leaky ReLU: x where x > 0, else alpha * x. Source: CS231n "Commonly used activation functions"; Maas et al. 2013.

// x  (count,)  in
// y  (count,)  out; may be x
// A thread takes a pack of neighbouring values. NaN is not <= 0.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
leaky_relu_forward(const stored* x, stored* y, long long count, real alpha) {
    elementwise(count, aligned(x, y), [=](auto size, long long pack) {
        auto values = load<size>(x, pack);
        for (int lane = 0; lane < size; ++lane) {
            if (values.value[lane] <= real(0)) values.value[lane] *= alpha;
        }
        store(y, pack, values);
    });
}

// dy  (count,)  in
// y   (count,)  in, what leaky_relu_forward wrote
// dx  (count,)  out; may be dy or y
// dx = dy where y > 0 or y is NaN, else alpha * dy. A thread takes a pack of neighbouring values.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
leaky_relu_backward(const stored* dy, const stored* y, stored* dx, long long count, real alpha) {
    elementwise(count, aligned(dy, y, dx), [=](auto size, long long pack) {
        const auto outputs = load<size>(y, pack);
        auto gradients = load<size>(dy, pack);
        for (int lane = 0; lane < size; ++lane) {
            if (outputs.value[lane] <= real(0)) gradients.value[lane] *= alpha;
        }
        store(dx, pack, gradients);
    });
}
