// Dropout, with random numbers that are a function of where they are used.
// Source: CS231n "Dropout", inverted; Srivastava et al. 2014. Random numbers: Philox 4x32 of ten rounds, Salmon et al. 2011,
// "Parallel random numbers: as easy as 1, 2, 3".

struct Words {
    unsigned int a, b, c, d;
};

// The four words of a counter and a key.
__device__ inline Words philox(Words counter, unsigned int key0, unsigned int key1) {
    for (int round = 0; round < 10; ++round) {
        const unsigned long long one = 0xD2511F53ull * counter.a, two = 0xCD9E8D57ull * counter.c;
        counter = {
            (unsigned int)(two >> 32) ^ counter.b ^ key0, (unsigned int)two,
            (unsigned int)(one >> 32) ^ counter.d ^ key1, (unsigned int)one
        };
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return counter;
}

// x          (count,)  in
// y          (count,)  out; may be x
// first      where in the batch the first value stands
// threshold  values whose random word is below it become 0, the others are multiplied by scale
// seed       the key; group of four values, step and layer are the counter
// A thread takes a pack of neighbouring values, all of one group.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT)
dropout(
    const real* x, real* y, long long count, long long first, long long threshold, long long seed, long long step,
    long long layer, real scale
) {
    elementwise(count, first % WIDTH == 0 && aligned(x, y), [=](auto size, long long pack) {
        const long long place = first + pack * size, group = place / 4;
        const Words words = philox(
            {(unsigned int)group, (unsigned int)(group >> 32), (unsigned int)step, (unsigned int)layer},
            (unsigned int)seed, (unsigned int)(seed >> 32)
        );
        auto values = load<size>(x, pack);
        for (int lane = 0; lane < size; ++lane) {
            const int which = (int)((place + lane) % 4);
            const unsigned int word = which == 0 ? words.a : which == 1 ? words.b : which == 2 ? words.c : words.d;
            values.value[lane] = word < threshold ? real(0) : values.value[lane] * scale;
        }
        store(y, pack, values);
    });
}
