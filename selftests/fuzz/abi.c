// SPDX-License-Identifier: GPL-2.0-only
/*
 * abi.c - every call of /dev/gk with anything, from several processes and threads at once.
 *
 * A supervisor, which makes no fuzzed call itself, keeps a few actors alive. An actor is a process with some threads that
 * run short programs: sequences of calls on what the actor's threads share (descriptors of groups, their mappings, epoll
 * files, pages that come and go). A program is drawn from a grammar, which gets far, or at random, which gets everywhere,
 * or it is a mutation of one that had an effect nobody had seen: code of gk that had not run before, where the kernel
 * has kcov and gk is built for it, and a result that had not come in this order, everywhere. One thread of each actor writes
 * all over the shared pages, takes pages away under the others' arguments, and gets at those that sleep.
 *
 * What must hold: whatever they did, a killed process is gone within rig_patience(); then nothing of theirs is left in the
 * module, the next group works as ever, and the kernel has nothing to say (qemu/run looks at its log).
 *
 * GK_SEED=N for the same programs again (not the same interleaving), GK_SECONDS=N (30; 0: no limit), GK_CALLS=N ioctls at
 * least (0: as many as there is time for), GK_ACTORS=N, GK_VERBOSE=1.
 */
#include "test.h"
#include <fcntl.h>
#include <linux/kcov.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* It has limits of its own, and as long a life as it is given. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 100000

#define ACTORS		8	/* at most */
#define CALLERS		6	/* threads of an actor that run programs */
#define SLOTS		4	/* groups of an actor */
#define OPS		20	/* in a program */
#define CORPUS		4096
#define ERRNOS		134
#define SPARE_FD	200	/* descriptors that were duplicated or received, so that they stay few */
#define SPARE_FDS	32
#define PCS		(1u << 20)
#define COVER		(16u << 10)

/* ---- what can be done ------------------------------------------------------------------------------------------- */

#define EACH_OP(X)												\
	X(INFO) X(SETUP) X(SET) X(ENTER) X(EXIT) X(PARK) X(WAKE) X(ARM) X(UNHOLD) X(PULL) X(MOVE) X(STOP)	\
	X(UNKNOWN)												\
	X(OPEN) X(CLOSE) X(DUP) X(READ) X(WRITE) X(POLL) X(FCNTL) X(SEND_FD) X(RECEIVE_FD)			\
	X(MMAP) X(MUNMAP) X(MREMAP) X(MPROTECT) X(MADVISE)							\
	X(EPOLL_ADD) X(EPOLL_WAIT) X(EPOLL_NEW) X(READY) X(UNREADY)						\
	X(FORK) X(VFORK) X(UNSHARE) X(EXEC) X(EXIT_PROCESS) X(EXIT_THREAD)					\
	X(SIGNAL) X(AFFINITY) X(POLICY) X(YIELD) X(SLEEP) X(COMPUTE)						\
	X(PUSH) X(TAKE) X(DEADLINE) X(WORD) X(HOSTILE_WORD)

enum op_code {
#define X(n) OP_##n,
	EACH_OP(X)
#undef X
	OP_CODES,
	OP_IOCTLS = OP_OPEN,		/* those before it are what GK_CALLS counts */
};

static const char *const op_name[] = {
#define X(n) #n,
	EACH_OP(X)
#undef X
};

/* All that an operation does follows from its seed and from what others did before. */
struct op {
	uint8_t code;
	uint8_t slot;
	uint16_t unused;
	uint32_t seed;
};

struct program {
	uint32_t n;
	struct op op[OPS];
};

struct tally {
	uint64_t n[OP_CODES][ERRNOS];	/* by errno, 0 for success; written by one thread at a time */
};

/* Shared by all processes; survives them. */
struct shared {
	uint64_t seed;
	struct tally tally[ACTORS][CALLERS + 1];
	uint32_t effects[1u << 16];	/* bits: this result came after that one */
	uint32_t pcs[PCS / 32];
	uint32_t npcs, neffects;
	uint32_t ncorpus;
	struct program corpus[CORPUS];
	uint64_t lives;
};

static struct shared *shared;
static int mail[2];			/* descriptors go from anybody to anybody */
static int old_fd;			/* a group of the supervisor's, in every actor's table */
static uint64_t kcov_base;		/* 0: no kcov */

static uint64_t rnd(uint64_t *s)
{
	uint64_t x = *s;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*s = x;
	return x * 0x2545f4914f6cdd1dull >> 16;
}

static void rnd_start(uint64_t *s, uint64_t seed)
{
	*s = (seed + 1) * 0x9e3779b97f4a7c15ull | 1;
	rnd(s);
	rnd(s);
}

/* One in n. */
static bool one_in(uint64_t *s, unsigned int n)
{
	return rnd(s) % n == 0;
}

static uint64_t nasty(uint64_t *s)
{
	static const uint64_t v[] = {
		0, 1, 2, 3, 63, 64, 65, 127, 128, 255, 256, 257, 4095, 4096, 4097, 16383, 16384, 16385, 65535, 0x7fffffff,
		0x80000000, 0x80000001, 0xfffffffe, 0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000,
		0xffff888000000000, 0xffffffff81000000, 0x0000800000000000, 0xfffffffffffff000, 0xffffffffffffffff,
	};

	switch (rnd(s) % 4) {
	case 0:
		return v[rnd(s) % ARRAY_LEN(v)];
	case 1:
		return (1ull << rnd(s) % 64) - 1 + rnd(s) % 3;
	case 2:
		return rnd(s) % 16;
	default:
		return rnd(s) << 32 | (uint32_t)rnd(s);
	}
}

/* ---- an actor ---------------------------------------------------------------------------------------------------- */

/*
 * Where arguments lie, seen twice: through `in` all of it can be written, through `out`, which the kernel gets, the pages
 * differ.
 */
enum page { PG_RW, PG_RO, PG_RW2, PG_NONE, PG_RW3, PG_FLAP, PAGES };

struct slot {
	int fd;
	unsigned char *map;
	struct gk_setup s;
};

struct caller {
	unsigned int index;
	atomic_int tid;
	atomic_ulong steps;		/* operations begun */
	unsigned long steps_seen;
	unsigned char *in, *out;
};

static struct {
	unsigned int index;
	uint64_t seed;
	int arena;
	int ev, ep;
	struct slot slot[SLOTS];
	struct caller caller[CALLERS];
	atomic_ulong born;
} me;

static __thread struct caller *self;
static __thread struct tally *tally;
static __thread sigjmp_buf out_of_fault, out_of_call;
static __thread volatile bool may_fault, may_jump;
static __thread uint64_t handler_rng;
static __thread uint64_t *cover;
static __thread uint32_t last_result;

static bool seen(uint32_t *bits, uint32_t n, uint32_t *count)
{
	uint32_t bit = 1u << n % 32;

	if (READ_ONCE(bits[n / 32]) & bit)
		return true;
	if (__atomic_fetch_or(&bits[n / 32], bit, __ATOMIC_RELAXED) & bit)
		return true;
	__atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
	return false;
}

static __thread bool fresh;

/* Each call goes through here: it is counted, and what came of it is an effect that may be new. */
static long count(enum op_code code, long ret)
{
	int err = ret < 0 && ret > -ERRNOS ? -ret : 0;
	uint32_t result = code * ERRNOS + err;
	uint64_t *n = &tally->n[code][err];

	WRITE_ONCE(*n, *n + 1);
	if (!seen(shared->effects, (last_result * 40503u ^ result * 2654435761u) % (32u << 16), &shared->neffects))
		fresh = true;
	last_result = result;
	return ret;
}

static long sys(long ret)
{
	return ret < 0 ? -errno : ret;
}

/* A call that a handler may leave by a jump. */
static long gk(enum op_code code, int fd, unsigned long cmd, unsigned long arg)
{
	long ret;

	if (sigsetjmp(out_of_call, 1)) {
		may_jump = false;
		return count(code, -EINTR);
	}
	may_jump = true;
	ret = sys(syscall(SYS_ioctl, fd, cmd, arg));
	may_jump = false;
	return count(code, ret);
}

/* Runs `what`, and `otherwise` if it touched memory that was not there. */
#define GUARDED(what, otherwise) do {		\
	if (!sigsetjmp(out_of_fault, 1)) {	\
		may_fault = true;		\
		what;				\
		may_fault = false;		\
	} else {				\
		otherwise;			\
	}					\
} while (0)

static void on_fault(int sig)
{
	if (!self || !may_fault)
		_exit(77);
	may_fault = false;
	siglongjmp(out_of_fault, 1);
}

static void on_signal(int sig)
{
	int saved = errno;
	struct slot *s;

	if (!self)
		return;
	s = &me.slot[rnd(&handler_rng) % SLOTS];
	switch (rnd(&handler_rng) % 16) {
	case 0:
		count(OP_PARK, sys(ioctl(s->fd, GK_IOC_PARK, rnd(&handler_rng) % 3)));
		break;
	case 1:
		count(OP_WAKE, sys(ioctl(s->fd, GK_IOC_WAKE, 0)));
		break;
	case 2:
		count(OP_EXIT, sys(ioctl(s->fd, GK_IOC_EXIT, 0)));
		break;
	case 3:
		if (!may_jump)
			break;
		may_jump = false;
		siglongjmp(out_of_call, 1);
	}
	errno = saved;
}

static struct slot *slot_of(const struct op *op)
{
	return &me.slot[op->slot % SLOTS];
}

/* Mostly the slot's own; another's, a spare one, one of a parent, none. */
static int some_fd(const struct op *op, uint64_t *r)
{
	switch (rnd(r) % 48) {
	case 0:
		return me.slot[rnd(r) % SLOTS].fd;
	case 1:
	case 2:
		return SPARE_FD + rnd(r) % SPARE_FDS;
	case 3:
		return old_fd;
	case 4:
		return one_in(r, 2) ? me.ep : me.ev;
	case 5:
		return one_in(r, 4) ? (int)nasty(r) : slot_of(op)->fd;
	default:
		return slot_of(op)->fd;
	}
}

/* Puts a struct where the kernel is to find it, or is not. */
static void *place(const struct op *op, uint64_t *r, const void *what, size_t size)
{
	static const void *const bad[] = {
		NULL, (void *)1, (void *)0xffff888000000000, (void *)0xffffffff81000000, (void *)0x800000000000,
		(void *)0x7ffffffff000, (void *)-1,
	};
	unsigned int page = PG_RW, at;
	unsigned char *map = slot_of(op)->map;

	if (!one_in(r, 8)) {
		at = rnd(r) % 32 * 8;
	} else {
		switch (rnd(r) % 4) {
		case 0:
			return (void *)(one_in(r, 2) ? bad[rnd(r) % ARRAY_LEN(bad)] : (void *)nasty(r));
		case 1:		/* in the shared pages themselves */
			if (!map)
				return NULL;
			map += rnd(r) % 512 * 8;
			GUARDED(memcpy(map, what, size < 128 ? size : 128), );
			return map;
		default:
			page = rnd(r) % PAGES;
			at = rnd(r) % 4096;
			/* Its end in the next page */
			if (page + 1 < PAGES && one_in(r, 2))
				at = 4096 - rnd(r) % (size < 4096 ? size + 1 : 4096);
			break;
		}
	}
	if (size > PAGES * 4096ul - page * 4096 - at)
		size = PAGES * 4096ul - page * 4096 - at;
	memcpy(self->in + page * 4096 + at, what, size);
	return self->out + page * 4096 + at;
}

/* A struct with its first word, in a buffer that has room for more: right, or short, or long with a tail or without. */
static size_t odd_size(uint64_t *r, uint32_t *buf, size_t size, size_t room)
{
	size_t n = size;

	if (one_in(r, 6)) {
		switch (rnd(r) % 8) {
		case 0:
			n = rnd(r) % size;
			break;
		case 1:
			n = size + rnd(r) % 64;
			break;
		case 2:
			n = 4095 + rnd(r) % 3;
			break;
		case 3:
			n = size + 4;
			buf[size / 4] = 1;
			break;
		case 4:
			n = size + 8 + rnd(r) % 1024;
			((unsigned char *)buf)[n - 1] = rnd(r);
			break;
		case 5:
			n = nasty(r);
			break;
		default:
			/* The right size, but something in it is not right. */
			buf[1 + rnd(r) % (size / 4 - 1)] = nasty(r);
			break;
		}
	}
	buf[0] = n;
	return n < size ? size : (n < room ? n : room);
}

/* The number that goes with it may say another size. */
static unsigned long odd_cmd(uint64_t *r, unsigned long cmd)
{
	if (!one_in(r, 32))
		return cmd;
	if (one_in(r, 2))
		return _IOC(_IOC_DIR(cmd), _IOC_TYPE(cmd), _IOC_NR(cmd), rnd(r) % (1 << _IOC_SIZEBITS));
	return cmd ^ 1ul << rnd(r) % 64;
}

static uint64_t some_time(uint64_t *r)
{
	switch (rnd(r) % 16) {
	case 0:
		return nasty(r);
	case 1:
		return 10 * NSEC - 1 + rnd(r) % 3;
	case 2:
	case 3:
		return 0;
	default:
		return 100 * USEC + rnd(r) % (2 * MSEC);
	}
}

union buffer {
	struct gk_info info;
	struct gk_setup setup;
	struct gk_set set;
	struct gk_enter enter;
	uint32_t word[4100 / 4];
	unsigned char byte[4100];
};

static void do_setup(const struct op *op, uint64_t *r)
{
	struct slot *s = slot_of(op);
	union buffer b = {};
	uint32_t cpus[GK_MAX_CORES];
	unsigned int i, n = rnd(r) % 4 + 1;
	size_t size;
	void *where;

	for (i = 0; i < GK_MAX_CORES; i++)
		cpus[i] = one_in(r, 64 * n) ? nasty(r) : rig_nth_cpu(rnd(r));
	if (one_in(r, 16))
		n = nasty(r);
	b.setup.ncores = n;
	b.setup.max_workers = one_in(r, 16) ? nasty(r) : n + rnd(r) % 24;
	b.setup.slice_ns = some_time(r);
	b.setup.grain_ns = one_in(r, 8) ? some_time(r) : 0;
	b.setup.bound = one_in(r, 16) ? nasty(r) : rnd(r) % 4;
	b.setup.manager_fd = one_in(r, 2) ? -1 : (one_in(r, 16) ? (int)nasty(r) : me.ev);
	b.setup.cpus = (uintptr_t)place(op, r, cpus, sizeof(cpus));
	/* They share the caller's pages: the numbers of the CPUs stay, or do not. */
	if (!one_in(r, 8)) {
		memcpy(self->in + 2048, cpus, sizeof(cpus));
		b.setup.cpus = (uintptr_t)self->out + 2048;
	}
	size = odd_size(r, b.word, sizeof(b.setup), sizeof(b));
	where = place(op, r, &b, size);
	if (gk(OP_SETUP, some_fd(op, r), odd_cmd(r, GK_IOC_SETUP), (uintptr_t)where))
		return;
	GUARDED(memcpy(&b, where, sizeof(b.setup)), return);
	/* Whatever it is now; another may have overwritten it. */
	if (b.setup.map_size && b.setup.map_size < 64 << 20)
		s->s = b.setup;
}

static void do_struct(const struct op *op, uint64_t *r)
{
	union buffer b = {};
	unsigned long cmd;
	size_t size;
	cpu_set_t set;

	switch (op->code) {
	case OP_INFO:
		cmd = GK_IOC_INFO;
		size = sizeof(b.info);
		break;
	case OP_SET:
		cmd = GK_IOC_SET;
		size = sizeof(b.set);
		b.set.mask = one_in(r, 8) ? nasty(r) : rnd(r) % 16;
		b.set.slice_ns = some_time(r);
		b.set.grain_ns = one_in(r, 2) ? some_time(r) : 0;
		b.set.bound = one_in(r, 8) ? nasty(r) : rnd(r) % 3;
		b.set.epoll_fd = one_in(r, 4) ? -1 : (one_in(r, 4) ? some_fd(op, r) : me.ep);
		break;
	default:
		cmd = GK_IOC_ENTER;
		size = sizeof(b.enter);
		b.enter.flags = one_in(r, 16) ? nasty(r) : rnd(r) % 2;
		b.enter.core = one_in(r, 16) ? nasty(r) : rnd(r) % 4;
		if (one_in(r, 2)) {
			CPU_ZERO(&set);
			CPU_SET(rig_nth_cpu(b.enter.core), &set);
			sched_setaffinity(0, sizeof(set), &set);
		}
		break;
	}
	size = odd_size(r, b.word, size, sizeof(b));
	gk(op->code, some_fd(op, r), odd_cmd(r, cmd), (uintptr_t)place(op, r, &b, size));
}

static void do_number(const struct op *op, uint64_t *r)
{
	static const struct {
		unsigned long cmd;
		unsigned int range;
	} of[] = {
		[OP_EXIT] = { GK_IOC_EXIT, 1 }, [OP_PARK] = { GK_IOC_PARK, 3 }, [OP_WAKE] = { GK_IOC_WAKE, 4 },
		[OP_ARM] = { GK_IOC_ARM, 4 }, [OP_UNHOLD] = { GK_IOC_UNHOLD, 12 }, [OP_PULL] = { GK_IOC_PULL, 4 },
		[OP_MOVE] = { GK_IOC_MOVE, 4 }, [OP_STOP] = { GK_IOC_STOP, 1 },
	};
	unsigned int n = 1;

	/* Of those that return at once some in a row: most calls find something that another has just changed. */
	if (op->code != OP_EXIT && op->code != OP_PARK && op->code != OP_STOP)
		n += rnd(r) % 12;
	while (n--)
		gk(op->code, some_fd(op, r), odd_cmd(r, of[op->code].cmd),
		   one_in(r, 24) ? nasty(r) : rnd(r) % of[op->code].range);
}

static void do_unknown(const struct op *op, uint64_t *r)
{
	unsigned long cmd = nasty(r);

	if (!one_in(r, 3))
		cmd = _IOC(rnd(r) % 4, GK_IOC_MAGIC, rnd(r) % 64, one_in(r, 2) ? 0 : rnd(r) % 128);
	/* To another's descriptor it could be anything; to the terminal, too. */
	gk(OP_UNKNOWN, slot_of(op)->fd, cmd, one_in(r, 2) ? (uintptr_t)self->out : nasty(r));
}

/* ---- memory */

static void do_mmap(const struct op *op, uint64_t *r)
{
	struct slot *s = slot_of(op);
	size_t size = s->s.map_size ?: 4096;
	int prot = PROT_READ | PROT_WRITE, flags = MAP_SHARED;
	off_t offset = 0;
	void *p;

	if (one_in(r, 6)) {
		switch (rnd(r) % 6) {
		case 0:
			size = rnd(r) % 64 * 4096 + 1;
			break;
		case 1:
			prot = rnd(r) % 8;
			break;
		case 2:
			flags = MAP_PRIVATE;
			break;
		case 3:
			offset = nasty(r) & ~4095ul;
			break;
		case 4:
			flags |= MAP_POPULATE | MAP_NORESERVE;
			break;
		case 5:
			flags |= MAP_LOCKED;
			break;
		}
	}
	p = mmap(NULL, size, prot, flags, some_fd(op, r), offset);
	count(OP_MMAP, p == MAP_FAILED ? -errno : 0);
	if (p == MAP_FAILED)
		return;
	/* The others see one mapping a slot; the one before may still be in use. */
	if (flags == MAP_SHARED && prot == (PROT_READ | PROT_WRITE) && size == s->s.map_size) {
		unsigned char *old = __atomic_exchange_n(&s->map, p, __ATOMIC_SEQ_CST);

		if (old)
			munmap(old, size);
	} else {
		munmap(p, size);
	}
}

static void do_memory(const struct op *op, uint64_t *r)
{
	static const int advice[] = {
		MADV_DONTNEED, MADV_DONTFORK, MADV_DOFORK, MADV_REMOVE, MADV_FREE, MADV_WILLNEED, MADV_COLD, MADV_PAGEOUT,
		MADV_HUGEPAGE, MADV_MERGEABLE, MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_WIPEONFORK,
	};
	struct slot *s = slot_of(op);
	unsigned char *map = READ_ONCE(s->map);
	size_t size = s->s.map_size, from = 0, len = size;
	void *p;

	if (!map || !size)
		return;
	if (one_in(r, 2)) {
		from = rnd(r) % (size / 4096) * 4096;
		len = 4096;
	}
	switch (op->code) {
	case OP_MUNMAP:
		if (len == size)
			WRITE_ONCE(s->map, NULL);
		count(op->code, sys(munmap(map + from, len)));
		break;
	case OP_MREMAP:
		p = mremap(map + from, len, one_in(r, 2) ? len : len + 4096 * (rnd(r) % 4), rnd(r) % 8 & ~MREMAP_FIXED);
		count(op->code, p == MAP_FAILED ? -errno : 0);
		if (p != MAP_FAILED && p != map + from) {
			if (len == size)
				WRITE_ONCE(s->map, p);
			else
				munmap(p, len);
		}
		break;
	case OP_MPROTECT:
		count(op->code, sys(mprotect(map + from, len, one_in(r, 2) ? rnd(r) % 8 : PROT_READ | PROT_WRITE)));
		break;
	default:
		count(op->code, sys(madvise(map + from, len, advice[rnd(r) % ARRAY_LEN(advice)])));
		break;
	}
}

static void write_words(const struct op *op, uint64_t *r)
{
	struct slot *s = slot_of(op);
	unsigned char *map = READ_ONCE(s->map);
	struct gk_setup *u = &s->s;
	struct gk_group_page *g = (void *)map;
	struct gk_core_page *c;
	struct gk_worker_page *w;
	uint32_t *word;

	if (!map || u->map_size < 4096 || u->core_off > 4096 || !u->ncores)
		return;
	c = (void *)(map + u->core_off + rnd(r) % (u->ncores < 8 ? u->ncores : 8) * GK_LINE * 7);
	w = (void *)(map + u->worker_off + rnd(r) % 16 * sizeof(*w));
	word = (void *)(map + rnd(r) % (u->map_size / 4) * 4);
	GUARDED(({
		switch (op->code) {
		case OP_PUSH:
			__atomic_fetch_add(&c->q_tail, 1, __ATOMIC_SEQ_CST);
			break;
		case OP_TAKE:
			WRITE_ONCE(c->q_head, READ_ONCE(c->q_tail));
			WRITE_ONCE(g->gq_len, 0);
			WRITE_ONCE(c->q_next, 0);
			WRITE_ONCE(g->net_seen, READ_ONCE(g->net_seq));
			break;
		case OP_DEADLINE:
			WRITE_ONCE(c->deadline, one_in(r, 4) ? nasty(r) : rig_now() + rnd(r) % (2 * MSEC) - MSEC / 2);
			break;
		case OP_WORD:
			switch (rnd(r) % 8) {
			case 0:
				WRITE_ONCE(c->word, one_in(r, 4) ? nasty(r) : rnd(r) % 16);
				break;
			case 1:
				WRITE_ONCE(c->urgent, rnd(r) % 2);
				break;
			case 2:
				WRITE_ONCE(c->q_next, rnd(r) % 2);
				break;
			case 3:
				WRITE_ONCE(g->gq_len, rnd(r) % 2);
				break;
			case 4:
				WRITE_ONCE(g->searching, rnd(r) % 2);
				break;
			case 5:
				WRITE_ONCE(g->net_seen, one_in(r, 2) ? READ_ONCE(g->net_seq) : nasty(r));
				break;
			case 6:
				WRITE_ONCE(w->switches, READ_ONCE(w->switches) + 1);
				break;
			case 7:
				WRITE_ONCE(w->taskless, rnd(r) % 2);
				break;
			}
			break;
		default:
			if (one_in(r, 64))
				memset(map, nasty(r), u->map_size);
			else if (one_in(r, 2))
				WRITE_ONCE(*word, nasty(r));
			else
				WRITE_ONCE(((uint32_t *)c)[rnd(r) % (sizeof(*c) / 4)], nasty(r));
			break;
		}
		0;
	}), );
}

/* ---- descriptors */

static void do_open(const struct op *op, uint64_t *r)
{
	struct slot *s = slot_of(op);
	unsigned char *map;
	int fd = open(RIG_DEV, one_in(r, 8) ? rnd(r) % 4 | O_NONBLOCK : O_RDWR);

	count(OP_OPEN, fd < 0 ? -errno : 0);
	if (fd < 0)
		return;
	fd = __atomic_exchange_n(&s->fd, fd, __ATOMIC_SEQ_CST);
	if (fd >= 0)
		count(OP_CLOSE, sys(close(fd)));
	/* Of the group before: it may live on by its mapping. */
	map = __atomic_exchange_n(&s->map, NULL, __ATOMIC_SEQ_CST);
	if (map && !one_in(r, 8))
		count(OP_MUNMAP, sys(munmap(map, s->s.map_size)));
}

static void send_fd(int fd)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} c = { .h = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec v = { "x", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };

	memcpy(CMSG_DATA(&c.h), &fd, sizeof(fd));
	count(OP_SEND_FD, sys(sendmsg(mail[0], &m, MSG_DONTWAIT)));
}

static void receive_fd(uint64_t *r)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} c = {};
	char ch;
	struct iovec v = { &ch, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };
	int fd;

	if (count(OP_RECEIVE_FD, sys(recvmsg(mail[1], &m, MSG_DONTWAIT))) < 0)
		return;
	if (m.msg_controllen < sizeof(c.h) || c.h.cmsg_type != SCM_RIGHTS)
		return;
	memcpy(&fd, CMSG_DATA(&c.h), sizeof(fd));
	dup2(fd, SPARE_FD + rnd(r) % SPARE_FDS);
	close(fd);
}

static void do_file(const struct op *op, uint64_t *r)
{
	struct slot *s = slot_of(op);
	struct epoll_event e = { .events = EPOLLIN | (one_in(r, 2) ? EPOLLET : 0) };
	struct pollfd p = { .fd = s->fd, .events = POLLIN | POLLOUT };
	uint64_t n = 1;
	int fd;

	switch (op->code) {
	case OP_CLOSE:
		fd = one_in(r, 2) ? SPARE_FD + rnd(r) % SPARE_FDS : __atomic_exchange_n(&s->fd, -1, __ATOMIC_SEQ_CST);
		count(op->code, sys(close(fd)));
		break;
	case OP_DUP:
		count(op->code, sys(dup3(s->fd, SPARE_FD + rnd(r) % SPARE_FDS, rnd(r) % 2 * O_CLOEXEC)));
		break;
	case OP_READ:
		count(op->code, sys(read(s->fd, self->out, rnd(r) % 8192)));
		break;
	case OP_WRITE:
		count(op->code, sys(write(s->fd, self->out, rnd(r) % 8192)));
		break;
	case OP_POLL:
		count(op->code, sys(poll(&p, 1, 0)));
		break;
	case OP_FCNTL:
		count(op->code, sys(fcntl(s->fd, one_in(r, 2) ? F_SETFL : (int)(rnd(r) % 16),
					  one_in(r, 2) ? O_ASYNC | O_NONBLOCK : rnd(r) % 8192)));
		break;
	case OP_SEND_FD:
		send_fd(one_in(r, 2) ? s->fd : SPARE_FD + (int)(rnd(r) % SPARE_FDS));
		break;
	case OP_EPOLL_ADD:
		fd = one_in(r, 2) ? me.ev : some_fd(op, r);
		count(op->code, sys(epoll_ctl(me.ep, rnd(r) % 3 + 1, fd, &e)));
		break;
	case OP_EPOLL_WAIT:
		count(op->code, sys(epoll_wait(me.ep, &e, 1, 0)));
		break;
	case OP_EPOLL_NEW:
		fd = count(op->code, sys(epoll_create1(EPOLL_CLOEXEC)));
		if (fd < 0)
			break;
		epoll_ctl(fd, EPOLL_CTL_ADD, me.ev, &(struct epoll_event){ .events = EPOLLIN });
		dup2(fd, me.ep);
		close(fd);
		break;
	case OP_READY:
		count(op->code, sys(write(me.ev, &n, sizeof(n))));
		break;
	case OP_UNREADY:
		count(op->code, sys(read(me.ev, &n, sizeof(n))));
		break;
	}
}

/* ---- processes and threads */

/* In another process that has the descriptors, and no memory of ours to write to but the tally. */
static void stranger(uint64_t *r)
{
	static const unsigned long cmd[] = {
		GK_IOC_PARK, GK_IOC_WAKE, GK_IOC_ARM, GK_IOC_UNHOLD, GK_IOC_PULL, GK_IOC_MOVE, GK_IOC_STOP, GK_IOC_EXIT,
	};
	struct gk_enter e = { .size = sizeof(e) };
	unsigned int i, n = rnd(r) % 6;

	for (i = 0; i < n; i++) {
		int fd = me.slot[rnd(r) % SLOTS].fd;

		if (one_in(r, 3))
			syscall(SYS_ioctl, fd, GK_IOC_ENTER, &e);
		else
			syscall(SYS_ioctl, fd, cmd[rnd(r) % ARRAY_LEN(cmd)], rnd(r) % 4);
	}
}

static void run_exec(void)
{
	char *argv[] = { "abi", "--executed", NULL }, *envp[] = { NULL };

	execve("/proc/self/exe", argv, envp);
}

static void do_fork(const struct op *op, uint64_t *r)
{
	bool exec = one_in(r, 4);
	pid_t pid;

	if (op->code == OP_VFORK) {
		/* A process of its own with our memory. */
		pid = vfork();
		if (!pid) {
			stranger(r);
			if (exec)
				run_exec();
			_exit(0);
		}
	} else {
		pid = fork();
		if (!pid) {
			stranger(r);
			if (exec)
				run_exec();
			_exit(0);
		}
	}
	count(op->code, sys(pid) < 0 ? -errno : 0);
}

static void *caller_main(void *arg);

static bool caller_start(struct caller *c)
{
	pthread_attr_t attr;
	pthread_t thread;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 * 1024);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	err = pthread_create(&thread, &attr, caller_main, c);
	pthread_attr_destroy(&attr);
	return !err;
}

static void do_process(const struct op *op, uint64_t *r)
{
	static const int policy[] = { SCHED_OTHER, SCHED_BATCH, SCHED_IDLE };
	struct timespec t = { 0, rnd(r) % (200 * USEC) };
	struct sched_param param = {};
	unsigned int i;
	cpu_set_t set;
	int tid;

	switch (op->code) {
	case OP_FORK:
	case OP_VFORK:
		do_fork(op, r);
		break;
	case OP_UNSHARE:
		count(op->code, sys(unshare(CLONE_FILES)));
		break;
	case OP_EXEC:
		count(op->code, 0);
		run_exec();
		break;
	case OP_EXIT_PROCESS:
		count(op->code, 0);
		_exit(0);
	case OP_EXIT_THREAD:
		count(op->code, 0);
		/* In the state it is in; another takes its place. */
		if (caller_start(self))
			pthread_exit(NULL);
		break;
	case OP_SIGNAL:
		tid = atomic_load(&me.caller[rnd(r) % CALLERS].tid);
		if (tid)
			count(op->code, sys(syscall(SYS_tgkill, getpid(), tid, SIGUSR1)));
		break;
	case OP_AFFINITY:
		CPU_ZERO(&set);
		CPU_SET(rig_nth_cpu(rnd(r)), &set);
		if (one_in(r, 3))
			for (i = 0; i < rig_ncpus(); i++)
				CPU_SET(rig_nth_cpu(i), &set);
		count(op->code, sys(sched_setaffinity(0, sizeof(set), &set)));
		break;
	case OP_POLICY:
		count(op->code, sys(sched_setscheduler(0, policy[rnd(r) % 3], &param)));
		break;
	case OP_YIELD:
		count(op->code, sys(sched_yield()));
		break;
	case OP_SLEEP:
		count(op->code, sys(nanosleep(&t, NULL)));
		break;
	case OP_COMPUTE:
		for (i = rnd(r) % 20000; i; i--)
			asm volatile("" ::: "memory");
		break;
	}
}

static void run_op(const struct op *op)
{
	uint64_t r;

	rnd_start(&r, op->seed);
	switch (op->code) {
	case OP_SETUP:
		do_setup(op, &r);
		break;
	case OP_INFO:
	case OP_SET:
	case OP_ENTER:
		do_struct(op, &r);
		break;
	case OP_EXIT ... OP_STOP:
		do_number(op, &r);
		break;
	case OP_UNKNOWN:
		do_unknown(op, &r);
		break;
	case OP_OPEN:
		do_open(op, &r);
		break;
	case OP_RECEIVE_FD:
		receive_fd(&r);
		break;
	case OP_MMAP:
		do_mmap(op, &r);
		break;
	case OP_MUNMAP ... OP_MADVISE:
		do_memory(op, &r);
		break;
	case OP_PUSH ... OP_HOSTILE_WORD:
		write_words(op, &r);
		break;
	case OP_FORK ... OP_COMPUTE:
		do_process(op, &r);
		break;
	default:
		do_file(op, &r);
		break;
	}
}

/* ---- programs ---------------------------------------------------------------------------------------------------- */

/* How often each is drawn, where anything may come. */
static const uint8_t weight[OP_CODES] = {
	[OP_INFO] = 6, [OP_SETUP] = 8, [OP_SET] = 24, [OP_ENTER] = 40, [OP_EXIT] = 16, [OP_PARK] = 80, [OP_WAKE] = 80,
	[OP_ARM] = 60, [OP_UNHOLD] = 60, [OP_PULL] = 40, [OP_STOP] = 1, [OP_UNKNOWN] = 16, [OP_OPEN] = 3, [OP_CLOSE] = 3,
	[OP_DUP] = 4, [OP_READ] = 1, [OP_WRITE] = 1, [OP_POLL] = 1, [OP_FCNTL] = 2, [OP_SEND_FD] = 2, [OP_RECEIVE_FD] = 3,
	[OP_MMAP] = 8, [OP_MUNMAP] = 2, [OP_MREMAP] = 2, [OP_MPROTECT] = 2, [OP_MADVISE] = 3, [OP_EPOLL_ADD] = 3,
	[OP_EPOLL_WAIT] = 2, [OP_EPOLL_NEW] = 1, [OP_READY] = 6, [OP_UNREADY] = 4, [OP_FORK] = 1, [OP_VFORK] = 1,
	[OP_UNSHARE] = 1, [OP_EXIT_THREAD] = 2, [OP_SIGNAL] = 16, [OP_AFFINITY] = 8, [OP_POLICY] = 1, [OP_YIELD] = 12,
	[OP_SLEEP] = 12, [OP_COMPUTE] = 8, [OP_PUSH] = 40, [OP_TAKE] = 24, [OP_DEADLINE] = 16, [OP_WORD] = 40,
	[OP_HOSTILE_WORD] = 12, [OP_MOVE] = 24,
};

static enum op_code draw(uint64_t *r)
{
	static unsigned int sum;
	unsigned int i, n;

	if (!sum)
		for (i = 0; i < OP_CODES; i++)
			sum += weight[i];
	/* The ends of all: now and then. */
	if (one_in(r, 20000))
		return one_in(r, 2) ? OP_EXEC : OP_EXIT_PROCESS;
	n = rnd(r) % sum;
	for (i = 0; n >= weight[i]; i++)
		n -= weight[i];
	return i;
}

static void put(struct program *p, uint64_t *r, unsigned int slot, enum op_code code)
{
	if (p->n < OPS)
		p->op[p->n++] = (struct op){ .code = code, .slot = slot, .seed = rnd(r) };
}

/*
 * What leads somewhere:
 *	program: [group] life | any...
 *	group:   OPEN SETUP MMAP
 *	life:    ENTER work... EXIT
 *	work:    PARK | a push: PUSH (WAKE | ARM) | a hold: UNHOLD | a block: SLEEP | PULL | any
 */
static void by_grammar(struct program *p, uint64_t *r)
{
	unsigned int slot = rnd(r) % SLOTS, n = rnd(r) % 12 + 2;

	if (me.slot[slot].fd < 0 || one_in(r, 48)) {
		put(p, r, slot, OP_OPEN);
		put(p, r, slot, OP_SETUP);
		put(p, r, slot, OP_MMAP);
	} else if (!me.slot[slot].map) {
		put(p, r, slot, OP_SETUP);
		put(p, r, slot, OP_MMAP);
	}
	if (one_in(r, 3))
		put(p, r, slot, OP_EXIT);
	put(p, r, slot, OP_ENTER);
	while (n--) {
		switch (rnd(r) % 8) {
		case 0:
			put(p, r, slot, OP_PARK);
			break;
		case 1:
			put(p, r, slot, OP_PUSH);
			put(p, r, slot, one_in(r, 2) ? OP_WAKE : OP_ARM);
			break;
		case 2:
			put(p, r, slot, OP_UNHOLD);
			break;
		case 3:
			put(p, r, slot, OP_SLEEP);
			break;
		case 4:
			put(p, r, slot, one_in(r, 3) ? OP_MOVE : OP_PULL);
			break;
		case 5:
			put(p, r, slot, OP_WORD);
			break;
		default:
			put(p, r, one_in(r, 8) ? rnd(r) : slot, draw(r));
			break;
		}
	}
	if (one_in(r, 2))
		put(p, r, slot, OP_EXIT);
}

static void mutate(struct program *p, uint64_t *r)
{
	uint32_t all = READ_ONCE(shared->ncorpus), i, n;
	const struct program *from, *other;

	all = all < CORPUS ? all : CORPUS;
	from = &shared->corpus[rnd(r) % all];
	*p = *from;
	p->n = p->n % OPS + 1;
	for (n = rnd(r) % 3 + 1; n--;) {
		i = rnd(r) % p->n;
		switch (rnd(r) % 6) {
		case 0:
			p->op[i].seed = rnd(r);
			break;
		case 1:
			p->op[i].code = draw(r);
			break;
		case 2:
			p->op[i].slot = rnd(r);
			break;
		case 3:
			if (p->n < OPS) {
				memmove(&p->op[i + 1], &p->op[i], (p->n - i) * sizeof(p->op[0]));
				p->op[i] = (struct op){ .code = draw(r), .slot = p->op[i].slot, .seed = rnd(r) };
				p->n++;
			}
			break;
		case 4:
			if (p->n > 1) {
				memmove(&p->op[i], &p->op[i + 1], (p->n - i - 1) * sizeof(p->op[0]));
				p->n--;
			}
			break;
		case 5:
			other = &shared->corpus[rnd(r) % all];
			memcpy(&p->op[i], other->op, (OPS - i) * sizeof(p->op[0]));
			p->n = i + other->n % OPS + 1;
			p->n = p->n < OPS ? p->n : OPS;
			break;
		}
	}
	/* Another may have been writing there. */
	for (i = 0; i < OPS; i++)
		p->op[i].code %= OP_CODES;
}

static void make_program(struct program *p, uint64_t *r)
{
	unsigned int n, slot;

	p->n = 0;
	switch (rnd(r) % 4) {
	case 0:
		if (READ_ONCE(shared->ncorpus)) {
			mutate(p, r);
			break;
		}
		/* fall through */
	case 1:
	case 2:
		by_grammar(p, r);
		break;
	default:
		slot = rnd(r);
		for (n = rnd(r) % OPS + 1; n--;)
			put(p, r, one_in(r, 4) ? rnd(r) : slot, draw(r));
		break;
	}
}

static void keep(const struct program *p)
{
	uint32_t i = __atomic_fetch_add(&shared->ncorpus, 1, __ATOMIC_RELAXED);

	shared->corpus[i % CORPUS] = *p;
}

/* ---- coverage */

static void cover_open(void)
{
	int fd;

	if (!kcov_base)
		return;
	fd = open("/sys/kernel/debug/kcov", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	if (!ioctl(fd, KCOV_INIT_TRACE, (unsigned long)COVER)) {
		cover = mmap(NULL, COVER * sizeof(*cover), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (cover == MAP_FAILED || ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC))
			cover = NULL;
	}
	/* The task keeps it. */
	close(fd);
}

static void cover_look(void)
{
	uint64_t i, n, pc;

	if (!cover)
		return;
	n = __atomic_load_n(&cover[0], __ATOMIC_RELAXED);
	for (i = 0; i < n && i < COVER - 1; i++) {
		pc = READ_ONCE(cover[i + 1]) - kcov_base;
		if (pc < PCS && !seen(shared->pcs, pc, &shared->npcs))
			fresh = true;
	}
	__atomic_store_n(&cover[0], 0, __ATOMIC_RELAXED);
}

/* gk's code begins where /proc/modules has it, if it is built for kcov at all: one look tells. */
static uint64_t find_kcov(void)
{
	unsigned long base = 0;
	char line[256];
	FILE *f;

	if (access("/sys/kernel/debug/kcov", R_OK | W_OK))
		return 0;
	f = fopen("/proc/modules", "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "gk %*u %*d %*s %*s %lx", &base) == 1)
			break;
	if (f)
		fclose(f);
	return base;
}

/* ---- the threads of an actor ------------------------------------------------------------------------------------- */

static void caller_pages(struct caller *c)
{
	size_t at = c->index * PAGES * 4096ul;

	mmap(c->out + PG_RO * 4096, 4096, PROT_READ, MAP_SHARED | MAP_FIXED, me.arena, at + PG_RO * 4096);
	mprotect(c->out + PG_NONE * 4096, 4096, PROT_NONE);
}

static void *caller_main(void *arg)
{
	struct program p;
	unsigned int i;
	uint64_t r;

	self = arg;
	tally = &shared->tally[me.index][self->index];
	rnd_start(&r, me.seed + atomic_fetch_add(&me.born, 1) * 1000003);
	handler_rng = r ^ 0x5555;
	atomic_store(&self->tid, (int)syscall(SYS_gettid));
	cover_open();
	for (;;) {
		make_program(&p, &r);
		fresh = false;
		for (i = 0; i < p.n; i++) {
			atomic_fetch_add_explicit(&self->steps, 1, memory_order_relaxed);
			run_op(&p.op[i]);
		}
		cover_look();
		if (fresh)
			keep(&p);
	}
	return NULL;
}

/* Takes pages of arguments away and brings them back, in whatever way. */
static void flap(uint64_t *r)
{
	struct caller *c = &me.caller[rnd(r) % CALLERS];
	unsigned char *page = c->out + PG_FLAP * 4096;
	size_t at = (c->index * PAGES + PG_FLAP) * 4096ul;

	switch (rnd(r) % 6) {
	case 0:
		munmap(page, 4096);
		break;
	case 1:
		mprotect(page, 4096, rnd(r) % 4);
		break;
	case 2:
		madvise(page, 4096, MADV_DONTNEED);
		break;
	default:
		mmap(page, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, me.arena, at);
		break;
	}
}

/* Gets at a caller that has done nothing since the last look: it sleeps, or waits for its turn. */
static void poke(struct caller *c, uint64_t *r)
{
	struct slot *s = &me.slot[rnd(r) % SLOTS];
	int tid = atomic_load(&c->tid);

	switch (rnd(r) % 4) {
	case 0:
		count(OP_UNHOLD, sys(ioctl(s->fd, GK_IOC_UNHOLD, rnd(r) % 12)));
		break;
	case 1:
		write_words(&(struct op){ .code = OP_PUSH, .slot = rnd(r) }, r);
		count(OP_WAKE, sys(ioctl(s->fd, GK_IOC_WAKE, rnd(r) % 4)));
		break;
	default:
		if (tid)
			syscall(SYS_tgkill, getpid(), tid, SIGUSR1);
		break;
	}
}

/* The actor's first thread: no worker, so it goes on. */
static void actor_loop(uint64_t *r)
{
	struct timespec t = { 0, 300 * USEC };
	unsigned int i, n, stuck = 0;
	struct op op;

	for (;;) {
		for (n = rnd(r) % 32; n--;) {
			op = (struct op){ .code = one_in(r, 3) ? OP_HOSTILE_WORD : OP_WORD, .slot = rnd(r) };
			write_words(&op, r);
		}
		for (n = rnd(r) % 4; n--;)
			flap(r);
		for (i = 0, n = 0; i < CALLERS; i++) {
			struct caller *c = &me.caller[i];
			unsigned long steps = atomic_load(&c->steps);

			if (steps == c->steps_seen) {
				poke(c, r);
				n++;
			}
			c->steps_seen = steps;
		}
		/* Stopped, most of them, for good. */
		stuck = n == CALLERS ? stuck + 1 : 0;
		if (stuck > 50)
			_exit(0);
		nanosleep(&t, NULL);
	}
}

static void actor(unsigned int index, uint64_t seed)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_NODEFER };
	struct rlimit files = { 512, 512 };
	struct caller none = {};
	unsigned int i;
	size_t size = CALLERS * PAGES * 4096ul;
	unsigned char *in, *out;
	uint64_t r;

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGIO, SIG_IGN);
	sigaction(SIGUSR1, &sa, NULL);
	sa.sa_handler = on_fault;
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	setrlimit(RLIMIT_NOFILE, &files);
	rnd_start(&r, seed);
	me.index = index;
	me.seed = rnd(&r);
	me.ev = eventfd(0, EFD_NONBLOCK);
	me.ep = epoll_create1(EPOLL_CLOEXEC);
	me.arena = memfd_create("arena", 0);
	if (me.ev < 0 || me.ep < 0 || me.arena < 0 || ftruncate(me.arena, size))
		_exit(3);
	epoll_ctl(me.ep, EPOLL_CTL_ADD, me.ev, &(struct epoll_event){ .events = EPOLLIN });
	in = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, me.arena, 0);
	out = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, me.arena, 0);
	if (in == MAP_FAILED || out == MAP_FAILED)
		_exit(3);
	for (i = 0; i < SLOTS; i++)
		me.slot[i].fd = -1;
	for (i = 0; i < CALLERS; i++) {
		me.caller[i].index = i;
		me.caller[i].in = in + i * PAGES * 4096ul;
		me.caller[i].out = out + i * PAGES * 4096ul;
		caller_pages(&me.caller[i]);
	}
	none.in = in;
	none.out = out;
	self = &none;
	tally = &shared->tally[index][CALLERS];
	/* Most lives are too short to wait until somebody gets that far. */
	for (i = 0; i < SLOTS; i++) {
		static const uint8_t first[] = { OP_OPEN, OP_SETUP, OP_MMAP };
		unsigned int j;

		for (j = 0; j < ARRAY_LEN(first); j++)
			run_op(&(struct op){ .code = first[j], .slot = i, .seed = rnd(&r) });
	}
	for (i = 0; i < CALLERS; i++)
		if (!caller_start(&me.caller[i]))
			_exit(3);
	actor_loop(&r);
}

/* Another program now, with what descriptors the first one had: nothing of them is its own. */
static void __attribute__((constructor)) executed(int argc, char **argv)
{
	struct gk_enter e = { .size = sizeof(e) };
	int fd;

	if (argc != 2 || strcmp(argv[1], "--executed"))
		return;
	for (fd = 3; fd < SPARE_FD + SPARE_FDS; fd++) {
		ioctl(fd, GK_IOC_PARK, 0);
		ioctl(fd, GK_IOC_ENTER, &e);
		ioctl(fd, GK_IOC_STOP, 0);
	}
	_exit(0);
}

/* ---- the supervisor ---------------------------------------------------------------------------------------------- */

static unsigned long env(const char *name, unsigned long otherwise)
{
	const char *s = getenv(name);

	return s && *s ? strtoul(s, NULL, 0) : otherwise;
}

struct ward {
	pid_t pid;
	bool alive;			/* the actor itself is not yet reaped */
	bool stopped;
	uint64_t killed;		/* when all of it was told to go; 0: not yet */
};

static struct ward ward[ACTORS];
static unsigned long how[4];		/* by itself, SIGKILL, another signal, could not start */

static uint64_t calls(void)
{
	unsigned int a, c, o, e;
	uint64_t n = 0;

	for (a = 0; a < ACTORS; a++)
		for (c = 0; c <= CALLERS; c++)
			for (o = 0; o < OP_IOCTLS; o++)
				for (e = 0; e < ERRNOS; e++)
					n += READ_ONCE(shared->tally[a][c].n[o][e]);
	return n;
}

static uint64_t calls_of(unsigned int o, unsigned int e)
{
	unsigned int a, c;
	uint64_t n = 0;

	for (a = 0; a < ACTORS; a++)
		for (c = 0; c <= CALLERS; c++)
			n += READ_ONCE(shared->tally[a][c].n[o][e]);
	return n;
}

static void start(unsigned int i)
{
	uint64_t seed = shared->seed + shared->lives++ * 7919;
	pid_t pid = fork();

	if (!pid)
		actor(i, seed);
	/* Both do: whoever comes first. */
	setpgid(pid, pid);
	ward[i] = (struct ward){ .pid = pid, .alive = pid > 0 };
}

static void end(struct ward *w)
{
	kill(-w->pid, SIGKILL);
	if (w->alive)
		kill(w->pid, SIGKILL);
	if (!w->killed)
		w->killed = rig_now();
}

static void reap(void)
{
	unsigned int i;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (i = 0; i < ACTORS; i++)
			if (ward[i].pid == pid && ward[i].alive)
				break;
		if (i == ACTORS)
			continue;	/* a child of one that is gone */
		ward[i].alive = false;
		how[WIFEXITED(status) ? (WEXITSTATUS(status) == 3 ? 3 : 0) : (WTERMSIG(status) == SIGKILL ? 1 : 2)]++;
		end(&ward[i]);
	}
}

/* All that belonged to the actor is gone. */
static bool gone(struct ward *w)
{
	return !w->alive && kill(-w->pid, 0) && errno == ESRCH;
}

/* What the threads of one that does not go wait for. */
static void show(pid_t pid)
{
	char command[256];

	snprintf(command, sizeof(command),
		 "for t in /proc/%d/task/*; do echo \"# $t: $(grep -s State $t/status)\"; sed 's/^/#   /' $t/stack; done 2>&1", pid);
	if (system(command))
		printf("# nothing to be seen of %d\n", pid);
}

/* Does something to one of them. */
static void disturb(struct ward *w, uint64_t *r)
{
	if (!w->alive || w->killed)
		return;
	switch (rnd(r) % 32) {
	case 0:
		end(w);
		break;
	case 1:
	case 2:
		kill(w->pid, w->stopped ? SIGCONT : SIGSTOP);
		w->stopped = !w->stopped;
		break;
	case 3:
		/* A signal that it does not handle, to any of its threads */
		if (one_in(r, 8))
			kill(w->pid, SIGTERM);
		break;
	default:
		if (w->stopped) {
			kill(w->pid, SIGCONT);
			w->stopped = false;
		} else {
			kill(w->pid, SIGUSR1);
		}
		break;
	}
}

static void report(uint64_t start)
{
	double s = (rig_now() - start) / 1e9;
	unsigned int o, e;
	uint64_t n = calls();

	printf("# seed %lu: %lu ioctls in %.1f s (%.0f a second), %lu lives (%lu ended by themselves, %lu by SIGKILL, %lu by other signals)\n",
	       (unsigned long)shared->seed, (unsigned long)n, s, n / s, (unsigned long)shared->lives, how[0], how[1], how[2]);
	printf("# %u programs kept, %u results in their order", shared->ncorpus, shared->neffects);
	if (kcov_base)
		printf(", %u places in gk's code by kcov\n", shared->npcs);
	else
		printf(", no kcov here\n");
	for (o = 0; o < OP_CODES; o++) {
		for (e = 0, n = 0; e < ERRNOS; e++)
			n += calls_of(o, e);
		if (!n)
			continue;
		printf("# %-12s %9lu:", op_name[o], (unsigned long)n);
		for (e = 0; e < ERRNOS; e++) {
			n = calls_of(o, e);
			if (n)
				printf(" %s %lu", e ? strerrorname_np(e) ?: "?" : "0", (unsigned long)n);
		}
		printf("\n");
	}
	fflush(stdout);
}

TEST(whatever_is_called_all_can_be_killed_and_nothing_is_left)
{
	unsigned long seconds = env("GK_SECONDS", 30), want = env("GK_CALLS", 0), actors = env("GK_ACTORS", 3);
	struct timespec step = { 0, 2 * MSEC };
	uint64_t begin = rig_now(), end_at = begin + seconds * NSEC, r, said = begin;
	struct rig mine;
	unsigned int i, o;
	bool over = false, left;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)shared);
	shared->seed = env("GK_SEED", begin ^ (uint64_t)getpid() << 32);
	printf("# GK_SEED=%lu\n", (unsigned long)shared->seed);
	fflush(stdout);
	rnd_start(&r, shared->seed);
	kcov_base = find_kcov();
	actors = actors < 1 ? 1 : (actors < ACTORS ? actors : ACTORS);

	ASSERT_EQ(0, prctl(PR_SET_CHILD_SUBREAPER, 1));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, mail));
	ASSERT_EQ(0, rig_open(&mine, &(struct rig_opt){ .bound = 1 })) TH_LOG("no " RIG_DEV);
	old_fd = fcntl(mine.fd, F_DUPFD, 100);		/* without CLOEXEC */
	ASSERT_LE(0, old_fd);

	while (!over) {
		nanosleep(&step, NULL);
		reap();
		for (i = 0; i < actors; i++) {
			struct ward *w = &ward[i];

			if (!w->pid || (w->killed && gone(w))) {
				start(i);
				ASSERT_LT(0, w->pid) TH_LOG("fork: %s", strerror(errno));
			} else if (w->killed && rig_now() - w->killed > rig_patience()) {
				show(w->pid);
				report(begin);
				ASSERT_TRUE(false) TH_LOG("process %d does not die", w->pid);
			}
		}
		disturb(&ward[rnd(&r) % actors], &r);
		ASSERT_GT(1000, how[3]) TH_LOG("actors do not start");
		/* Time without a wanted number, the number without a time; with both, whatever comes last. */
		over = (!seconds || rig_now() >= end_at) && (!want || calls() >= want);
		if (rig_now() - said > 60 * NSEC) {
			said = rig_now();
			printf("# %lu s, %lu ioctls, %lu lives, %u results, %u places\n", (unsigned long)((said - begin) / NSEC),
			       (unsigned long)calls(), (unsigned long)shared->lives, shared->neffects, shared->npcs);
			fflush(stdout);
		}
	}
	for (i = 0; i < actors; i++)
		end(&ward[i]);
	left = RIG_WAIT(({
		bool all = true;

		reap();
		for (i = 0; i < actors; i++) {
			/* What it was about to start as it was told to go. */
			end(&ward[i]);
			all &= gone(&ward[i]);
		}
		all;
	}));
	report(begin);
	for (i = 0; i < actors && !left; i++)
		if (!gone(&ward[i]))
			show(ward[i].pid);
	ASSERT_TRUE(left) TH_LOG("processes that do not die");
	close(mail[0]);
	close(mail[1]);
	close(old_fd);
	rig_close(&mine);
	EXPECT_TRUE(rig_no_leak()) TH_LOG("refcnt %ld, was %ld", rig_refcnt(), rig_refcnt_start);

	/* It got somewhere: each call has succeeded and has failed. */
	for (o = 0; o < OP_IOCTLS; o++) {
		uint64_t n = 0, e;

		for (e = 1; e < ERRNOS; e++)
			n += calls_of(o, e);
		if (o != OP_UNKNOWN)
			EXPECT_LT(0, calls_of(o, 0)) TH_LOG("%s never succeeded", op_name[o]);
		EXPECT_LT(0, n) TH_LOG("%s never failed", op_name[o]);
	}
}

TEST(the_next_group_works_as_ever)
{
	struct rig_worker *s;
	struct rig r;
	int i;

	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	s = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, s);
	for (i = 1; i <= 100; i++) {
		rig_push(&r, 0);
		ASSERT_TRUE(RIG_WAIT(atomic_load(&s->taken) == i));
	}
	EXPECT_STATE(s, GK_W_STANDBY);
	rig_close(&r);
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
