// Augmentation: images of bytes are cut, mirrored, recoloured and become numbers here.
// Source: gpunet/devices/cpu/augment.py, which has the formulas.

// What is chosen for an image stands in CHOICES values.
constexpr int TOP = 0, LEFT = 1, MIRRORED = 2, CONTRAST = 3, BRIGHTNESS = 4, SATURATION = 5, MEAN = 6, CHOICES = 7;

// Of a window that has `room` places to begin at beyond the first, the one that 32 random bits choose.
__device__ inline long long drawn(unsigned int word, long long room) {
    return (long long)((unsigned long long)word * (unsigned long long)(room + 1) >> 32);
}

// 1 + amount * (2u - 1) for the fraction u of 32 random bits.
__device__ inline real factor(unsigned int word, real amount) {
    return (1 - amount) + 2 * amount * (real(word) * real(1 / 4294967296.0));
}

// Thousandths of map d in the grey of three maps; the same for each map of others.
__device__ inline long long grey_weight(long long d, long long D) {
    return D != 3 ? 1 : d == 0 ? 299 : d == 1 ? 587 : 114;
}

// The sum over a window of all pixels' grey, in units of grey_weight, by all threads of the block. Sums of whole numbers
// are exact in any order.
template <typename Index>
__device__ inline long long sum_of_grey(
    const unsigned char* image, long long* shared, Index H0, Index W0, Index D, Index H, Divisor<Index> W, Index top,
    Index left
) {
    long long sum = 0;
    for (Index item = threadIdx.x; item < H * W; item += BLOCK) {
        const Index line = item / W, row = top + line, column = left + item - line * W.number;
        if (row < 0 || row >= H0 || column < 0 || column >= W0) continue;
        for (Index d = 0; d < D; ++d) sum += grey_weight(d, D) * image[(row * W0 + column) * D + d];
    }
    return reduce_sum(sum, shared);
}

// x        (N, H0, W0, D)  uint8, in
// choices  (N, CHOICES)    out
// numbers  (...)           in: what changes from step to step; how many images were learnt from before stands at `seen`
// first    where in the batch the first image stands
// A block chooses for an image; all its threads take the mean grey. magic_W is that of W.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
choose_augmentation(
    const unsigned char* __restrict__ x, real* __restrict__ choices, const double* __restrict__ numbers, long long N,
    long long H0, long long W0, long long D, long long H, long long W, long long magic_W, long long P, long long mirror,
    real contrast, real brightness, real saturation, long long seed, long long layer, long long seen, long long first, long long training
) {
    const long long before = (long long)numbers[seen] + first;
    __shared__ long long shared[BLOCK];
    const bool small = largest(H0 * W0 * D, (H + P) * W) < SMALL;
    const long long down = H0 + 2 * P - H, across = W0 + 2 * P - W;
    for (long long n = blockIdx.x; n < N; n += gridDim.x) {
        const Words one = random_words(2 * (before + n), 0, layer, seed);
        const Words two = random_words(2 * (before + n) + 1, 0, layer, seed);
        const long long top = (training ? drawn(one.a, down) : down / 2) - P;
        const long long left = (training ? drawn(one.b, across) : across / 2) - P;
        const bool means = training && contrast > 0;  // the same in all threads
        const unsigned char* image = x + n * H0 * W0 * D;
        const By by_W = {W, magic_W};
        long long sum = 0;
        if (means && small) sum = sum_of_grey<int>(image, shared, H0, W0, D, H, by_W, top, left);
        else if (means) sum = sum_of_grey<long long>(image, shared, H0, W0, D, H, by_W, top, left);
        if (threadIdx.x != 0) continue;
        real* chosen = choices + n * CHOICES;
        chosen[TOP] = real(top);
        chosen[LEFT] = real(left);
        chosen[MIRRORED] = real(training && mirror && one.c < 0x80000000u);
        chosen[CONTRAST] = training ? factor(one.d, contrast) : real(1);
        chosen[BRIGHTNESS] = training ? factor(two.a, brightness) : real(1);
        chosen[SATURATION] = training ? factor(two.b, saturation) : real(1);
        chosen[MEAN] = real(sum) / real((D == 3 ? 1000 : D) * H * W);
    }
}

__device__ inline real within(real value) { return value < 0 ? real(0) : value > 255 ? real(255) : value; }

// A pixel's value with the contrast and brightness of its image.
__device__ inline real toned(real pixel, const real* chosen) {
    const real value = within(chosen[CONTRAST] * pixel + (1 - chosen[CONTRAST]) * chosen[MEAN]);
    return within(chosen[BRIGHTNESS] * value);
}

// Times scale plus shift of map d.
struct Normal {
    real scale_0, scale_1, scale_2, shift_0, shift_1, shift_2;

    template <typename Index>
    __device__ inline real of(Index d, real value) const {
        return value * (d == 0 ? scale_0 : d == 1 ? scale_1 : scale_2) + (d == 0 ? shift_0 : d == 1 ? shift_1 : shift_2);
    }
};

// A pixel of y: where it stands in x, null outside, and what was chosen for its image.
struct Pixel {
    const unsigned char* from;
    const real* chosen;

    __device__ inline real raw(int d) const { return from ? real(from[d]) : real(0); }
    __device__ inline real tone(int d) const { return toned(raw(d), chosen); }
    __device__ inline real grey() const { return real(0.299) * tone(0) + real(0.587) * tone(1) + real(0.114) * tone(2); }

    // Map d recoloured, in front of that grey.
    __device__ inline real coloured(int d, real grey) const {
        return within(chosen[SATURATION] * tone(d) + (1 - chosen[SATURATION]) * grey);
    }
};

// Images of H0 x W0 x D, and the windows of H x W cut out of them.
template <typename Index>
struct Cuts {
    const unsigned char* x;
    const real* choices;
    Index H0, W0, D;
    Divisor<Index> H, W;

    __device__ inline Pixel at(Index pixel) const {
        const Index line = pixel / W, n = line / H, h = line - n * H.number, w = pixel - line * W.number;
        const real* chosen = choices + n * CHOICES;
        const Index row = h + Index(chosen[TOP]);
        const Index column = (chosen[MIRRORED] != 0 ? W.number - 1 - w : w) + Index(chosen[LEFT]);
        const bool seen = row >= 0 && row < H0 && column >= 0 && column < W0;
        return {seen ? x + ((n * H0 + row) * W0 + column) * D : nullptr, chosen};
    }
};

constexpr int RGB = 3;

// A thread makes a pixel of three maps; the block then writes its pixels, threads side by side values side by side.
template <typename Index>
__device__ inline void augment_rgb(Cuts<Index> cuts, stored* y, Index pixels, bool recolour, Normal normal, real* made) {
    for (Index first = blockIdx.x * BLOCK; first < pixels; first += item_stride()) {
        if (first + (Index)threadIdx.x < pixels) {
            const Pixel pixel = cuts.at(first + threadIdx.x);
            const real grey = recolour ? pixel.grey() : real(0);
            for (int d = 0; d < RGB; ++d) {
                made[threadIdx.x * RGB + d] = normal.of(d, recolour ? pixel.coloured(d, grey) : pixel.raw(d));
            }
        }
        __syncthreads();
        for (int value = threadIdx.x; value < BLOCK * RGB; value += BLOCK) {
            if (first * RGB + value < pixels * RGB) y[first * RGB + value] = made[value];
        }
        __syncthreads();
    }
}

// A thread makes a pixel of any other number of maps: these have no grey.
template <typename Index>
__device__ inline void augment_maps(Cuts<Index> cuts, stored* y, Index pixels, bool recolour, Normal normal) {
    for (Index item = first_item(); item < pixels; item += item_stride()) {
        const Pixel pixel = cuts.at(item);
        for (Index d = 0; d < cuts.D; ++d) {
            y[item * cuts.D + d] = normal.of(d, recolour ? pixel.coloured(d, 0) : pixel.raw(d));
        }
    }
}

template <typename Index>
__device__ inline void augmented(Cuts<Index> cuts, stored* y, Index pixels, bool recolour, Normal normal, real* made) {
    if (cuts.D == RGB) augment_rgb(cuts, y, pixels, recolour, normal, made);
    else augment_maps(cuts, y, pixels, recolour, normal);
}

// x        (N, H0, W0, D)  uint8, in
// choices  (N, CHOICES)    in
// y        (N, H, W, D)    out; not x
// scale and shift are those of map 0, 1 and all others.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
augment(
    const unsigned char* __restrict__ x, const real* __restrict__ choices, stored* __restrict__ y, long long N, long long H0,
    long long W0, long long D, long long H, long long W, long long magic_H, long long magic_W, long long recolour,
    real scale_0, real scale_1, real scale_2, real shift_0, real shift_1, real shift_2
) {
    __shared__ real made[BLOCK * RGB];
    const Normal normal = {scale_0, scale_1, scale_2, shift_0, shift_1, shift_2};
    const By by_H = {H, magic_H}, by_W = {W, magic_W};
    const long long pixels = N * H * W;
    if (largest(N * H0 * W0 * D, pixels * D) < SMALL) {
        const Cuts<int> cuts = {x, choices, (int)H0, (int)W0, (int)D, by_H, by_W};
        augmented<int>(cuts, y, pixels, recolour, normal, made);
    } else {
        augmented<long long>({x, choices, H0, W0, D, by_H, by_W}, y, pixels, recolour, normal, made);
    }
}
