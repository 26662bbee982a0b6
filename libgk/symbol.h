/* SPDX-License-Identifier: MIT */
/* symbol.h - code by its address: which file it is of, its name and line, and how its frames are unwound. */
#ifndef GK_SYMBOL_H
#define GK_SYMBOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "regs.h"

/* A range of an ELF file's image. */
struct bytes {
	const uint8_t *p, *end;
};

/* One executable segment of a file, with the whole file mapped again to read it. */
struct module {
	uintptr_t start, end;
	uintptr_t bias;			/* address in memory less address in the file's own terms */
	struct bytes file;
	struct bytes symbols, strings;
	struct bytes frames;		/* .eh_frame */
	uintptr_t frames_addr;
	struct bytes index;		/* .eh_frame_hdr */
	uintptr_t index_addr;
	struct bytes lines, line_strings, debug_strings;
	uint64_t device, inode, offset;
	const char *name;		/* of the file, without its directories */
};

struct place {
	const char *module;		/* NULL: unknown, and the rest too */
	const char *function;		/* NULL: unknown */
	uintptr_t offset;		/* in the function, or in the file */
	const char *file;		/* NULL: unknown */
	unsigned int line;
};

/* A stack that does not change: its bytes, which may be a copy. */
struct stack_view {
	uintptr_t lo, hi;
	const char *bytes;		/* of lo; NULL: in place */
};

/* All of these keep what they know in memory of their own: one thread at a time. They neither lock nor allocate. */
void modules_load(void);
const struct module *module_of(uintptr_t pc);
struct bytes module_at(const struct module *m, uintptr_t addr);	/* what the file has at an address of its own */
void place_of(uintptr_t pc, struct place *place);
int unwind(struct regs *regs, const struct stack_view *stack, uintptr_t *pcs, int max);

/* ---- reading without a step beyond the end: then 0, and p == end ------------------------------------------------- */

static inline uint64_t get(struct bytes *b, unsigned int n)
{
	uint64_t v = 0;
	unsigned int i;

	if ((size_t)(b->end - b->p) < n) {
		b->p = b->end;
		return 0;
	}
	for (i = 0; i < n; i++)
		v |= (uint64_t)b->p[i] << 8 * i;
	b->p += n;
	return v;
}

static inline int64_t get_signed(struct bytes *b, unsigned int n)
{
	unsigned int shift = 64 - 8 * n;

	return (int64_t)(get(b, n) << shift) >> shift;
}

static inline uint64_t get_uleb(struct bytes *b)
{
	unsigned int shift = 0;
	uint64_t v = 0;
	uint8_t byte;

	do {
		byte = get(b, 1);
		if (shift < 64)
			v |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80 && b->p < b->end);
	return v;
}

static inline int64_t get_sleb(struct bytes *b)
{
	unsigned int shift = 0;
	uint64_t v = 0;
	uint8_t byte;

	do {
		byte = get(b, 1);
		if (shift < 64)
			v |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80 && b->p < b->end);
	if (byte & 0x40 && shift < 64)
		v |= ~0ull << shift;
	return v;
}

static inline const char *get_string(struct bytes *b)
{
	const char *s = (const char *)b->p;

	while (b->p < b->end && *b->p)
		b->p++;
	if (b->p == b->end)
		return "";
	b->p++;
	return s;
}

static inline struct bytes get_bytes(struct bytes *b, uint64_t n)
{
	struct bytes part = { b->p, b->end };

	if (n < (uint64_t)(b->end - b->p))
		part.end = b->p + n;
	b->p = part.end;
	return part;
}

static inline struct bytes bytes_from(struct bytes b, uint64_t offset)
{
	b.p = offset < (uint64_t)(b.end - b.p) ? b.p + offset : b.end;
	return b;
}

#endif /* GK_SYMBOL_H */
