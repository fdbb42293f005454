// ReLU, max(0, x), NaN staying NaN. Source: CS231n "Layers used to build ConvNets".

// x       (count,)  in
// y       (count,)  out; may be x
// A thread takes a pack of neighbouring values. NaN is not <= 0.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
relu_forward(const real* x, real* y, long long count) {
    elementwise(count, aligned(x, y), [=](auto size, long long pack) {
        auto values = load<size>(x, pack);
        for (int lane = 0; lane < size; ++lane) {
            if (values.value[lane] <= real(0)) values.value[lane] = real(0);
        }
        store(y, pack, values);
    });
}

// dy      (count,)  in
// y       (count,)  in, what relu_forward wrote
// dx      (count,)  out; may be dy or y
// dx = dy where y > 0 or y is NaN, else exactly 0. A thread takes a pack of neighbouring values.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
relu_backward(const real* dy, const real* y, real* dx, long long count) {
    elementwise(count, aligned(dy, y, dx), [=](auto size, long long pack) {
        const auto outputs = load<size>(y, pack);
        auto gradients = load<size>(dy, pack);
        for (int lane = 0; lane < size; ++lane) {
            if (outputs.value[lane] <= real(0)) gradients.value[lane] = real(0);
        }
        store(dx, pack, gradients);
    });
}

template <int COUNT, typename Index>
__device__ inline void relu_mask_packs(const real* y, unsigned char* mask, Index images, Index values) {
    const Index bytes = (values + 7) / 8;  // of an image
    for (Index byte = first_item(); byte < images * bytes; byte += item_stride()) {
        const Index in_image = byte % bytes * 8, first = byte / bytes * values + in_image;
        unsigned int bits = 0;
        for (int bit = 0; bit < 8; bit += COUNT) {
            if (in_image + bit >= values) break;
            const auto outputs = load<COUNT>(y + first, bit / COUNT);
            for (int lane = 0; lane < COUNT; ++lane) {
                if (!(outputs.value[lane] <= real(0))) bits |= 1u << (bit + lane);
            }
        }
        mask[byte] = (unsigned char)bits;
    }
}

// y       (images, values)            in, what relu_forward wrote
// mask    (images, ceil(values / 8))  out; bit b of byte i is 1 where value 8*i + b of the image is positive or NaN, 0
//                                     behind the last value
// A thread makes a byte; it reads packs where every image begins at a multiple of 16 bytes.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
relu_mask(const real* __restrict__ y, unsigned char* __restrict__ mask, long long images, long long values) {
    DISPATCH(relu_mask_packs, values % WIDTH == 0 && aligned(y), images * values, y, mask, images, values);
}

template <int COUNT, typename Index>
__device__ inline void relu_backward_masked_packs(
    const real* dy, const unsigned char* mask, real* dx, Index images, Index values
) {
    const Index bytes = (values + 7) / 8;  // of an image
    for (Index byte = first_item(); byte < images * bytes; byte += item_stride()) {
        const Index in_image = byte % bytes * 8, first = byte / bytes * values + in_image;
        const unsigned int bits = mask[byte];
        for (int bit = 0; bit < 8; bit += COUNT) {
            if (in_image + bit >= values) break;
            auto gradients = load<COUNT>(dy + first, bit / COUNT);
            for (int lane = 0; lane < COUNT; ++lane) {
                if (!(bits >> (bit + lane) & 1)) gradients.value[lane] = real(0);
            }
            store(dx + first, bit / COUNT, gradients);
        }
    }
}

// dy      (images, values)            in
// mask    (images, ceil(values / 8))  in, what relu_mask wrote
// dx      (images, values)            out; may be dy
// dx = dy where the bit is 1, else exactly 0, as relu_backward has it. A thread takes a byte and its values.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
relu_backward_masked(
    const real* dy, const unsigned char* __restrict__ mask, real* dx, long long images, long long values
) {
    const bool packable = values % WIDTH == 0 && aligned(dy, dx);
    DISPATCH(relu_backward_masked_packs, packable, images * values, dy, mask, dx, images, values);
}
