// Dropout, with random numbers that are a function of where they are used.
// Source: CS231n "Dropout", inverted; Srivastava et al. 2014.

// x          (count,)  in
// numbers    (...)     in: what changes from step to step; the step stands at `step`
// y          (count,)  out; may be x
// first      where in the batch the first value stands
// threshold  values whose random word is below it become 0, the others are multiplied by scale
// seed       the key; group of four values, step and layer are the counter
// A thread takes a pack of neighbouring values, all of one group.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
dropout(
    const real* x, const double* __restrict__ numbers, real* y, long long count, long long first, long long threshold,
    long long seed, long long step, long long layer, real scale
) {
    const long long now = (long long)numbers[step];
    elementwise(count, first % WIDTH == 0 && aligned(x, y), [=](auto size, long long pack) {
        const long long place = first + pack * size;
        const Words words = random_words(place / 4, now, layer, seed);
        auto values = load<size>(x, pack);
        for (int lane = 0; lane < size; ++lane) {
            const int which = (int)((place + lane) % 4);
            const unsigned int word = which == 0 ? words.a : which == 1 ? words.b : which == 2 ? words.c : words.d;
            values.value[lane] = word < threshold ? real(0) : values.value[lane] * scale;
        }
        store(y, pack, values);
    });
}
