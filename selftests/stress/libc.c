// SPDX-License-Identifier: GPL-2.0-only
/*
 * libc.c - hogs inside malloc(), printf() and regexec(), which know nothing of gk and are preempted wherever they are, with
 * the C library's locks in their hands; for GK_SECONDS (3) on one, two and four cores. Nothing may be corrupt or stand still.
 *
 * Contract 5 and 6: a preempted task stays on its thread, so locks stay with their owner and caches with their thread.
 */
#define LIB_TIMEOUT 3600	/* it has an alarm of its own, which knows GK_SECONDS */
#include "lib.h"
#include <regex.h>

#define EACH	2		/* hogs of each kind, a core; sleepers do all of it between two naps */
#define MAX	64
#define BLOCKS	32

struct strand {
	unsigned int id, seed;
	unsigned long rounds;		/* by itself */
	unsigned long lines;		/* printed */
	unsigned char *block[BLOCKS];
	size_t size[BLOCKS];
};

static struct strand strands[MAX];
static atomic_int stop;
static gk_wg wg;

static unsigned int draw(struct strand *s)
{
	return rand_r(&s->seed);
}

/* --- malloc: blocks of all sizes, each full of one byte from its allocation to its end --- */

static void check_block(struct strand *s, unsigned int i)
{
	size_t k;

	for (k = 0; k < s->size[i]; k += 1 + k / 16)
		if (s->block[i][k] != (unsigned char)(s->id * 37 + i)) {
			CHECK_EQ((unsigned char)(s->id * 37 + i), s->block[i][k]);
			return;
		}
}

static void use_malloc(struct strand *s)
{
	unsigned int i = draw(s) % BLOCKS;
	size_t size = draw(s) % 16 ? draw(s) % 2000 : draw(s) % 300000;
	unsigned char *p;

	check_block(s, i);
	switch (draw(s) % 3) {
	case 0:
		p = realloc(s->block[i], size + 1);
		break;
	default:
		free(s->block[i]);
		p = draw(s) % 2 ? malloc(size + 1) : calloc(1, size + 1);
		break;
	}
	CHECK(p);
	if (!p)
		abort();
	memset(p, s->id * 37 + i, size + 1);
	s->block[i] = p;
	s->size[i] = size + 1;
}

/* --- printf: one stream for all, whose lines are looked at as they are written --- */

static FILE *out;
static char line[256];
static size_t len;
static unsigned long seen[MAX];		/* lines of each, in their order */

/* Under the stream's lock. */
static ssize_t look(void *cookie, const char *buf, size_t n)
{
	unsigned long nth, sum;
	unsigned int id;
	size_t i;

	for (i = 0; i < n; i++) {
		if (len < sizeof(line) - 1)
			line[len++] = buf[i];
		if (buf[i] != '\n')
			continue;
		line[len] = 0;
		len = 0;
		if (sscanf(line, "strand %u line %lu sum %lx.\n", &id, &nth, &sum) != 3 || id >= MAX || nth != seen[id]++ ||
		    sum != (id + 1) * (nth + 3)) {
			fprintf(stderr, "# a line is '%s'\n", line);
			CHECK(!"a line is whole, and comes after the one before");
		}
	}
	return n;
}

static void use_printf(struct strand *s)
{
	unsigned long sum = (s->id + 1) * (s->lines + 3), got_sum, got_line;
	char text[128];
	double x = draw(s) / 7.0, y;
	unsigned int id;

	fprintf(out, "strand %u line %lu sum %lx.\n", s->id, s->lines, sum);
	snprintf(text, sizeof(text), "%u:%lu:%lx:%.17g", s->id, s->lines, sum, x);
	CHECK_EQ(4, sscanf(text, "%u:%lu:%lx:%lf", &id, &got_line, &got_sum, &y));
	CHECK(id == s->id && got_line == s->lines && got_sum == sum && x == y);
	s->lines++;
}

/* --- regexec: which allocates, and has a lock for each pattern --- */

static regex_t shared;

static void use_regex(struct strand *s)
{
	char text[96], word[16];
	regmatch_t m[3];
	unsigned int n = draw(s) % 100000;
	regex_t own;

	snprintf(word, sizeof(word), "w%u", s->id);
	snprintf(text, sizeof(text), "some text, then %s=%u; and then some more of it", word, n);
	CHECK_EQ(0, regexec(&shared, text, 3, m, 0));
	CHECK_EQ(s->id, atoi(text + m[1].rm_so));
	CHECK_EQ(n, atoi(text + m[2].rm_so));
	CHECK_EQ(REG_NOMATCH, regexec(&shared, text + m[2].rm_so, 0, NULL, 0));
	if (draw(s) % 8)
		return;
	CHECK_EQ(0, regcomp(&own, "(so?me|of)+ [a-z]+(,|$)", REG_EXTENDED));
	CHECK_EQ(0, regexec(&own, text, 1, m, 0));
	CHECK_EQ(0, m[0].rm_so);
	CHECK_EQ(10, m[0].rm_eo);
	regfree(&own);
}

static void (*const use[])(struct strand *s) = { use_malloc, use_printf, use_regex };

#define KINDS	(sizeof(use) / sizeof(use[0]))

/* --- */

static void hog(void *arg)
{
	struct strand *s = arg;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		use[s->id % KINDS](s);
		__atomic_store_n(&s->rounds, s->rounds + 1, __ATOMIC_RELAXED);
	}
	gk_wg_done(&wg);
}

static void sleeper(void *arg)
{
	struct timespec t = { 0, MS };
	struct strand *s = arg;
	unsigned int k;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		for (k = 0; k < KINDS; k++)
			use[k](s);
		nanosleep(&t, NULL);
		__atomic_store_n(&s->rounds, s->rounds + 1, __ATOMIC_RELAXED);
	}
	gk_wg_done(&wg);
}

static int hogs_and_sleepers(void *arg)
{
	long seconds = getenv("GK_SECONDS") ? atol(getenv("GK_SECONDS")) : 3;
	unsigned int i, k, n = gk_cores() * EACH * KINDS, all = n + 4;
	unsigned long rounds = 0;
	struct gk_stats s;

	for (i = 0; i < all; i++) {
		strands[i].id = i;
		strands[i].seed = i + 1;
		gk_wg_add(&wg, 1);
		CHECK_EQ(0, gk_go(i < n ? hog : sleeper, &strands[i]));
	}
	gk_sleep(seconds * SEC);
	/* However slow the machine: each has come to its turn, and one was taken from somebody. */
	for (i = 0; i < all; i++)
		CHECK(WAIT_FOR(__atomic_load_n(&strands[i].rounds, __ATOMIC_RELAXED) > 0));
	CHECK(WAIT_FOR(lib_stats().preempts > 0));
	atomic_store(&stop, 1);
	CHECK_EQ(0, gk_wg_wait(&wg));
	fflush(out);
	CHECK_EQ(0, len);
	for (i = 0; i < all; i++) {
		CHECK_EQ(strands[i].lines, seen[i]);
		for (k = 0; k < BLOCKS; k++) {
			check_block(&strands[i], k);
			free(strands[i].block[k]);
		}
		rounds += strands[i].rounds;
	}
	s = lib_stats();
	/* A fault may have to wait for a lock of the kernel's, but hardly ever. */
	CHECK(s.inside_blocks <= 1 + s.blocks / 1000);
	fprintf(stderr, "# %s, %d cores, %ld s: %lu rounds, %llu preempts, %llu blocks, peak %llu\n", gk_backend(), gk_cores(),
		seconds, rounds, (unsigned long long)s.preempts, (unsigned long long)s.blocks,
		(unsigned long long)s.workers_peak);
	return 0;
}

static int run(int cores)
{
	const cookie_io_functions_t io = { .write = look };
	long seconds = getenv("GK_SECONDS") ? atol(getenv("GK_SECONDS")) : 3;
	int ret;

	setenv("GK_SLICE_US", "1000", 1);
	alarm(seconds * 3 + 60);
	out = fopencookie(NULL, "w", io);
	if (!out || regcomp(&shared, "w([0-9]+)=([0-9]+);", REG_EXTENDED))
		return -1;
	ret = lib_run(cores, hogs_and_sleepers, NULL);
	fclose(out);
	regfree(&shared);
	return ret;
}

TEST(hogs_inside_the_c_library_on_one_core)
{
	EXPECT_EQ(0, run(1));
}

TEST(hogs_inside_the_c_library_on_two_cores)
{
	EXPECT_EQ(0, run(2));
}

TEST(hogs_inside_the_c_library_on_four_cores)
{
	EXPECT_EQ(0, run(4));
}

TEST_HARNESS_MAIN
