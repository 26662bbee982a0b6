// SPDX-License-Identifier: GPL-2.0-only
/* arch.c - a context from its first instruction to its last: what the functions find that libgk's assembly calls. */
#include "lib.h"
#include <unwind.h>

#include "arch.h"

static void *home, *context;
static void *main_arg;
static uintptr_t begin_note, begin_frame, fn_frame, end_frame;
static int fn_depth, end_depth;

/* What the ABI promises a function: with rbp pushed, the stack is at a multiple of 16. */
#define FRAME() ((uintptr_t)__builtin_frame_address(0))

static _Unwind_Reason_Code counts(struct _Unwind_Context *c, void *arg)
{
	++*(int *)arg;
	return *(int *)arg < 50 ? _URC_NO_REASON : _URC_END_OF_STACK;
}

__attribute__((used, noinline)) void arch_begin(uintptr_t note)
{
	begin_note = note;
	begin_frame = FRAME();
}

static __attribute__((noinline)) void fn(void *arg)
{
	main_arg = arg;
	fn_frame = FRAME();
	_Unwind_Backtrace(counts, &fn_depth);
	__asm__ __volatile__("" ::: "memory");	/* no tail call */
}

__attribute__((used, noinline)) void arch_end(void)
{
	end_frame = FRAME();
	_Unwind_Backtrace(counts, &end_depth);
	context_switch(&context, home, 7);
	__builtin_unreachable();
}

void arch_entry(void);
TASK_ENTRY(arch_entry, arch_begin, arch_end);

TEST(a_context_begins_and_ends_on_an_aligned_stack)
{
	static char stack[65536] __attribute__((aligned(64)));
	int i;

	for (i = 0; i < 64; i += 16) {
		fn_depth = end_depth = 0;
		context = context_make(stack + sizeof(stack) - i, arch_entry, fn, &i);
		EXPECT_EQ(7, context_switch(&home, context, 5));
		EXPECT_EQ(5, begin_note);
		EXPECT_EQ(&i, main_arg);
		EXPECT_EQ(0, begin_frame % 16);
		EXPECT_EQ(0, fn_frame % 16);
		EXPECT_EQ(0, end_frame % 16);
		/* fn or arch_end, arch_entry, and the end, which counts() is told of as well. */
		EXPECT_EQ(3, fn_depth);
		EXPECT_EQ(3, end_depth);
	}
}

TEST_HARNESS_MAIN
