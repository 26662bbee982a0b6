// SPDX-License-Identifier: GPL-2.0-only
/*
 * parse.c - libgk's parsers with anything: ELF files, their symbols, line tables and call frame information, the list of
 * mappings, and what the environment and the cgroup say.
 *
 * They are compiled into this program under AddressSanitizer and UndefinedBehaviorSanitizer, so that a step beyond an input
 * ends it: the input is a piece of the heap, to the byte. An input that takes longer than HANG seconds ends it, too.
 *
 *   parse SEED...       each seed, and GK_COUNT=N mutations of them (100,000; GK_SEED as printed for the same). What fails
 *                       is left in ./crash-parse. Built with libFuzzer (LIBFUZZER) it takes libFuzzer's arguments
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define HANG		20
#define SIZE_MAX_INPUT	(1u << 17)

#include "../../../libgk/internal.h"

/* ---- what the parsers open is the input ---- */

static const uint8_t *input;
static size_t input_size;
static const char *environment;

static FILE *input_file(const char *path, const char *mode)
{
	/* The first line is the cgroup's, the second each level's cpu.max: as it stands between them. */
	size_t first = strlen(environment), cut = strcspn(environment, "\n");

	cut += cut < first;
	return strcmp(path, "/proc/self/cgroup") ?
		       (cut < first ? fmemopen((void *)(environment + cut), first - cut, "r") : NULL) :
		       (cut ? fmemopen((void *)environment, cut, "r") : NULL);
}

/* The list of mappings is the input, and so is any file that it names: there the part from the first ELF header on. */
static int input_open(const char *path, int flags, ...)
{
	const uint8_t *elf = memmem(input, input_size, ELFMAG, SELFMAG), *from = input, *end = input + input_size;
	int fd = memfd_create("input", 0);

	if (elf && strcmp(path, "/proc/self/maps"))
		from = elf;
	else if (elf)
		end = elf;
	if (fd >= 0 && (write(fd, from, end - from) != end - from || lseek(fd, 0, SEEK_SET))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static char *input_getenv(const char *name)
{
	return (char *)environment;
}

#define open(...)	input_open(__VA_ARGS__)
#include "../../../libgk/symbol.c"
#undef open
#undef PATH
#include "../../../libgk/unwind.c"

void say(const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
}

#define fopen(path, mode)	input_file(path, mode)
#define getenv(name)		input_getenv(name)
#include "../../../libgk/environ.c"
#undef fopen
#undef getenv

/* ---- what is done with one input --------------------------------------------------------------------------------- */

static void forget(void)
{
	while (nmodules) {
		struct module *m = &modules[--nmodules];

		if (m->file.p && m->device != (uint64_t)-1)
			munmap((void *)m->file.p, m->file.end - m->file.p);
	}
	names_used = 0;
	memset(cache, 0, sizeof(cache));
}

/* Names that a dump would print. */
static volatile size_t sum;
static unsigned long functions, lines, frames, mappings;

static void look_at(uintptr_t pc)
{
	struct place p;

	place_of(pc, &p);
	sum += p.module ? strlen(p.module) : 0;
	sum += p.function ? strlen(p.function) : 0;
	sum += p.file ? strlen(p.file) : 0;
	sum += p.line;
	functions += !!p.function;
	lines += p.line != 0;
}

static uint64_t word_at(const uint8_t *data, size_t size, size_t at)
{
	uint64_t v = 0;

	if (at < size)
		memcpy(&v, data + at, size - at < 8 ? size - at : 8);
	return v;
}

/* Stacks that have the input's own words on them, and code at some of its addresses. */
static void walk(const uint8_t *data, size_t size, uintptr_t pc)
{
	static uintptr_t words[512];
	struct stack_view stack = { .lo = 0x7f0000000000, .hi = 0x7f0000000000 + sizeof(words), .bytes = (char *)words };
	struct regs regs = {};
	uintptr_t pcs[64];
	unsigned int i;

	for (i = 0; i < 512; i++) {
		words[i] = word_at(data, size, (i * 40503u) % (size | 1));
		if (i % 3 == 0)
			words[i] = pc + words[i] % 4096;
		else if (i % 3 == 1)
			words[i] = stack.lo + words[i] % sizeof(words);
	}
	for (i = 0; i < DW_REGS; i++)
		regs_set(&regs, i, stack.lo + 8 * i);
	regs_set(&regs, DW_SP, stack.lo);
	regs_set(&regs, DW_FP, stack.lo + 128);
	regs_set(&regs, DW_PC, pc);
	frames += unwind(&regs, &stack, pcs, 64) - 1;
}

static void try_elf(const uint8_t *data, size_t size)
{
	struct module m = { .device = -1, .name = "input" };
	const Elf64_Sym *s;
	uint8_t *copy;
	size_t i, n;

	forget();
	/* The last bytes of the heap's piece are the file's last. */
	copy = malloc(size ?: 1);
	if (!copy)
		return;
	memcpy(copy, data, size);
	m.file = (struct bytes){ copy, copy + size };
	m.start = 0x400000;
	m.end = 0x400000 + (1 << 24);
	/* Whatever is said to be code is what is mapped. */
	for (m.offset = 0; m.offset < 16 * 4096 && !read_segments(&m);)
		m.offset += 4096;
	if (m.offset < 16 * 4096) {
		read_sections(&m);
		modules[nmodules++] = m;
		n = (m.symbols.end - m.symbols.p) / sizeof(*s);
		for (i = 0; i < n && i < 40; i++) {
			uint64_t at = word_at(m.symbols.p, m.symbols.end - m.symbols.p, i * sizeof(*s) + 8);

			look_at(at + m.bias);
			walk(data, size, at + m.bias + 1);
		}
		for (i = 0; i < 16; i++) {
			look_at(m.start + i * 97);
			walk(data, size, m.start + i * 97);
		}
	}
	forget();
	free(copy);
}

static void try_maps(const uint8_t *data, size_t size)
{
	/* What the kernel says of its own page is where it is. */
	if (memmem(data, size, "[vdso]", 6))
		return;
	input = data;
	input_size = size;
	forget();
	modules_load();
	mappings += nmodules;
	if (nmodules)
		look_at(modules[0].start + 16);
	forget();
}

/* A number is digits, all of it, and in its range; nothing else is. */
static void try_number(const char *text)
{
	unsigned long v = 0;
	int err;

	environment = text;
	err = env_number("GK_CORES", 1, 256, 7, &v);
	if (err != (*text && (strspn(text, "0123456789") != strlen(text) || strtoul(text, NULL, 10) - 1 > 255) ? -EINVAL : 0) ||
	    (!err && v != (*text ? strtoul(text, NULL, 10) : 7))) {
		fprintf(stderr, "GK_CORES=\"%s\" is %d, %lu\n", text, err, v);
		abort();
	}
	sum += env_number("GK_BOUND", 0, ULONG_MAX, 0, &v);
}

static void try_cgroup(const char *text)
{
	environment = text;
	if (cgroup_cpus() < 0) {
		fprintf(stderr, "a negative number of CPUs\n");
		abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The last byte says what the rest is. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (!size || size > SIZE_MAX_INPUT)
		return 0;
	size--;
	switch (data[size] % 8) {
	case 0:
		try_maps(data, size);
		break;
	case 1:
	case 2:
		text = malloc(size + 1);
		if (!text)
			break;
		memcpy(text, data, size);
		text[size] = 0;
		if (data[size] % 8 == 1)
			try_number(text);
		else
			try_cgroup(text);
		free(text);
		break;
	default:
		try_elf(data, size);
		break;
	}
	return 0;
}

/* ---- without libFuzzer: a driver of our own ---------------------------------------------------------------------- */

#ifndef LIBFUZZER
static uint8_t current[SIZE_MAX_INPUT];
static size_t current_size;

/* Called as the process is about to end, by a sanitizer or by a signal. */
static void keep_input(void)
{
	int fd = open("crash-parse", O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd >= 0 && write(fd, current, current_size) == (ssize_t)current_size)
		fprintf(stderr, "the input is in ./crash-parse\n");
}

void __asan_set_death_callback(void (*fn)(void));

static void on_signal(int sig)
{
	static const char hang[] = "the input takes too long\n";

	if (sig == SIGALRM && write(STDERR_FILENO, hang, sizeof(hang) - 1) < 0)
		_exit(1);
	keep_input();
	_exit(1);
}

static uint64_t rng;

static uint64_t rnd(void)
{
	rng ^= rng >> 12;
	rng ^= rng << 25;
	rng ^= rng >> 27;
	return rng * 0x2545f4914f6cdd1dull >> 16;
}

static size_t read_input(const char *path, uint8_t *buf, size_t room)
{
	FILE *f = fopen(path, "re");
	size_t n = f ? fread(buf, 1, room, f) : 0;

	if (f)
		fclose(f);
	return n;
}

static const uint64_t edges[] = {
	0, 1, 2, 7, 8, 0x7f, 0x80, 0xff, 0xfff, 0x1000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
	0x7fffffffffffffff, 0x8000000000000000, 0xfffffffffffffff8, 0xffffffffffffffff,
};

/* Where an ELF file has what the parsers read: what lies elsewhere need not change. */
static size_t somewhere(size_t size)
{
	const Elf64_Ehdr *e = (const void *)current;
	Elf64_Shdr s;
	size_t at;

	if (size < sizeof(*e) || memcmp(current, ELFMAG, SELFMAG) || rnd() % 8 == 0)
		return rnd() % size;
	switch (rnd() % 6) {
	case 0:
		return rnd() % sizeof(*e);
	case 1:
		at = e->e_phoff + rnd() % (e->e_phnum * sizeof(Elf64_Phdr) + 1);
		break;
	case 2:
		at = e->e_shoff + rnd() % (e->e_shnum * sizeof(s) + 1);
		break;
	default:
		at = e->e_shoff + rnd() % (e->e_shnum + 1) * sizeof(s);
		if (at > size || size - at < sizeof(s))
			return rnd() % size;
		memcpy(&s, current + at, sizeof(s));
		at = s.sh_offset + rnd() % (s.sh_size < 256 || (rnd() % 2 && s.sh_size + 1) ? s.sh_size + 1 : 256);
		break;
	}
	return at < size ? at : rnd() % size;
}

static void mutate(void)
{
	size_t size = current_size - 1, at, n;
	unsigned int times = rnd() % 6 + 1;
	uint8_t kind = current[size];

	while (times-- && size) {
		at = somewhere(size);
		switch (rnd() % 9) {
		case 0:
			current[at] ^= 1 << rnd() % 8;
			break;
		case 1:
			current[at] = rnd();
			break;
		case 2:
		case 3:
			n = 1 << rnd() % 4;
			if (at + n <= size)
				memcpy(current + at, &edges[rnd() % (sizeof(edges) / sizeof(edges[0]))], n);
			break;
		case 4:
			n = 1 << rnd() % 4;
			if (at + n <= size) {
				uint64_t v = 0;

				memcpy(&v, current + at, n);
				v += rnd() % 33 - 16;
				memcpy(current + at, &v, n);
			}
			break;
		case 5:		/* long numbers that go on */
			for (n = rnd() % 12; n-- && at < size; at++)
				current[at] |= 0x80;
			break;
		case 6:
			if (rnd() % 8 == 0)
				size = at;
			break;
		case 7:
			n = somewhere(size);
			if (n < size && at < size)
				memmove(current + at, current + n, (size - (at > n ? at : n)) % 64);
			break;
		case 8:
			if (size < 256 && size + 16 < sizeof(current)) {
				memmove(current + at + 1, current + at, size - at);
				current[at] = "0123456789 -+/:\n."[rnd() % 17];
				size++;
			}
			break;
		}
	}
	current[size] = rnd() % 64 ? kind : (uint8_t)rnd();
	current_size = size + 1;
}

static uint64_t env_or(const char *name, uint64_t otherwise)
{
	const char *s = getenv(name);

	return s && *s ? strtoull(s, NULL, 0) : otherwise;
}

int main(int argc, char **argv)
{
	static uint8_t seeds[16][SIZE_MAX_INPUT];
	size_t size[16], i, k, n = 0;
	uint64_t seed, count;

	__asan_set_death_callback(keep_input);
	signal(SIGALRM, on_signal);
	signal(SIGABRT, on_signal);
	signal(SIGFPE, on_signal);
	/* Files are seeds as long as mutations are wanted, and inputs otherwise. */
	for (i = 1; i < (size_t)argc && n < 16; i++) {
		size[n] = read_input(argv[i], seeds[n], SIZE_MAX_INPUT);
		if (size[n])
			n++;
	}
	if (!n) {
		fprintf(stderr, "usage: parse SEED...\n");
		return 2;
	}
	seed = env_or("GK_SEED", time(NULL) * 1000003 + getpid());
	count = env_or("GK_COUNT", 100000);
	rng = seed * 2 + 1;
	printf("# parse: GK_SEED=%llu, %llu inputs from %zu seeds\n", (unsigned long long)seed, (unsigned long long)count, n);
	fflush(stdout);
	for (i = 0; i < n + count; i++) {
		/* The seeds alone get everywhere, or the mutations would get nowhere. */
		if (i == n && (!functions || !lines || !frames || !mappings)) {
			fprintf(stderr, "the seeds have %lu functions, %lu lines, %lu frames, %lu mappings\n", functions, lines,
				frames, mappings);
			return 1;
		}
		k = i < n ? i : rnd() % n;
		memcpy(current, seeds[k], size[k]);
		current_size = size[k];
		if (i >= n)
			mutate();
		if (i % 64 == 0)
			alarm(HANG);
		LLVMFuzzerTestOneInput(current, current_size);
	}
	printf("# found all the same: %lu functions, %lu lines, %lu frames, %lu mappings\n", functions, lines, frames, mappings);
	return 0;
}
#endif
