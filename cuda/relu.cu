// ReLU, max(0, x), NaN staying NaN. Source: CS231n "Layers used to build ConvNets".

// x       (count,)  in
// y       (count,)  out; may be x
// A thread takes a pack of neighbouring values. NaN is not <= 0.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
relu_forward(const stored* x, stored* y, long long count) {
    elementwise(count, aligned(x, y), [=](auto size, long long pack) {
        auto values = load<size>(x, pack);
        for (int lane = 0; lane < size; ++lane) {
            if (values.value[lane] <= real(0)) values.value[lane] = real(0);
        }
        store(y, pack, values);
    });
}

// Of gradients those that ReLU lets through, exactly 0 in place of the others.
template <int COUNT>
__device__ inline Pack<real, COUNT> let_through(Pack<real, COUNT> gradients, const Pack<real, COUNT>& outputs) {
    for (int lane = 0; lane < COUNT; ++lane) {
        if (outputs.value[lane] <= real(0)) gradients.value[lane] = real(0);
    }
    return gradients;
}

// dy      (count,)  in
// y       (count,)  in, what relu_forward wrote
// dx      (count,)  out; may be dy or y
// dx = dy where y > 0 or y is NaN, else exactly 0. A thread takes a pack of neighbouring values.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
relu_backward(const stored* dy, const stored* y, stored* dx, long long count) {
    elementwise(count, aligned(dy, y, dx), [=](auto size, long long pack) {
        store(dx, pack, let_through(load<size>(dy, pack), load<size>(y, pack)));
    });
}

template <int COUNT, typename Index>
__device__ inline void relu_backward_packs(
    const stored* dy, const stored* y, stored* dx, Index positions, Divisor<Index> D, Index dy_row, Index y_row
) {
    each_pack<COUNT>(positions * D, [=](Index item) {
        const Index position = item / D, d = item - position * D.number;
        const auto gradients = load<COUNT>(dy + (position * dy_row + d)), outputs = load<COUNT>(y + (position * y_row + d));
        store(dx + item, let_through(gradients, outputs));
    });
}

// dy  (positions, D)  in; a position begins dy_row values behind the one before
// y   (positions, D)  in, what relu_forward wrote; y_row likewise
// dx  (positions, D)  out; may be that of dy and y whose positions follow one another
// As relu_backward. A thread takes a pack of maps of a position.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
relu_backward_maps(
    const stored* dy, const stored* y, stored* dx, long long positions, long long D, long long magic_D, long long dy_row,
    long long y_row
) {
    const bool packs = (D | dy_row | y_row) % WIDTH == 0 && aligned(dy, y, dx);
    const By by_D = {D, magic_D};
    DISPATCH(relu_backward_packs, packs, positions * largest(dy_row, y_row), dy, y, dx, positions, by_D, dy_row, y_row);
}

// Which of a pack's values let gradients pass, from bit 0 on.
template <int COUNT>
__device__ inline unsigned int passing(const Pack<real, COUNT>& outputs) {
    unsigned int bits = 0;
    for (int lane = 0; lane < COUNT; ++lane) bits |= (outputs.value[lane] <= real(0) ? 0u : 1u) << lane;
    return bits;
}

// a, b  (count,)  in
// y     (count,)  in, what relu_forward wrote
// dx    (count,)  out; may be a, b or y
// dx = a + b where y is positive or NaN, else exactly 0. A thread takes a pack of neighbouring values.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
add_relu_backward(const stored* a, const stored* b, const stored* y, stored* dx, long long count) {
    elementwise(count, aligned(a, b, y, dx), [=](auto size, long long pack) {
        auto sums = load<size>(a, pack);
        const auto others = load<size>(b, pack), seen = load<size>(y, pack);
        for (int lane = 0; lane < size; ++lane) {
            sums.value[lane] += others.value[lane];
            if (seen.value[lane] <= real(0)) sums.value[lane] = real(0);
        }
        store(dx, pack, sums);
    });
}

template <int COUNT>
__device__ inline Pack<real, COUNT> masked(Pack<real, COUNT> gradients, unsigned int bits) {
    for (int lane = 0; lane < COUNT; ++lane) {
        if (!(bits >> lane & 1)) gradients.value[lane] = real(0);
    }
    return gradients;
}

// Images of a multiple of 8 values follow one another in the mask as in y: a thread takes a pack, as many threads as make
// a byte put theirs together.
__device__ inline void mask_of_packs(const stored* y, unsigned char* mask, long long count) {
    constexpr int MAKERS = 8 / WIDTH;
    const long long packs = count / WIDTH, warp_begins = first_item() - threadIdx.x % WARP;
    for (long long ahead = 0; warp_begins + ahead < packs; ahead += item_stride()) {  // all of a warp, or none
        const long long pack = first_item() + ahead;
        unsigned int bits = 0;
        if (pack < packs) bits = passing(load<WIDTH>(y, pack)) << pack % MAKERS * WIDTH;
        for (int apart = MAKERS / 2; apart > 0; apart /= 2) bits |= __shfl_xor_sync(0xFFFFFFFFu, bits, apart);
        if (pack < packs && pack % MAKERS == 0) mask[pack / MAKERS] = (unsigned char)bits;
    }
}

// Other images begin with a byte of their own: a thread makes a byte.
template <typename Index>
__device__ inline void mask_of_values(const stored* y, unsigned char* mask, Index images, Index values, Divisor<Index> bytes) {
    for (Index byte = first_item(); byte < images * bytes; byte += item_stride()) {
        const Index image = byte / bytes, in_image = (byte - image * bytes.number) * 8;
        unsigned int bits = 0;
        for (int bit = 0; bit < 8 && in_image + bit < values; ++bit) {
            bits |= passing(load<1>(y + (image * values + in_image + bit))) << bit;
        }
        mask[byte] = (unsigned char)bits;
    }
}

// y       (images, values)            in, what relu_forward wrote
// mask    (images, ceil(values / 8))  out; bit b of byte i is 1 where value 8*i + b of the image is positive or NaN, 0
//                                     behind the last value
// magic_bytes is that of ceil(values / 8).
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
relu_mask(
    const stored* __restrict__ y, unsigned char* __restrict__ mask, long long images, long long values, long long magic_bytes
) {
    const By by_bytes = {(values + 7) / 8, magic_bytes};
    if (values % 8 == 0 && aligned(y)) mask_of_packs(y, mask, images * values);
    else if (images * values < SMALL) mask_of_values<int>(y, mask, images, values, by_bytes);
    else mask_of_values<long long>(y, mask, images, values, by_bytes);
}

template <typename Index>
__device__ inline void mask_of_maps(
    const stored* y, unsigned char* mask, Index images, Index values, Divisor<Index> bytes, Divisor<Index> D, Index y_row
) {
    const Index positions = values / D;  // of an image
    for (Index byte = first_item(); byte < images * bytes; byte += item_stride()) {
        const Index image = byte / bytes, in_image = (byte - image * bytes.number) * 8;
        const Index position = in_image / D;
        const stored* from = y + (image * positions + position) * y_row;
        Index d = in_image - position * D.number;
        unsigned int bits = 0;
        for (int bit = 0, left = (int)(values - in_image < 8 ? values - in_image : 8); bit < left; ++bit) {
            bits |= passing(load<1>(from + d)) << bit;
            if (++d == D.number) d = 0, from += y_row;
        }
        mask[byte] = (unsigned char)bits;
    }
}

// y     (images, values)            in; positions of D values each, which begin y_row values behind the one before
// mask  (images, ceil(values / 8))  out
// As relu_mask. A thread makes a byte.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
relu_mask_maps(
    const stored* __restrict__ y, unsigned char* __restrict__ mask, long long images, long long values, long long magic_bytes,
    long long D, long long magic_D, long long y_row
) {
    const By by_bytes = {(values + 7) / 8, magic_bytes}, by_D = {D, magic_D};
    if (images * values / D * y_row < SMALL) mask_of_maps<int>(y, mask, images, values, by_bytes, by_D, y_row);
    else mask_of_maps<long long>(y, mask, images, values, by_bytes, by_D, y_row);
}

// As above: a thread takes a pack and its part of a byte.
__device__ inline void masked_packs(const stored* dy, const unsigned char* mask, stored* dx, long long count) {
    constexpr int MAKERS = 8 / WIDTH;
    for (long long pack = first_item(); pack < count / WIDTH; pack += item_stride()) {
        const unsigned int bits = mask[pack / MAKERS] >> pack % MAKERS * WIDTH;
        store(dx, pack, masked(load<WIDTH>(dy, pack), bits));
    }
}

template <typename Index>
__device__ inline void masked_values(
    const stored* dy, const unsigned char* mask, stored* dx, Index images, Divisor<Index> values
) {
    const Index bytes = (values.number + 7) / 8;  // of an image
    for (Index item = first_item(); item < images * values; item += item_stride()) {
        const Index image = item / values, in_image = item - image * values.number;
        const unsigned int bits = mask[image * bytes + in_image / 8] >> in_image % 8;
        store(dx + item, masked(load<1>(dy + item), bits));
    }
}

// dy      (images, values)            in
// mask    (images, ceil(values / 8))  in, what relu_mask wrote
// dx      (images, values)            out; may be dy
// dx = dy where the bit is 1, else exactly 0, as relu_backward has it.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
relu_backward_masked(
    const stored* dy, const unsigned char* __restrict__ mask, stored* dx, long long images, long long values,
    long long magic_values
) {
    const By by_values = {values, magic_values};
    if (values % 8 == 0 && aligned(dy, dx)) masked_packs(dy, mask, dx, images * values);
    else if (images * values < SMALL) masked_values<int>(dy, mask, dx, images, by_values);
    else masked_values<long long>(dy, mask, dx, images, by_values);
}

template <int COUNT, typename Index>
__device__ inline void masked_maps(
    const stored* dy, const unsigned char* mask, stored* dx, Index images, Divisor<Index> values, Divisor<Index> D, Index dy_row
) {
    const Index bytes = (values.number + 7) / 8;  // of an image
    each_pack<COUNT>(images * values, [=](Index item) {
        const Index image = item / values, place = item - image * values.number, position = item / D;
        const unsigned int bits = mask[image * bytes + place / 8] >> place % 8;
        store(dx + item, masked(load<COUNT>(dy + (position * dy_row + (item - position * D.number))), bits));
    });
}

// dy    (images, values)            in; positions of D values each, which begin dy_row values behind the one before
// mask  (images, ceil(values / 8))  in, what relu_mask wrote
// dx    (images, values)            out; not dy
// As relu_backward_masked. A thread takes a pack of maps of a position.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
relu_backward_masked_maps(
    const stored* __restrict__ dy, const unsigned char* __restrict__ mask, stored* __restrict__ dx, long long images,
    long long values, long long magic_values, long long D, long long magic_D, long long dy_row
) {
    const By by_values = {values, magic_values}, by_D = {D, magic_D};
    const bool packs = aligned(dy, dx) && (D | dy_row) % WIDTH == 0;
    DISPATCH(masked_maps, packs, images * values / D * dy_row, dy, mask, dx, images, by_values, by_D, dy_row);
}
