// What kernels on tensor cores store, and where there are any.

struct Half {  // 16 bits of one kind or the other
    unsigned short bits;
};

typedef real stored;

// Whether there are products on tensor cores of what is stored as such; where there are none, kernels are empty and nobody asks
// for them.
#if defined(EMULATED) || __CUDA_ARCH__ >= 800
template <typename Stored>
constexpr bool ON_TENSOR_CORES = sizeof(Stored) <= 4;
#elif __CUDA_ARCH__ >= 750
template <typename Stored>
constexpr bool ON_TENSOR_CORES = sizeof(Stored) == 2;
#else
template <typename Stored>
constexpr bool ON_TENSOR_CORES = false;
#endif

template <typename Stored>
__device__ inline Stored rounded(float value) { return (Stored)value; }

template <typename Stored>
__device__ inline float widened(Stored value) { return (float)value; }
