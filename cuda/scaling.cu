// Loss scaling: gradients times a scale, brought back from it, and what becomes of the scale.
// Source: Micikevicius et al. 2018, "Mixed precision training", section 3.2.

// dx       (count,)  in
// scaling  (2,)      in: the scale, and the steps since it changed
// y        (count,)  out; may be dx
// A thread takes a pack of neighbouring values.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
scale_gradient(const real* dx, const real* __restrict__ scaling, real* y, long long count) {
    const real scale = scaling[0];
    elementwise(count, aligned(dx, y), [=](auto size, long long pack) {
        auto gradients = load<size>(dx, pack);
        for (int lane = 0; lane < size; ++lane) gradients.value[lane] *= scale;
        store(y, pack, gradients);
    });
}

// scaling  (2,)      in
// dw       (count,)  in and out: divided by the scale, a power of two. A thread takes a pack of neighbouring values.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
unscale(const real* __restrict__ scaling, real* __restrict__ dw, long long count) {
    const real inverse = real(1) / scaling[0];
    elementwise(count, aligned(dw), [=](auto size, long long pack) {
        auto gradients = load<size>(dw, pack);
        for (int lane = 0; lane < size; ++lane) gradients.value[lane] *= inverse;
        store(dw, pack, gradients);
    });
}

// loss        (1,)  in
// square_sum  (1,)  in: of the squares of all gradients
// scaling     (2,)  in and out: after `patience` steps with a finite sum the scale doubles, where it is not finite it halves
// settled     (1,)  out: the loss, or NaN where the sum is not finite
// One thread does it all; a loss that is infinite or NaN leaves the scale as it is.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
settle_scaling(
    const real* __restrict__ loss, const real* __restrict__ square_sum, real* __restrict__ scaling,
    real* __restrict__ settled, long long patience
) {
    if (blockIdx.x != 0 || threadIdx.x != 0) return;
    const bool fine = is_number(square_sum[0]);
    settled[0] = fine ? loss[0] : square_sum[0] - square_sum[0];
    if (!is_number(loss[0])) return;
    const real least = 1, most = 16777216;
    real scale = scaling[0], steps = scaling[1] + real(1);
    if (!fine) {
        scale = scale / 2 > least ? scale / 2 : least;
        steps = 0;
    } else if (steps >= real(patience)) {
        scale = scale * 2 < most ? scale * 2 : most;
        steps = 0;
    }
    scaling[0] = scale;
    scaling[1] = steps;
}
