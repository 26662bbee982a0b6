/* SPDX-License-Identifier: MIT */
/* arch.h - x86-64: the thread pointer, the context switch, the fence. */
#ifndef GK_ARCH_H
#define GK_ARCH_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/types.h>

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

/* Adds to what only the caller writes, in one instruction. */
static inline void count(__u64 *p)
{
	__asm__ __volatile__("addq $1, %0" : "+m"(*p));
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

/* The CPU that the calling thread is on, as its struct rseq has it, which lies at @rseq from the thread pointer. */
static inline uint32_t rseq_cpu(long rseq)
{
	uint32_t cpu;

	__asm__ __volatile__("movl %%fs:4(%1), %0" : "=r"(cpu) : "r"(rseq));
	return cpu;
}

/*
 * Stores @v in *word if the calling thread is on @cpu, *state is @expect and *word is 0, in one step as far as that CPU
 * is concerned: if the kernel takes it away, moves the thread or delivers a signal before the store, it does not happen
 * (rseq(2)). @rseq is as above. No fence. False also when it was interrupted.
 */
static inline bool store_if(long rseq, uint32_t cpu, const uint64_t *state, uint64_t expect, uint32_t *word, uint32_t v)
{
	__asm__ goto("leaq 3f(%%rip), %%rax\n\t"
		     "movq %%rax, %%fs:8(%0)\n"
		     "1:\n\t"
		     "cmpl %1, %%fs:4(%0)\n\t"
		     "jne %l[failed]\n\t"
		     "cmpq %3, %2\n\t"
		     "jne %l[failed]\n\t"
		     "cmpl $0, %4\n\t"
		     "jne %l[failed]\n\t"
		     "movl %5, %4\n"
		     "2:\n\t"
		     ".pushsection __rseq_cs, \"aw\"\n\t"
		     ".balign 32\n"
		     "3:\n\t"
		     ".long 0, 0\n\t"
		     ".quad 1b, 2b - 1b, 4f\n\t"
		     ".popsection\n\t"
		     ".pushsection __rseq_failure, \"ax\"\n\t"
		     ".byte 0x0f, 0xb9, 0x3d\n\t"	/* ud1, with the signature that the kernel looks for */
		     ".long 0x53053053\n"
		     "4:\n\t"
		     "jmp %l[failed]\n\t"
		     ".popsection"
		     :
		     : "r"(rseq), "r"(cpu), "m"(*state), "r"(expect), "m"(*word), "r"(v)
		     : "rax", "memory", "cc"
		     : failed);
	return true;
failed:
	return false;
}

/* memcpy() that no tool looks into: of memory that others write meanwhile. */
static inline void copy_raw(void *to, const void *from, unsigned long size)
{
	__asm__ __volatile__("rep; movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

/* Faults a byte in for writing, and leaves it as it is, whoever else writes it. */
static inline void touch_byte(void *p)
{
	__asm__ __volatile__("lock; orb $0, %0" : "+m"(*(char *)p) : : "cc");
}

/* Faults in what the next calls may use of the stack: inside, nothing may fault. Nobody has anything there yet. */
static inline void touch_stack(void)
{
	__asm__ __volatile__("movq $0, -2048(%%rsp)" ::: "memory");
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
 * Leaves the calling context in *save and goes on in the one that @to is, where this call returns @note. It jumps
 * through a register: a `ret` here would miss the return predictor every time. The caller is built with a frame
 * pointer, so that what is pushed here does not disturb its call frame information; rbx and r12 to r15 are the
 * compiler's to save, where it uses them.
 */
#ifdef __AVX512F__
#define AVX512_CLOBBERS \
	"xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", \
	"xmm28", "xmm29", "xmm30", "xmm31", "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7",
#else
#define AVX512_CLOBBERS
#endif

static inline uintptr_t context_switch(void **save, void *to, uintptr_t note)
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
			     : "+D"(save), "+S"(to), "+d"(note)
			     :
			     : AVX512_CLOBBERS "rax", "rbx", "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
			       "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
			       "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "memory", "cc");
	return note;
}

/*
 * Defines @name, where a new context begins: calls begin(note), then fn(arg), and jumps to @end. Balanced, so that the
 * return predictor is where it was when the next one returns from its context_switch(). @end finds the stack as if it
 * had been called: aligned, and with an address to which it would return, for unwinders.
 */
#define TASK_ENTRY(name, begin, end)				\
	__asm__(".pushsection .text\n"				\
		".type " #name ", @function\n"			\
		".hidden " #name "\n"				\
		".globl " #name "\n" #name ":\n\t"		\
		".cfi_startproc\n\t"				\
		".cfi_undefined rip\n\t"			\
		"endbr64\n\t"					\
		"popq %rbx\n\t"					\
		"popq %r12\n\t"					\
		"movq %rdx, %rdi\n\t"				\
		"call " #begin "\n\t"				\
		"movq %r12, %rdi\n\t"				\
		"call *%rbx\n\t"				\
		"leaq 1f(%rip), %rax\n\t"			\
		"pushq %rax\n\t"				\
		"jmp " #end "\n"				\
		"1:\n\t"					\
		"ud2\n\t"					\
		".cfi_endproc\n\t"				\
		".size " #name ", . - " #name "\n\t"		\
		".popsection")

/* A context that begins in @entry, made by TASK_ENTRY, on the stack that ends at @top. */
static inline void *context_make(void *top, void (*entry)(void), void (*fn)(void *), void *arg)
{
	void **sp = (void **)((uintptr_t)top & ~15ul);

	*--sp = arg;
	*--sp = (void *)fn;
	*--sp = 0;		/* rbp: the end of the chain of frames */
	*--sp = (void *)entry;
	return sp;
}

#endif /* GK_ARCH_H */
