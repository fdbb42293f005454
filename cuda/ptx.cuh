// Instructions that C++ has no word for, each behind a function: copies from global to shared memory that go on beside
// the arithmetic (cp.async, from compute capability 8.0), shared memory whose size the launch says, and products of
// matrices on tensor cores. A kernel file that wants them says #include "ptx.cuh". The emulator has bodies of its own.
// Source: NVIDIA, "PTX ISA", asynchronous copies and warp-level matrix instructions; "CUDA C++ Programming Guide",
// dynamic shared memory.
//
// How copies are used:  copy_ahead<16>(place, from); ...; commit();   begins a group of copies
//                       wait_for<1>(); __syncthreads();               all groups but the newest one are there, for all
// Until then nobody may read what is copied, nor the place it goes to, nor write either.
//
// How matrices are multiplied:  load_matrices(a, a row of A); load_matrices(b, a row of B);
//                               multiply_add(Bfloat16(), sum, a, b);
// All 32 lanes of a warp come to each of these together. Lane l holds, with g = l / 4 and t = l % 4,
//   of sum (16 x 8, float)  sum[0], sum[1]: row g, columns 2t and 2t + 1; sum[2], sum[3]: row g + 8
//   of A   (16 x DEPTH)     a[0]: row g, a[1]: row g + 8, the values number t of their rows; a[2], a[3]: 4 values further
//   of B   (DEPTH x 8)      b[0]: column g, the value number t of it; b[1]: 4 values further
// where a "value" is one of Tf32, or two neighbours of Float16 or Bfloat16 (cuda/half.cuh), the first in the lower half.
// Float16 is from 7.5 with a[2] and b[1]; with a[4] and b[2] it is from 8.0, as are all others.
#include "half.cuh"

struct Tf32 {};  // float32 whose 13 lowest bits count for nothing

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

// ---- tensor cores ----

// COUNT (1, 2 or 4) matrices of 8 rows of 16 bytes in shared memory. Lane 8m + r says where row r of matrix m begins, a
// multiple of 16 bytes; into[m] are the 4 bytes number l % 4 of row l / 4 of matrix m. From 7.5.
template <int COUNT>
__device__ inline void load_matrices(unsigned int (&into)[COUNT], const void* row) {
    static_assert(COUNT == 1 || COUNT == 2 || COUNT == 4, "there are 1, 2 or 4 matrices");
    const unsigned int at = (unsigned int)__cvta_generic_to_shared(row);
    if constexpr (COUNT == 1) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(into[0]) : "r"(at) : "memory");
    } else if constexpr (COUNT == 2) {
        asm volatile(
            "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(into[0]), "=r"(into[1]) : "r"(at) : "memory"
        );
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(into[0]), "=r"(into[1]), "=r"(into[2]), "=r"(into[3]) : "r"(at) : "memory");
    }
}

// The same matrices of halves, transposed: into[m] are the values l / 4 of rows 2 (l % 4) and 2 (l % 4) + 1.
template <int COUNT>
__device__ inline void load_transposed(unsigned int (&into)[COUNT], const void* row) {
    static_assert(COUNT == 1 || COUNT == 2 || COUNT == 4, "there are 1, 2 or 4 matrices");
    const unsigned int at = (unsigned int)__cvta_generic_to_shared(row);
    if constexpr (COUNT == 1) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(into[0]) : "r"(at) : "memory");
    } else if constexpr (COUNT == 2) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                     : "=r"(into[0]), "=r"(into[1]) : "r"(at) : "memory");
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(into[0]), "=r"(into[1]), "=r"(into[2]), "=r"(into[3]) : "r"(at) : "memory");
    }
}

// The nearest tf32, of two the one farther from 0. From 8.0.
__device__ inline unsigned int to_tf32(float value) {
    unsigned int rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(value));
    return rounded;
}

// sum += A B. The order and the roundings within are the hardware's.
#define MULTIPLY_ADD_LONG(shape, type)                                                                        \
    asm volatile("mma.sync.aligned." shape ".row.col.f32." type "." type ".f32 "                              \
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                            \
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])                                     \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
#define MULTIPLY_ADD_SHORT(type)                                                                              \
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32." type "." type ".f32 "                                \
                 "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"                                        \
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3]) : "r"(a[0]), "r"(a[1]), "r"(b[0]))

__device__ inline void multiply_add(Tf32, float (&sum)[4], const unsigned int (&a)[4], const unsigned int (&b)[2]) {
    MULTIPLY_ADD_LONG("m16n8k8", "tf32");
}
__device__ inline void multiply_add(Float16, float (&sum)[4], const unsigned int (&a)[4], const unsigned int (&b)[2]) {
    MULTIPLY_ADD_LONG("m16n8k16", "f16");
}
__device__ inline void multiply_add(Bfloat16, float (&sum)[4], const unsigned int (&a)[4], const unsigned int (&b)[2]) {
    MULTIPLY_ADD_LONG("m16n8k16", "bf16");
}
__device__ inline void multiply_add(Float16, float (&sum)[4], const unsigned int (&a)[2], const unsigned int (&b)[1]) {
    MULTIPLY_ADD_SHORT("f16");
}
__device__ inline void multiply_add(Bfloat16, float (&sum)[4], const unsigned int (&a)[2], const unsigned int (&b)[1]) {
    MULTIPLY_ADD_SHORT("bf16");
}

#endif
