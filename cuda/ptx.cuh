// Instructions that C++ has no word for, each behind a function: copies from global to shared memory that go on beside
// the arithmetic (cp.async, from compute capability 8.0), and shared memory whose size the launch says. A kernel file
// that wants them says #include "ptx.cuh". The emulator has bodies of its own.
// Source: NVIDIA, "PTX ISA", asynchronous copies; "CUDA C++ Programming Guide", dynamic shared memory.
//
// How copies are used:  copy_ahead<16>(place, from); ...; commit();   begins a group of copies
//                       wait_for<1>(); __syncthreads();               all groups but the newest one are there, for all
// Until then nobody may read what is copied, nor the place it goes to, nor write either.

#ifndef EMULATED

// The shared memory that this launch has beside what the kernel declares, aligned to 16 bytes: Driver.launch(shared=bytes).
template <typename T>
__device__ inline T* dynamic_shared() {
    extern __shared__ __align__(16) unsigned char dynamic_shared_memory[];
    return reinterpret_cast<T*>(dynamic_shared_memory);
}

// Begins to copy BYTES (4, 8 or 16) of global memory to shared memory, both at multiples of BYTES; where not `inside`,
// nothing is read, `from` may point anywhere and zeros arrive. Before 8.0 the copy is done at once.
template <int BYTES, typename T>
__device__ inline void copy_ahead(T* place, const T* from, bool inside = true) {
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "a copy moves 4, 8 or 16 bytes");
#if __CUDA_ARCH__ >= 800
    const unsigned int at = (unsigned int)__cvta_generic_to_shared(place);
    const int read = inside ? BYTES : 0;
    const unsigned long long source = __cvta_generic_to_global(from);
    if constexpr (BYTES == 16) {  // past the first cache, which has no use for what goes to shared memory
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(source), "r"(read) : "memory");
    } else {
        asm volatile(
            "cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(at), "l"(source), "n"(BYTES), "r"(read) : "memory"
        );
    }
#else
    constexpr int COUNT = BYTES / sizeof(T);
    Pack<T, COUNT> values = {};
    if (inside) values = load<COUNT>(from, 0);
    store(place, 0, values);
#endif
}

// Ends a group: all copies that this thread began since the last one.
__device__ inline void commit() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until all groups of this thread but the newest NEWEST ones have arrived; other threads see them behind a barrier.
template <int NEWEST>
__device__ inline void wait_for() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(NEWEST) : "memory");
#endif
}

#endif
