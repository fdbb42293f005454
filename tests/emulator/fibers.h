// Fibers: stacks of their own between which one operating system thread switches. By hand on x86-64; elsewhere through
// ucontext, which makes a system call at each switch.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

namespace emulator {
constexpr size_t STACK_BYTES = 256 * 1024;
}

#if defined(__x86_64__) && defined(__linux__) && !defined(EMULATOR_UCONTEXT)
extern "C" __attribute__((visibility("hidden"))) void emulator_switch(void** save_stack, void* stack);
asm(R"(
.text
.hidden emulator_switch
.globl emulator_switch
.type emulator_switch, @function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulator_switch, .-emulator_switch
)");

namespace emulator {

struct Context {
    void* stack_pointer;

    void prepare(char* stack, void (*entry)()) {  // as if `entry` had been called and had switched away at once
        void** top = reinterpret_cast<void**>((reinterpret_cast<uintptr_t>(stack) + STACK_BYTES) & ~uintptr_t(15));
        top[-1] = nullptr;
        top[-2] = reinterpret_cast<void*>(entry);
        for (int saved = 3; saved <= 8; ++saved) top[-saved] = nullptr;
        stack_pointer = top - 8;
    }

    void switch_to(Context& other) {
        asm volatile("" ::: "memory");
        emulator_switch(&stack_pointer, other.stack_pointer);
        asm volatile("" ::: "memory");
    }
};

}  // namespace emulator
#else
#include <ucontext.h>

namespace emulator {

struct Context {
    ucontext_t context;

    void prepare(char* stack, void (*entry)()) {
        getcontext(&context);
        context.uc_stack.ss_sp = stack;
        context.uc_stack.ss_size = STACK_BYTES;
        context.uc_link = nullptr;
        makecontext(&context, entry, 0);
    }

    void switch_to(Context& other) { swapcontext(&context, &other.context); }
};

}  // namespace emulator
#endif

namespace emulator {

struct Fiber {
    Context context;
    char* stack;
};

inline Fiber* new_fiber(void (*entry)()) {
    Fiber* fiber = new Fiber;
    fiber->stack = static_cast<char*>(malloc(STACK_BYTES));
    fiber->context.prepare(fiber->stack, entry);
    return fiber;
}

}  // namespace emulator
