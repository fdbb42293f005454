// Parameter updates, of many parameters in one launch. Weight decay is added to the gradient: g = dw + weight_decay * w; in
// adamw_update alone it is not.
// Source: CS231n "Parameter updates"; the definitions are those of torch.optim, see gpunet/devices/cpu/update.py.
//
// In every kernel, of `count` values each,
//   table    of each parameter
//              dw      (count,)  in
//              w       (count,)  in and out
//              caches  (count,)  in and out, zeros before the first step: v, squares or m
//   entries  how many parameters there are
//   loss     (1,)      in: where it is infinite or NaN, nothing is written
//   numbers  (...)     in: what changes from step to step; the learning rate stands at `rate`
// None may alias another. A block takes some thousand values of a parameter, a thread packs of neighbouring ones.

#include "table.cuh"

// Calls rule(g, w, cache) with references to `w` and `cache` for every value; g includes the weight decay.
template <typename Rule>
__device__ inline void with_cache(const Table& table, long long entries, real weight_decay, Rule rule) {
    typedef Entries<3> Of;
    each_share<3>(table, entries, [&](int entry, long long first, int count) {
        const real* dw = Of::array(table, entry, 0) + first;
        real *w = Of::array(table, entry, 1) + first, *cache = Of::array(table, entry, 2) + first;
        within_share(count, aligned(dw, w, cache), [=](auto size, int pack) {
            const auto gradients = load<size>(dw, pack);
            auto weights = load<size>(w, pack);
            auto caches = load<size>(cache, pack);
            for (int lane = 0; lane < size; ++lane) {
                const real g = gradients.value[lane] + weight_decay * weights.value[lane];
                rule(g, weights.value[lane], caches.value[lane]);
            }
            store(cache, pack, caches);
            store(w, pack, weights);
        });
    });
}

// w = keep * w, then Adam's step of g = dw + weight_decay * w.
// rate: the learning rate over 1 - beta1**step; root: that of 1 - beta2**step; rest1, rest2: 1 - beta1, 1 - beta2.
__device__ inline void adam(
    const Table& table, long long entries,
    real rate, real root, real weight_decay, real keep, real rest1, real beta2, real rest2, real eps
) {
    typedef Entries<4> Of;
    each_share<4>(table, entries, [&](int entry, long long first, int count) {
        const real* dw = Of::array(table, entry, 0) + first;
        real *w = Of::array(table, entry, 1) + first, *m = Of::array(table, entry, 2) + first;
        real* v = Of::array(table, entry, 3) + first;
        within_share(count, aligned(dw, w, m, v), [=](auto size, int pack) {
            const auto gradients = load<size>(dw, pack);
            auto weights = load<size>(w, pack);
            auto means = load<size>(m, pack);
            auto squares = load<size>(v, pack);
            for (int lane = 0; lane < size; ++lane) {
                const real g = gradients.value[lane] + weight_decay * weights.value[lane];
                means.value[lane] += rest1 * (g - means.value[lane]);
                squares.value[lane] = beta2 * squares.value[lane] + rest2 * g * g;
                const real step = means.value[lane] / (sqrt(squares.value[lane]) / root + eps);
                weights.value[lane] = keep * weights.value[lane] - rate * step;
            }
            store(m, pack, means);
            store(v, pack, squares);
            store(w, pack, weights);
        });
    });
}

// w -= learning_rate * g
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
sgd_update(
    const Table table, long long entries, const real* __restrict__ loss, const double* __restrict__ numbers,
    long long rate, real weight_decay
) {
    if (!is_number(*loss)) return;
    const real learning_rate = real(numbers[rate]);
    typedef Entries<2> Of;
    each_share<2>(table, entries, [&](int entry, long long first, int count) {
        const real* dw = Of::array(table, entry, 0) + first;
        real* w = Of::array(table, entry, 1) + first;
        within_share(count, aligned(dw, w), [=](auto size, int pack) {
            const auto gradients = load<size>(dw, pack);
            auto weights = load<size>(w, pack);
            for (int lane = 0; lane < size; ++lane) {
                const real g = gradients.value[lane] + weight_decay * weights.value[lane];
                weights.value[lane] -= learning_rate * g;
            }
            store(w, pack, weights);
        });
    });
}

// v = momentum * v + g; w -= learning_rate * v
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
momentum_update(
    const Table table, long long entries, const real* __restrict__ loss, const double* __restrict__ numbers,
    long long rate, real momentum, real weight_decay
) {
    if (!is_number(*loss)) return;
    const real learning_rate = real(numbers[rate]);
    with_cache(table, entries, weight_decay, [=](real g, real& weight, real& velocity) {
        velocity = momentum * velocity + g;
        weight -= learning_rate * velocity;
    });
}

// v = momentum * v + g; w -= learning_rate * (g + momentum * v)
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
nesterov_update(
    const Table table, long long entries, const real* __restrict__ loss, const double* __restrict__ numbers,
    long long rate, real momentum, real weight_decay
) {
    if (!is_number(*loss)) return;
    const real learning_rate = real(numbers[rate]);
    with_cache(table, entries, weight_decay, [=](real g, real& weight, real& velocity) {
        velocity = momentum * velocity + g;
        weight -= learning_rate * (g + momentum * velocity);
    });
}

// squares += g * g; w -= learning_rate * g / (sqrt(squares) + eps)
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
adagrad_update(
    const Table table, long long entries, const real* __restrict__ loss, const double* __restrict__ numbers,
    long long rate, real weight_decay, real eps
) {
    if (!is_number(*loss)) return;
    const real learning_rate = real(numbers[rate]);
    with_cache(table, entries, weight_decay, [=](real g, real& weight, real& total) {
        total += g * g;
        weight -= learning_rate * (g / (sqrt(total) + eps));
    });
}

// squares = alpha * squares + rest * g * g; w -= learning_rate * g / (sqrt(squares) + eps); rest: 1 - alpha
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
rmsprop_update(
    const Table table, long long entries, const real* __restrict__ loss, const double* __restrict__ numbers,
    long long rate, real weight_decay, real alpha, real rest, real eps
) {
    if (!is_number(*loss)) return;
    const real learning_rate = real(numbers[rate]);
    with_cache(table, entries, weight_decay, [=](real g, real& weight, real& mean) {
        mean = alpha * mean + rest * g * g;
        weight -= learning_rate * (g / (sqrt(mean) + eps));
    });
}

// Adam's step; rate and root: where those of adam() above stand in numbers.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
adam_update(
    const Table table, long long entries, const real* __restrict__ loss, const double* __restrict__ numbers,
    long long rate, long long root, real weight_decay, real rest1, real beta2, real rest2, real eps
) {
    if (!is_number(*loss)) return;
    const real now = real(numbers[rate]), scale = real(numbers[root]);
    adam(table, entries, now, scale, weight_decay, real(1), rest1, beta2, rest2, eps);
}

// Adam's step of dw alone, after w = kept * w: 1 - learning_rate * weight_decay stands at `keep`.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
adamw_update(
    const Table table, long long entries, const real* __restrict__ loss, const double* __restrict__ numbers,
    long long rate, long long root, long long keep, real rest1, real beta2, real rest2, real eps
) {
    if (!is_number(*loss)) return;
    const real now = real(numbers[rate]), scale = real(numbers[root]), kept = real(numbers[keep]);
    adam(table, entries, now, scale, real(0), kept, rest1, beta2, rest2, eps);
}
