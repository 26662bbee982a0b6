/* SPDX-License-Identifier: MIT */
/* arch.h - x86-64: the thread pointer, the context switch, the fence. */
#ifndef GK_ARCH_H
#define GK_ARCH_H

#include <stdint.h>

/*
 * The calling thread's worker. Read anew at every use: a task that waited goes on in another thread, and compilers keep
 * the addresses of thread-local variables.
 */
static inline struct worker *self(void)
{
	struct worker *w;

	__asm__ __volatile__("movq gk_worker_self@gottpoff(%%rip), %0\n\tmovq %%fs:(%0), %0" : "=r"(w));
	return w;
}

/* A full fence; an order of magnitude cheaper than mfence. */
static inline void fence(void)
{
	__asm__ __volatile__("lock; orl $0, (%%rsp)" ::: "memory", "cc");
}

static inline void relax(void)
{
	__builtin_ia32_pause();
}

/* Faults in what the next calls may use of the stack: inside, nothing may fault. */
static inline void touch_stack(void)
{
	__asm__ __volatile__("orq $0, -2048(%%rsp)" ::: "memory", "cc");
}

/*
 * The floating-point control words belong to the task as the callee-saved registers do. Reading mxcsr costs as much as
 * the rest of a switch, so the x87 word tells whether it is worth it: fesetround() and its like change both.
 */
struct fpu {
	uint32_t mxcsr;
	uint16_t cw;
};

static inline uint16_t fpu_cw(void)
{
	uint16_t cw;

	__asm__ __volatile__("fnstcw %0" : "=m"(cw));
	return cw;
}

static inline struct fpu fpu_get(void)
{
	struct fpu fpu;

	__asm__ __volatile__("stmxcsr %0" : "=m"(fpu.mxcsr));
	fpu.mxcsr &= ~0x3fu;		/* the exception flags are no control bits */
	fpu.cw = fpu_cw();
	return fpu;
}

static inline void fpu_set(const struct fpu *fpu)
{
	__asm__ __volatile__("ldmxcsr %0" ::"m"(fpu->mxcsr));
	__asm__ __volatile__("fldcw %0" ::"m"(fpu->cw));
}

/*
 * Leaves the calling context in *save and goes on in the one that @to is. It jumps through a register: a `ret` here
 * would miss the return predictor every time. The caller is built with a frame pointer, so that what is pushed here
 * does not disturb its call frame information; rbx and r12 to r15 are the compiler's to save, where it uses them.
 */
#ifdef __AVX512F__
#define AVX512_CLOBBERS \
	"xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", \
	"xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7",
#else
#define AVX512_CLOBBERS
#endif

static inline void context_switch(void **save, void *to)
{
	__asm__ __volatile__("pushq %%rbp\n\t"
			     "leaq 1f(%%rip), %%rax\n\t"
			     "pushq %%rax\n\t"
			     "movq %%rsp, (%0)\n\t"
			     "movq %1, %%rsp\n\t"
			     "popq %%rax\n\t"
			     "popq %%rbp\n\t"
			     "jmp *%%rax\n"
			     "1:\n\t"
			     "endbr64"
			     : "+D"(save), "+S"(to)
			     :
			     : AVX512_CLOBBERS "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
			       "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
			       "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "memory", "cc");
}

/* A context that will call @entry, which never returns, on the stack that ends at @top. */
static inline void *context_make(void *top, void (*entry)(void))
{
	void **sp = (void **)((uintptr_t)top & ~15ul);

	*--sp = 0;		/* the entry's return address: none */
	*--sp = 0;		/* rbp: the end of the chain of frames */
	*--sp = (void *)entry;
	return sp;
}

#endif /* GK_ARCH_H */
