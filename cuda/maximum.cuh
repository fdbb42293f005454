// The maximum of a window of 2 x 2, with ReLU behind it.

// `four`: the values of the window, row by row. `number`: which of them the maximum is; 4: none, as ReLU gives 0.
struct Maximum {
    real value;
    unsigned char number;

    __device__ Maximum(const real (&four)[4], bool relu) : value(four[0]), number(0) {
#pragma unroll
        for (int at = 1; at < 4; ++at) {
            if (beats(four[at], value)) value = four[at], number = (unsigned char)at;
        }
        if (relu && value <= real(0)) value = real(0), number = 4;  // NaN stays
    }
};
