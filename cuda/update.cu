// Parameter updates. Weight decay is added to the gradient: g = dw + weight_decay * w.
// Source: CS231n "Parameter updates"; momentum as PyTorch defines it (the learning rate is not inside the velocity).

// dw      (count,)  in
// w       (count,)  in and out
// w -= learning_rate * g. A thread takes a pack of neighbouring values.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
sgd_update(const real* __restrict__ dw, real* __restrict__ w, long long count, real learning_rate, real weight_decay) {
    elementwise(count, aligned(dw, w), [=](auto size, long long pack) {
        const auto gradients = load<size>(dw, pack);
        auto weights = load<size>(w, pack);
        for (int lane = 0; lane < size; ++lane) {
            const real g = gradients.value[lane] + weight_decay * weights.value[lane];
            weights.value[lane] -= learning_rate * g;
        }
        store(w, pack, weights);
    });
}

// dw      (count,)  in
// w       (count,)  in and out
// v       (count,)  velocity, in and out
// v = momentum * v + g; w -= learning_rate * v. A thread takes a pack of neighbouring values.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
momentum_update(
    const real* __restrict__ dw, real* __restrict__ w, real* __restrict__ v, long long count,
    real learning_rate, real momentum, real weight_decay
) {
    elementwise(count, aligned(dw, w, v), [=](auto size, long long pack) {
        const auto gradients = load<size>(dw, pack);
        auto weights = load<size>(w, pack);
        auto velocities = load<size>(v, pack);
        for (int lane = 0; lane < size; ++lane) {
            const real g = gradients.value[lane] + weight_decay * weights.value[lane];
            velocities.value[lane] = momentum * velocities.value[lane] + g;
            weights.value[lane] -= learning_rate * velocities.value[lane];
        }
        store(v, pack, velocities);
        store(w, pack, weights);
    });
}
