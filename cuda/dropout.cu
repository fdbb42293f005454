// Dropout, with random numbers that are a function of where they are used.
// Sources: CS231n "Dropout", inverted; Srivastava et al. 2014; whole maps and branches: gpunet/layers/dropout.py.

__device__ inline unsigned int word_of(const Words& words, int which) {
    return which == 0 ? words.a : which == 1 ? words.b : which == 2 ? words.c : words.d;
}

// x          (count,)  in
// numbers    (...)     in: what changes from step to step; the step stands at `step`
// y          (count,)  out; may be x
// first      where in the batch the first value stands
// threshold  values whose random word is below it become 0, the others are multiplied by scale
// seed       the key; group of four values, step and layer are the counter
// A thread takes a pack of neighbouring values: one group, two of halves, or a part of one.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
dropout(
    const stored* x, const double* __restrict__ numbers, stored* y, long long count, long long first, long long threshold,
    long long seed, long long step, long long layer, real scale
) {
    const long long now = (long long)numbers[step];
    elementwise(count, first % WIDTH == 0 && aligned(x, y), [=](auto size, long long pack) {
        const long long place = first + pack * size;
        auto values = load<size>(x, pack);
        Words words = {};
        for (int lane = 0; lane < size; ++lane) {
            if (lane % 4 == 0) words = random_words((place + lane) / 4, now, layer, seed);
            const unsigned int word = word_of(words, (int)((place + lane) % 4));
            values.value[lane] = word < threshold ? real(0) : values.value[lane] * scale;
        }
        store(y, pack, values);
    });
}

template <int COUNT, typename Index>
__device__ inline void dropout_whole_packs(
    const stored* x, stored* y, Index images, Divisor<Index> of_image, Divisor<Index> D, long long first_image, long long maps,
    long long threshold, long long seed, long long now, long long layer, real scale
) {
    each_pack<COUNT>(images * of_image.number, [=](Index item) {
        const long long image = first_image + item / of_image, d = item % D;
        auto values = load<COUNT>(x + item);
        Words words = {};
        for (int lane = 0; lane < COUNT; ++lane) {
            const long long place = maps == 1 ? image : image * maps + d + lane;
            if (lane == 0 || (maps > 1 && place % 4 == 0)) words = random_words(place / 4, now, layer, seed);  // four share a group
            const bool gone = word_of(words, (int)(place % 4)) < threshold;
            values.value[lane] = gone ? real(0) : values.value[lane] * scale;
        }
        store(y + item, values);
    });
}

// x            (images, positions, D)  in
// numbers      (...)                   in: what changes from step to step; the step stands at `step`
// y            (images, positions, D)  out; may be x
// first_image  where in the batch the first image stands
// maps         D: every map of an image has a random word; 1: every image has one
// All else as in dropout. A thread takes a pack of maps of a position.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
dropout_whole(
    const stored* x, const double* __restrict__ numbers, stored* y, long long images, long long positions, long long D,
    long long magic_of_image, long long magic_D, long long first_image, long long maps, long long threshold, long long seed,
    long long step, long long layer, real scale
) {
    const By of_image = {positions * D, magic_of_image}, maps_of_all = {D, magic_D};
    const long long now = (long long)numbers[step];
    DISPATCH(
        dropout_whole_packs, D % WIDTH == 0 && aligned(x, y), images * positions * D, x, y, images, of_image,
        maps_of_all, first_image, maps, threshold, seed, now, layer, scale
    );
}
