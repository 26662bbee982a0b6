// SPDX-License-Identifier: MIT
/*
 * unwind.c - who called whom, by the call frame information of the code (.eh_frame).
 *
 * The unwinder of the compiler's library reads whatever a frame points to, and so can fault on a stack that changes or
 * is damaged; it needs the loader's lock, too. This one reads a stack within its bounds and tables within theirs; the
 * worst that it can do is to stop early. Code without such information is passed by its frame pointer, if it has one.
 */
#include <string.h>

#include "symbol.h"

#define CFA		DW_REGS	/* a rule like a register's */
#define DEPTH		4	/* nested DW_CFA_remember_state */
#define EXPR_DEPTH	16
#define EXPR_STEPS	200

enum how {
	SAME,			/* the caller has what we have */
	UNDEFINED,
	OFFSET,			/* at the frame's address plus `n` */
	VAL_OFFSET,		/* that address itself */
	REGISTER,		/* in register `n`; for the frame's address: plus `offset` */
	EXPRESSION,		/* at the address that `expr` computes */
	VAL_EXPRESSION,
};

struct rule {
	enum how how;
	int64_t n, offset;
	struct bytes expr;
};

struct row {
	struct rule rule[DW_REGS + 1];
};

struct cie {
	uint64_t code_align;
	int64_t data_align;
	unsigned int ra;
	uint8_t encoding;
	bool sized;		/* entries have a length of what is theirs */
	bool signal;		/* of what a signal interrupted: its caller's address is not a return's */
	struct bytes program;
};

/* One thread at a time. */
static struct row row, initial, remembered[DEPTH];

/* ---- the tables -------------------------------------------------------------------------------------------------- */

/* A pointer as .eh_frame has them; @addr is the address of what @b has there. Only what compilers use for code. */
static uintptr_t get_pointer(struct bytes *b, const uint8_t *start, uintptr_t addr, uint8_t encoding, uintptr_t data)
{
	uintptr_t base = 0, v;

	switch (encoding & 0x70) {
	case 0x10:
		base = addr + (b->p - start);
		break;
	case 0x30:
		base = data;
		break;
	}
	switch (encoding & 0xf) {
	case 0x1:
		v = get_uleb(b);
		break;
	case 0x2:
		v = get(b, 2);
		break;
	case 0x3:
		v = get(b, 4);
		break;
	case 0x9:
		v = get_sleb(b);
		break;
	case 0xa:
		v = get_signed(b, 2);
		break;
	case 0xb:
		v = get_signed(b, 4);
		break;
	default:
		v = get(b, 8);
		break;
	}
	return base + v;
}

static bool read_cie(struct bytes b, struct cie *c)
{
	uint64_t length = get(&b, 4);
	struct bytes data;
	const char *aug;
	uint8_t version;

	if (!length || length == 0xffffffff)
		return false;
	b = get_bytes(&b, length);
	if (get(&b, 4))
		return false;
	version = get(&b, 1);
	aug = get_string(&b);
	c->code_align = get_uleb(&b);
	c->data_align = get_sleb(&b);
	c->ra = version == 1 ? get(&b, 1) : get_uleb(&b);
	c->encoding = 0;
	c->signal = false;
	c->sized = *aug == 'z';
	if (c->sized) {
		data = get_bytes(&b, get_uleb(&b));
		while (*++aug) {
			if (*aug == 'R') {
				c->encoding = get(&data, 1);
			} else if (*aug == 'L') {
				get(&data, 1);
			} else if (*aug == 'P') {
				uint8_t enc = get(&data, 1);

				get_pointer(&data, data.p, 0, enc, 0);
			} else if (*aug == 'S') {
				c->signal = true;
			} else {
				break;
			}
		}
	} else if (*aug) {
		return false;
	}
	c->program = b;
	return c->ra < DW_REGS;
}

/* The entry at @b, whose own address is @addr: is it for @pc? @from is where its code begins. */
static bool entry_covers(const struct module *m, struct bytes b, uintptr_t addr, uintptr_t pc, struct cie *c,
			 uintptr_t *from, struct bytes *program)
{
	const uint8_t *start = b.p;
	uint64_t length = get(&b, 4), back;
	uintptr_t size, at;

	if (!length || length == 0xffffffff)
		return false;
	b = get_bytes(&b, length);
	at = addr + 4;
	back = get(&b, 4);
	if (!back || !read_cie(module_at(m, at - back), c))
		return false;
	*from = get_pointer(&b, start, addr, c->encoding, 0);
	size = get_pointer(&b, start, addr, c->encoding & 0xf, 0);
	if (pc < *from || pc - *from >= size)
		return false;
	if (c->sized)
		get_bytes(&b, get_uleb(&b));
	*program = b;
	return true;
}

/* By the sorted index, where the linker made one. */
static bool find_indexed(const struct module *m, uintptr_t pc, struct cie *c, uintptr_t *from, struct bytes *program)
{
	struct bytes b = m->index, entry;
	uint8_t version = get(&b, 1), frame_enc = get(&b, 1), count_enc = get(&b, 1), table_enc = get(&b, 1);
	uint64_t count, lo, hi, mid;

	/* Pairs of 4 bytes each, relative to the index: all linkers'. */
	if (version != 1 || table_enc != 0x3b)
		return false;
	get_pointer(&b, m->index.p, m->index_addr, frame_enc, m->index_addr);
	count = get_pointer(&b, m->index.p, m->index_addr, count_enc, m->index_addr);
	if (count > (uint64_t)(b.end - b.p) / 8)
		return false;
	for (lo = 0, hi = count; lo < hi;) {
		mid = (lo + hi) / 2;
		entry = bytes_from(b, mid * 8);
		if (m->index_addr + get_signed(&entry, 4) <= pc)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo)
		return false;
	entry = bytes_from(b, (lo - 1) * 8 + 4);
	lo = m->index_addr + get_signed(&entry, 4);
	return entry_covers(m, module_at(m, lo), lo, pc, c, from, program);
}

/* Without an index, as in static executables: one entry after the other. */
static bool find_linear(const struct module *m, uintptr_t pc, struct cie *c, uintptr_t *from, struct bytes *program)
{
	struct bytes b = m->frames, at;
	uint64_t length;

	while (b.p < b.end) {
		at = b;
		length = get(&b, 4);
		if (!length || length == 0xffffffff)
			return false;
		if (entry_covers(m, at, m->frames_addr + (at.p - m->frames.p), pc, c, from, program))
			return true;
		get_bytes(&b, length);
	}
	return false;
}

/* ---- the programs ------------------------------------------------------------------------------------------------ */

static struct rule *rule_of(uint64_t reg)
{
	static struct rule ignored;	/* vector registers and the like */

	return reg < DW_REGS ? &row.rule[reg] : &ignored;
}

static void set_rule(uint64_t reg, enum how how, int64_t n)
{
	*rule_of(reg) = (struct rule){ .how = how, .n = n };
}

/* Whatever the file says: unsigned, so that it wraps. */
static int64_t factored(uint64_t n, const struct cie *c)
{
	return n * (uint64_t)c->data_align;
}

/* Executes @b until it is past @pc. */
static bool execute(struct bytes b, const struct cie *c, uintptr_t loc, uintptr_t pc)
{
	struct rule *cfa = &row.rule[CFA];
	unsigned int depth = 0;
	uint64_t reg;
	uint8_t op;

	while (b.p < b.end && loc <= pc) {
		op = get(&b, 1);
		switch (op >> 6) {
		case 1:		/* advance_loc */
			loc += (op & 0x3f) * c->code_align;
			continue;
		case 2:		/* offset */
			set_rule(op & 0x3f, OFFSET, factored(get_uleb(&b), c));
			continue;
		case 3:		/* restore */
			if ((op & 0x3f) < DW_REGS)
				row.rule[op & 0x3f] = initial.rule[op & 0x3f];
			continue;
		}
		switch (op) {
		case 0x00:	/* nop */
			break;
		case 0x02:	/* advance_loc1, 2, 4 */
			loc += get(&b, 1) * c->code_align;
			break;
		case 0x03:
			loc += get(&b, 2) * c->code_align;
			break;
		case 0x04:
			loc += get(&b, 4) * c->code_align;
			break;
		case 0x05:	/* offset_extended */
			reg = get_uleb(&b);
			set_rule(reg, OFFSET, factored(get_uleb(&b), c));
			break;
		case 0x06:	/* restore_extended */
			reg = get_uleb(&b);
			if (reg < DW_REGS)
				row.rule[reg] = initial.rule[reg];
			break;
		case 0x07:	/* undefined */
			set_rule(get_uleb(&b), UNDEFINED, 0);
			break;
		case 0x08:	/* same_value */
			set_rule(get_uleb(&b), SAME, 0);
			break;
		case 0x09:	/* register */
			reg = get_uleb(&b);
			set_rule(reg, REGISTER, get_uleb(&b));
			break;
		case 0x0a:	/* remember_state */
			if (depth == DEPTH)
				return false;
			remembered[depth++] = row;
			break;
		case 0x0b:	/* restore_state */
			if (!depth)
				return false;
			row = remembered[--depth];
			break;
		case 0x0c:	/* def_cfa */
			*cfa = (struct rule){ .how = REGISTER, .n = get_uleb(&b) };
			cfa->offset = get_uleb(&b);
			break;
		case 0x0d:	/* def_cfa_register */
			cfa->how = REGISTER;
			cfa->n = get_uleb(&b);
			break;
		case 0x0e:	/* def_cfa_offset */
			cfa->offset = get_uleb(&b);
			break;
		case 0x0f:	/* def_cfa_expression */
			*cfa = (struct rule){ .how = VAL_EXPRESSION };
			cfa->expr = get_bytes(&b, get_uleb(&b));
			break;
		case 0x10:	/* expression, val_expression */
		case 0x16:
			reg = get_uleb(&b);
			set_rule(reg, op == 0x10 ? EXPRESSION : VAL_EXPRESSION, 0);
			rule_of(reg)->expr = get_bytes(&b, get_uleb(&b));
			break;
		case 0x11:	/* offset_extended_sf */
			reg = get_uleb(&b);
			set_rule(reg, OFFSET, factored(get_sleb(&b), c));
			break;
		case 0x12:	/* def_cfa_sf */
			*cfa = (struct rule){ .how = REGISTER, .n = get_uleb(&b) };
			cfa->offset = factored(get_sleb(&b), c);
			break;
		case 0x13:	/* def_cfa_offset_sf */
			cfa->offset = factored(get_sleb(&b), c);
			break;
		case 0x14:	/* val_offset */
			reg = get_uleb(&b);
			set_rule(reg, VAL_OFFSET, factored(get_uleb(&b), c));
			break;
		case 0x15:	/* val_offset_sf */
			reg = get_uleb(&b);
			set_rule(reg, VAL_OFFSET, factored(get_sleb(&b), c));
			break;
		case 0x2e:	/* GNU_args_size */
			get_uleb(&b);
			break;
		default:
			return false;
		}
	}
	return true;
}

static bool read_word(const struct stack_view *stack, uintptr_t addr, uintptr_t *v)
{
	if (addr < stack->lo || addr > stack->hi - sizeof(*v))
		return false;
	memcpy(v, stack->bytes ? stack->bytes + (addr - stack->lo) : (const char *)addr, sizeof(*v));
	return true;
}

/* What frames of signals and the linker's stubs use; @cfa is what is on the expression's stack at first. */
static bool evaluate(struct bytes b, const struct regs *regs, const struct stack_view *stack, const uintptr_t *cfa,
		     uintptr_t *out)
{
	uintptr_t s[EXPR_DEPTH] = {}, v;
	unsigned int n = 0, steps = 0;
	uint8_t op;

	if (cfa)
		s[n++] = *cfa;
	while (b.p < b.end && steps++ < EXPR_STEPS) {
		op = get(&b, 1);
		if (n == EXPR_DEPTH)
			return false;
		if (op >= 0x30 && op <= 0x4f) {			/* lit */
			s[n++] = op - 0x30;
			continue;
		}
		if (op >= 0x70 && op <= 0x70 + DW_REGS - 1) {	/* breg */
			if (!(regs->known & 1u << (op - 0x70)))
				return false;
			s[n++] = regs->v[op - 0x70] + get_sleb(&b);
			continue;
		}
		switch (op) {
		case 0x08:	/* const1u, 1s, 2u, 2s, 4u, 4s, 8 */
			s[n++] = get(&b, 1);
			continue;
		case 0x09:
			s[n++] = get_signed(&b, 1);
			continue;
		case 0x0a:
			s[n++] = get(&b, 2);
			continue;
		case 0x0b:
			s[n++] = get_signed(&b, 2);
			continue;
		case 0x0c:
			s[n++] = get(&b, 4);
			continue;
		case 0x0d:
			s[n++] = get_signed(&b, 4);
			continue;
		case 0x0e:
		case 0x0f:
			s[n++] = get(&b, 8);
			continue;
		case 0x10:	/* constu, consts */
			s[n++] = get_uleb(&b);
			continue;
		case 0x11:
			s[n++] = get_sleb(&b);
			continue;
		}
		if (!n)
			return false;
		switch (op) {
		case 0x06:	/* deref */
			if (!read_word(stack, s[n - 1], &s[n - 1]))
				return false;
			continue;
		case 0x12:	/* dup */
			s[n] = s[n - 1];
			n++;
			continue;
		case 0x23:	/* plus_uconst */
			s[n - 1] += get_uleb(&b);
			continue;
		}
		if (n < 2)
			return false;
		v = s[--n];
		switch (op) {
		case 0x1a:
			s[n - 1] &= v;
			break;
		case 0x1c:
			s[n - 1] -= v;
			break;
		case 0x22:
			s[n - 1] += v;
			break;
		case 0x24:
			s[n - 1] = v < 64 ? s[n - 1] << v : 0;
			break;
		case 0x2a:	/* ge */
			s[n - 1] = (intptr_t)s[n - 1] >= (intptr_t)v;
			break;
		default:
			return false;
		}
	}
	*out = s[0];
	return n == 1;
}

/* ---- one frame --------------------------------------------------------------------------------------------------- */

static bool step_by_pointer(struct regs *regs, const struct stack_view *stack)
{
	uintptr_t fp = regs->v[DW_FP], caller, pc;

	if (!(regs->known & 1u << DW_FP) || fp < regs->v[DW_SP] || !read_word(stack, fp, &caller) ||
	    !read_word(stack, fp + 8, &pc))
		return false;
	regs->known = 0;
	regs_set(regs, DW_FP, caller);
	regs_set(regs, DW_PC, pc);
	regs_set(regs, DW_SP, fp + 16);
	return true;
}

static bool step(struct regs *regs, const struct stack_view *stack, bool *exact)
{
	uintptr_t pc = regs->v[DW_PC] - !*exact, from, cfa, v = 0;
	const struct module *m = module_of(pc);
	struct regs caller = { .known = 0 };
	struct bytes program;
	struct rule *rule;
	struct cie cie;
	bool known;
	int i;

	if (!m) {
		*exact = false;
		return step_by_pointer(regs, stack);
	}
	pc -= m->bias;
	if (!(m->index.p ? find_indexed(m, pc, &cie, &from, &program) : find_linear(m, pc, &cie, &from, &program))) {
		*exact = false;
		return step_by_pointer(regs, stack);
	}
	memset(&row, 0, sizeof(row));
	if (!execute(cie.program, &cie, from, pc))
		return false;
	initial = row;
	if (!execute(program, &cie, from, pc))
		return false;

	rule = &row.rule[CFA];
	if (rule->how == REGISTER) {
		if (rule->n < 0 || rule->n >= DW_REGS || !(regs->known & 1u << rule->n))
			return false;
		cfa = regs->v[rule->n] + rule->offset;
	} else if (rule->how != VAL_EXPRESSION || !evaluate(rule->expr, regs, stack, NULL, &cfa)) {
		return false;
	}
	for (i = 0; i < DW_REGS; i++) {
		rule = &row.rule[i];
		known = true;
		switch (rule->how) {
		case SAME:
			known = regs->known & 1u << i && i != (int)cie.ra;
			v = regs->v[i];
			break;
		case UNDEFINED:
			known = false;
			break;
		case OFFSET:
			known = read_word(stack, cfa + rule->n, &v);
			break;
		case VAL_OFFSET:
			v = cfa + rule->n;
			break;
		case REGISTER:
			known = rule->n >= 0 && rule->n < DW_REGS && regs->known & 1u << rule->n;
			v = known ? regs->v[rule->n] : 0;
			break;
		case EXPRESSION:
			known = evaluate(rule->expr, regs, stack, &cfa, &v) && read_word(stack, v, &v);
			break;
		case VAL_EXPRESSION:
			known = evaluate(rule->expr, regs, stack, &cfa, &v);
			break;
		}
		if (known)
			regs_set(&caller, i, v);
	}
	if (row.rule[DW_SP].how == SAME)
		regs_set(&caller, DW_SP, cfa);
	if (!(caller.known & 1u << DW_PC))
		return false;
	/* Each frame is above the one that it called, or the tables lie. */
	if (caller.v[DW_SP] <= regs->v[DW_SP] && !*exact)
		return false;
	*exact = cie.signal;
	*regs = caller;
	return true;
}

/* The addresses of code, the innermost first; of returns, that of the call before. Their number. */
int unwind(struct regs *regs, const struct stack_view *stack, uintptr_t *pcs, int max)
{
	bool exact = true;
	int n = 0;

	do {
		/* As the innermost: an address inside the instruction, which for a return is the call. */
		pcs[n] = regs->v[DW_PC] - !exact;
		n++;
	} while (n < max && step(regs, stack, &exact) && regs->v[DW_PC]);
	return n;
}
