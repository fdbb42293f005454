// Whether there are products on tensor cores of what is stored as such, and of which kind they are. Where there are none, kernels
// are empty and nobody asks for them.

#if defined(EMULATED) || __CUDA_ARCH__ >= 800
template <typename Stored>
constexpr bool ON_TENSOR_CORES = sizeof(Stored) <= 4;
#else
template <typename Stored>
constexpr bool ON_TENSOR_CORES = false;
#if __CUDA_ARCH__ >= 750
template <>
constexpr bool ON_TENSOR_CORES<Float16> = true;
#endif
#endif
