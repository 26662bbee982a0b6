/* SPDX-License-Identifier: MIT */
/* regs.h - x86-64: the registers that a stack is unwound with, by their DWARF numbers. */
#ifndef GK_ARCH_REGS_H
#define GK_ARCH_REGS_H

#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#define DW_FP	6		/* rbp */
#define DW_SP	7		/* rsp */
#define DW_PC	16		/* the return address */
#define DW_REGS	17

struct regs {
	uintptr_t v[DW_REGS];
	uint32_t known;		/* bit i: v[i] */
};

static inline void regs_set(struct regs *r, unsigned int i, uintptr_t v)
{
	r->v[i] = v;
	r->known |= 1u << i;
}

/* Of a task that has switched away: what context_switch() pushed. The compiler has saved the rest in its frame. */
static inline void regs_saved(struct regs *r, void *const *sp)
{
	r->known = 0;
	regs_set(r, DW_PC, (uintptr_t)sp[0]);
	regs_set(r, DW_FP, (uintptr_t)sp[1]);
	regs_set(r, DW_SP, (uintptr_t)(sp + 2));
}

/* Of what a signal handler interrupted. */
static inline void regs_interrupted(struct regs *r, const void *context)
{
	/* mcontext has r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip. */
	static const uint8_t order[DW_REGS] = { 8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, 7, 16 };
	const ucontext_t *uc = context;
	unsigned int i;

	r->known = 0;
	for (i = 0; i < DW_REGS; i++)
		regs_set(r, order[i], uc->uc_mcontext.gregs[i]);
}

/* What a new task finds on its stack, as context_make() put it there. */
static inline uintptr_t context_fn(void *const *sp)
{
	return (uintptr_t)sp[2];
}

#endif /* GK_ARCH_REGS_H */
