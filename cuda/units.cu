// The units of later nets: clip, hard sigmoid, ELU and softplus, SiLU, hard-swish and GELU. Sources: gpunet/layers/units.py.
//
// In every kernel, of `count` values each,
//   x, dy, y  (count,)  in; y is what the forward kernel wrote, x what it read
//   y, dx     (count,)  out; y may be x, dx may be dy or the other input
// A thread takes a pack of neighbouring values.

// y = rule(x) for every value.
template <typename Rule>
__device__ inline void unit(const stored* x, stored* y, long long count, Rule rule) {
    elementwise(count, aligned(x, y), [=](auto size, long long pack) {
        auto values = load<size>(x, pack);
        for (int lane = 0; lane < size; ++lane) values.value[lane] = rule(values.value[lane]);
        store(y, pack, values);
    });
}

// dx = rule(dy, seen) for every value; seen is x or y.
template <typename Rule>
__device__ inline void unit_backward(const stored* dy, const stored* seen, stored* dx, long long count, Rule rule) {
    elementwise(count, aligned(dy, seen, dx), [=](auto size, long long pack) {
        const auto known = load<size>(seen, pack);
        auto gradients = load<size>(dy, pack);
        for (int lane = 0; lane < size; ++lane) gradients.value[lane] = rule(gradients.value[lane], known.value[lane]);
        store(dx, pack, gradients);
    });
}

// value brought into low..high; NaN stays NaN.
__device__ inline real clipped(real value, real low, real high) {
    return value < low ? low : value > high ? high : value;
}

__device__ inline real hard_gate(real value) { return clipped(value + real(3), real(0), real(6)) / real(6); }

// 1 / (1 + exp(-value)), from exp(-|value|), which never overflows.
__device__ inline real sigmoid_of(real value) {
    const real exponent = exp(-fabs(value));
    return (value >= real(0) ? real(1) : exponent) / (real(1) + exponent);
}

constexpr real SCALE = real(0.79788456080286535588);  // sqrt(2/pi), of GELU by tanh
constexpr real CUBIC = real(0.044715);

__device__ inline real bend(real value) { return tanh(SCALE * (value + CUBIC * value * value * value)); }

// The probability that a standard normal number is below value; erfc keeps the digits of small ones.
__device__ inline real normal_below(real value) {
    return erfc(-value * real(0.70710678118654752440)) / real(2);
}

// y = min(max(low, x), high)
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
clip_forward(const stored* x, stored* y, long long count, real low, real high) {
    unit(x, y, count, [=](real value) { return clipped(value, low, high); });
}

// dx = dy where low < y < high or y is NaN, else exactly 0
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
clip_backward(const stored* dy, const stored* y, stored* dx, long long count, real low, real high) {
    unit_backward(dy, y, dx, count, [=](real above, real output) {
        return output <= low || output >= high ? real(0) : above;
    });
}

// y = min(max(0, x + 3), 6) / 6
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
hard_sigmoid_forward(const stored* x, stored* y, long long count) {
    unit(x, y, count, [](real value) { return hard_gate(value); });
}

// dx = dy / 6 where 0 < y < 1 or y is NaN, else exactly 0
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
hard_sigmoid_backward(const stored* dy, const stored* y, stored* dx, long long count) {
    unit_backward(dy, y, dx, count, [](real above, real output) {
        return output <= real(0) || output >= real(1) ? real(0) : above / real(6);
    });
}

// y = x where x > 0, else alpha * (exp(x) - 1)
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
elu_forward(const stored* x, stored* y, long long count, real alpha) {
    unit(x, y, count, [=](real value) { return value > real(0) ? value : alpha * expm1(value); });
}

// dx = dy where y > 0, else dy * (y + alpha)
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
elu_backward(const stored* dy, const stored* y, stored* dx, long long count, real alpha) {
    unit_backward(dy, y, dx, count, [=](real above, real output) {
        return output > real(0) ? above : above * (output + alpha);
    });
}

// y = log(1 + exp(x)), as max(x, 0) + log(1 + exp(-|x|)), which never overflows
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
softplus_forward(const stored* x, stored* y, long long count) {
    unit(x, y, count, [](real value) {
        return (value < real(0) ? real(0) : value) + log1p(exp(-fabs(value)));
    });
}

// dx = dy * (1 - exp(-y))
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
softplus_backward(const stored* dy, const stored* y, stored* dx, long long count) {
    unit_backward(dy, y, dx, count, [](real above, real output) { return above * -expm1(-output); });
}

// y = x * sigmoid(x)
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
silu_forward(const stored* x, stored* y, long long count) {
    unit(x, y, count, [](real value) { return value * sigmoid_of(value); });
}

// dx = dy * s * (1 + x * (1 - s)), s = sigmoid(x)
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
silu_backward(const stored* dy, const stored* x, stored* dx, long long count) {
    unit_backward(dy, x, dx, count, [](real above, real value) {
        return above * (sigmoid_of(value) * (real(1) + value * sigmoid_of(-value)));
    });
}

// y = x * min(max(0, x + 3), 6) / 6
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
hard_swish_forward(const stored* x, stored* y, long long count) {
    unit(x, y, count, [](real value) { return value * hard_gate(value); });
}

// dx = 0 where x <= -3, dy where x >= 3, else dy * (x/3 + 1/2)
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
hard_swish_backward(const stored* dy, const stored* x, stored* dx, long long count) {
    unit_backward(dy, x, dx, count, [](real above, real value) {
        return above * (value <= real(-3) ? real(0) : value >= real(3) ? real(1) : value / real(3) + real(0.5));
    });
}

// y = x * p(x), p the probability that a standard normal number is below x, or its approximation by tanh
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
gelu_forward(const stored* x, stored* y, long long count, long long by_tanh) {
    unit(x, y, count, [=](real value) {
        return value * (by_tanh ? (real(1) + bend(value)) / real(2) : normal_below(value));
    });
}

// dx = dy * (p(x) + x * p'(x))
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
gelu_backward(const stored* dy, const stored* x, stored* dx, long long count, long long by_tanh) {
    unit_backward(dy, x, dx, count, [=](real above, real value) {
        if (by_tanh) {
            const real bent = bend(value), steepness = SCALE * (real(1) + real(3) * CUBIC * value * value);
            return above * ((real(1) + bent) / real(2) * (real(1) + value * (real(1) - bent) * steepness));
        }
        const real density = exp(value * value * real(-0.5)) * real(0.39894228040143267794);  // 1 / sqrt(2*pi)
        return above * (normal_below(value) + value * density);
    });
}
