// SPDX-License-Identifier: GPL-2.0-only
/* replay.c - see replay.h. */
#include "replay.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *const replay_counter_names[REPLAY_COUNTERS] = {
	"blocks", "unblocks", "wakes_over", "parks_bound", "preempts", "displaced", "parks_standby", "parks_ready",
	"parks_held", "grants_ready", "grants_standby", "starved", "ticks", "stalls", "signals", "remote", "pulled",
	"deferred",
};

_Static_assert(offsetof(struct gk_core_page, deferred) - offsetof(struct gk_core_page, blocks) == COUNT_DEFERRED * 8, "");

#define BIT(n)		(1U << (n))
#define ANY		BIT(TRACE_LOST)		/* no reason is given */

/* Which reasons there are for a transition. */
static const uint32_t legal[GK_W_DEAD + 1][GK_W_DEAD + 1] = {
	[GK_W_NONE] = {
		[GK_W_RUNNING] = BIT(TRACE_ENTER),
	},
	[GK_W_RUNNING] = {
		[GK_W_BLOCKED] = BIT(TRACE_BLOCK) | BIT(TRACE_STRAY),
		[GK_W_READY] = BIT(TRACE_PARK) | BIT(TRACE_PREEMPT),
		[GK_W_STANDBY] = BIT(TRACE_PARK),
		[GK_W_HELD] = BIT(TRACE_PARK),
		[GK_W_STOPPED] = ANY,
		[GK_W_DEAD] = BIT(TRACE_EXIT),
	},
	[GK_W_BLOCKED] = {
		[GK_W_RUNNING] = BIT(TRACE_UNBLOCK),
		[GK_W_READY] = BIT(TRACE_UNBLOCK) | BIT(TRACE_PARK),
		/* A stray, which runs elsewhere and parks. */
		[GK_W_STANDBY] = BIT(TRACE_PARK),
		[GK_W_HELD] = BIT(TRACE_PARK),
		[GK_W_STOPPED] = ANY | BIT(TRACE_UNBLOCK),
		[GK_W_DEAD] = BIT(TRACE_EXIT),
	},
	[GK_W_READY] = {
		[GK_W_RUNNING] = BIT(TRACE_GRANT) | BIT(TRACE_HANDOFF) | BIT(TRACE_SIGNAL) | BIT(TRACE_SPARE),
		[GK_W_BLOCKED] = BIT(TRACE_BLOCK),
		[GK_W_READY] = BIT(TRACE_PULL) | ANY,
		[GK_W_DEAD] = BIT(TRACE_EXIT),
	},
	[GK_W_STANDBY] = {
		[GK_W_RUNNING] = BIT(TRACE_GRANT) | BIT(TRACE_SIGNAL) | BIT(TRACE_SPARE),
		[GK_W_DEAD] = BIT(TRACE_EXIT),
	},
	[GK_W_HELD] = {
		[GK_W_READY] = BIT(TRACE_UNHOLD),
		[GK_W_RUNNING] = BIT(TRACE_SIGNAL),
		[GK_W_DEAD] = BIT(TRACE_EXIT),
	},
	[GK_W_STOPPED] = {
		[GK_W_DEAD] = BIT(TRACE_EXIT),
	},
};

static bool wrong(struct replay *r, const struct trace_event *e, const char *fmt, ...)
{
	char line[256];
	va_list ap;
	size_t n;

	if (r->error[0])
		return false;
	va_start(ap, fmt);
	vsnprintf(r->error, sizeof(r->error) - sizeof(line), fmt, ap);
	va_end(ap);
	n = strlen(r->error);
	if (e) {
		trace_print(line, sizeof(line), e);
		snprintf(r->error + n, sizeof(r->error) - n, ": %s", line);
	}
	return false;
}

void replay_init(struct replay *r, uint32_t group, unsigned int bound)
{
	unsigned int i;

	memset(r, 0, sizeof(*r));
	r->group = group;
	r->bound = bound;
	for (i = 0; i < REPLAY_CORES; i++) {
		r->core[i].known = r->core[i].ready.ordered = r->core[i].standby.ordered = true;
		r->core[i].stall_known = true;
		r->core[i].stalled = -1;
	}
}

static void forget(struct replay *r)
{
	unsigned int i;

	for (i = 0; i < REPLAY_CORES; i++) {
		struct replay_core *c = &r->core[i];

		c->known = c->pending = c->stall_known = false;
		c->ready = c->standby = (struct replay_list){ 0 };
		c->stalled = -1;
		c->last = TRACE_LOST;
	}
	for (i = 0; i < REPLAY_WORKERS; i++)
		r->worker[i].known = false;
}

static void put(struct replay_list *l, uint32_t id)
{
	if (l->n < REPLAY_WORKERS)
		l->id[l->n++] = id;
}

static bool take(struct replay_list *l, uint32_t id)
{
	unsigned int i;

	for (i = 0; i < l->n && l->id[i] != id; i++)
		;
	if (i == l->n)
		return !l->ordered;
	memmove(&l->id[i], &l->id[i + 1], (--l->n - i) * sizeof(l->id[0]));
	return true;
}

/* Of a list whose order is known. */
static bool oldest(const struct replay_list *l, uint32_t id)
{
	return !l->ordered || (l->n && l->id[0] == id);
}

static bool newest(const struct replay_list *l, uint32_t id)
{
	return !l->ordered || (l->n && l->id[l->n - 1] == id);
}

/* What the model thinks of a worker must be what the event says; where it thinks nothing, it learns. */
static bool meet(struct replay *r, const struct trace_event *e, uint64_t seq)
{
	struct replay_worker *w = &r->worker[e->worker];

	if (e->kind == TRACE_ENTER) {
		if (w->known && w->state != GK_W_NONE && w->state != GK_W_DEAD)
			return wrong(r, e, "enters, but is there");
		*w = (struct replay_worker){ .known = true, .core = e->core, .pid = e->pid };
	}
	if (!w->known) {
		*w = (struct replay_worker){ .known = true, .core = e->core, .pid = e->pid, .state = e->state, .seq = seq };
		/* It may have blocked with the core word; it may be on its way from one core to another. */
		w->inside = e->state == GK_W_BLOCKED;
		w->moving = e->state == GK_W_READY && e->kind == TRACE_PULL;
		return true;
	}
	if (w->pid != e->pid)
		return wrong(r, e, "is thread %d", (int)w->pid);
	if (w->state != e->state)
		return wrong(r, e, "is in state %u", w->state);
	if (w->seq != seq)
		return wrong(r, e, "seq is %llu", (unsigned long long)w->seq);
	if (w->core != e->core) {
		if (!w->moving)
			return wrong(r, e, "is of core %u", w->core);
		w->core = e->core;
	}
	return true;
}

static bool counts(struct replay *r, struct replay_core *c, const struct trace_event *e)
{
	if (!c->known) {
		c->known = true;
		c->running = e->running;
		c->nready = e->ready;
		c->nstandby = e->standby;
	}
	if (!c->nready)
		c->ready = (struct replay_list){ .ordered = true };
	if (!c->nstandby)
		c->standby = (struct replay_list){ .ordered = true };
	if (c->running != e->running || c->nready != e->ready || c->nstandby != e->standby)
		return wrong(r, e, "running %u ready %u standby %u", c->running, c->nready, c->nstandby);
	return true;
}

static bool granted(struct replay *r, struct replay_core *c, const struct trace_event *e)
{
	struct replay_worker *w = &r->worker[e->worker];

	if (e->state != GK_W_READY && e->state != GK_W_STANDBY)
		return wrong(r, e, "granted, but waits for none");
	if (w->moving)
		return wrong(r, e, "granted while it is moved");
	if (c->stalled >= 0)
		return wrong(r, e, "granted while worker %d sleeps with the core word", c->stalled);
	w->grants++;
	c->count[e->state == GK_W_READY ? COUNT_GRANTS_READY : COUNT_GRANTS_STANDBY]++;
	if (e->kind == TRACE_HANDOFF) {
		if (e->state != GK_W_READY || (c->known && c->running))
			return wrong(r, e, "no handoff");
		return true;
	}
	if (e->state == GK_W_READY ? !oldest(&c->ready, e->worker) : !newest(&c->standby, e->worker))
		return wrong(r, e, "granted out of turn");
	if (!c->known)
		return true;
	/* Beside one whose turn is over, until the switch. */
	if (c->running > 1 || (c->running && (e->state != GK_W_STANDBY || e->why != WHY_AFTER_PARK || c->last != TRACE_TICK)))
		return wrong(r, e, "granted though %u run", c->running);
	if (e->state == GK_W_STANDBY && e->why != WHY_AFTER_PARK && c->nready)
		return wrong(r, e, "a STANDBY before %u READY", c->nready);
	return true;
}

/* A worker's event that comes before its transition. */
static bool reason(struct replay *r, struct replay_core *c, const struct trace_event *e)
{
	struct replay_worker *w = &r->worker[e->worker];

	if (!meet(r, e, e->seq))
		return false;
	switch (e->kind) {
	case TRACE_ENTER:
	case TRACE_EXIT:
	case TRACE_BLOCK:
	case TRACE_UNBLOCK:
	case TRACE_PARK:
	case TRACE_SIGNAL:
	case TRACE_STRAY:
		if (e->current != e->pid)
			return wrong(r, e, "another does it for it");
		break;
	default:
		break;
	}
	c->pending = true;
	c->why = *e;
	switch (e->kind) {
	case TRACE_BLOCK:
		w->blocks++;
		w->inside = e->why == WHY_INSIDE;
		c->count[COUNT_BLOCKS]++;
		if (w->inside) {
			c->count[COUNT_STALLS]++;
			c->stalled = e->worker;
			c->stall_known = true;
		}
		break;
	case TRACE_UNBLOCK:
		if (e->state != GK_W_BLOCKED)
			return wrong(r, e, "wakes, but slept not");
		c->count[COUNT_UNBLOCKS]++;
		break;
	case TRACE_PARK:
		c->count[e->why - WHY_STANDBY + COUNT_PARKS_STANDBY]++;
		break;
	case TRACE_GRANT:
	case TRACE_HANDOFF:
		return granted(r, c, e);
	case TRACE_PREEMPT:
		if (e->why == WHY_DISPLACED)
			c->count[COUNT_DISPLACED]++;
		else if (e->why != WHY_AGAIN)
			c->count[COUNT_PREEMPTS]++;
		break;
	case TRACE_DEFER:
		/* It stays what it is. */
		if (e->state != GK_W_RUNNING)
			return wrong(r, e, "let go on, but does not run");
		c->pending = false;
		c->count[COUNT_DEFERRED]++;
		break;
	case TRACE_SIGNAL:
		/* It may stay what it is. */
		c->count[COUNT_SIGNALS]++;
		break;
	case TRACE_STRAY:
		/* Only who runs becomes something else. */
		c->pending = e->why == WHY_AWAY && e->state == GK_W_RUNNING;
		if (e->why == WHY_AWAY && c->stalled == (int)e->worker)
			c->stalled = -1;
		/* Away it ran as it liked. */
		if (e->why == WHY_BACK)
			w->inside = true;
		break;
	case TRACE_PULL:
		if (!w->moving)
			return wrong(r, e, "pulled, but was not taken");
		c->count[COUNT_PULLED]++;
		break;
	case TRACE_MOVE:
		if (e->state != GK_W_READY || w->moving)
			return wrong(r, e, "taken, but not READY");
		c->pending = false;
		w->moving = true;
		if (!take(&c->ready, e->worker))
			return wrong(r, e, "not on the list");
		c->nready -= c->known;
		break;
	default:
		break;
	}
	return true;
}

static bool transition(struct replay *r, struct replay_core *c, const struct trace_event *e)
{
	enum trace_kind kind;
	struct replay_worker *w = &r->worker[e->worker];
	uint32_t why;
	bool there = true;

	/* Where the group stops one goes astray, and nothing comes of it: the stop itself has no reason. */
	if (c->pending && c->why.kind == TRACE_STRAY && r->stopped && e->why == GK_W_STOPPED)
		c->pending = false;
	kind = c->pending ? c->why.kind : TRACE_LOST;
	why = c->pending ? c->why.why : WHY_NONE;
	/* The first that is heard of it may be this. */
	if (e->state > GK_W_DEAD || e->why > GK_W_DEAD || !e->seq)
		return wrong(r, e, "no such state");
	if (!meet(r, e, e->seq - 1))
		return false;
	/* A reason that was lost is any. */
	if (c->last == TRACE_LOST && !c->pending && legal[e->state][e->why]) {
		;
	} else if (!(legal[e->state][e->why] & BIT(kind))) {
		return wrong(r, e, "no transition after %s", c->pending ? trace_names[kind] : "nothing");
	} else if (e->why == GK_W_STOPPED && !r->stopped && !r->losses) {
		return wrong(r, e, "stopped, but the group is not");
	} else if (e->state == GK_W_READY && e->why == GK_W_READY && !w->moving) {
		return wrong(r, e, "READY again, and was not moved");
	} else if (kind == TRACE_PARK && why - WHY_STANDBY !=
		   (e->why == GK_W_READY ? GK_PARK_READY : e->why == GK_W_HELD ? GK_PARK_HELD : GK_PARK_STANDBY)) {
		return wrong(r, e, "parks as something else than it asked for");
	}
	if (kind == TRACE_UNBLOCK && c->known && !r->stopped) {
		if (e->why == GK_W_RUNNING && r->bound && c->running >= r->bound && !w->inside)
			return wrong(r, e, "goes on over the bound of %u", r->bound);
		if (e->why == GK_W_READY && (!r->bound || c->running < r->bound))
			return wrong(r, e, "parks below the bound of %u", r->bound);
	}

	switch (e->state) {
	case GK_W_RUNNING:
		if (c->known && !c->running)
			return wrong(r, e, "running would be -1");
		c->running -= c->known;
		break;
	case GK_W_READY:
		if (w->moving) {
			w->moving = false;
			break;
		}
		there = take(&c->ready, e->worker);
		if (c->known && !c->nready)
			return wrong(r, e, "nready would be -1");
		c->nready -= c->known;
		break;
	case GK_W_STANDBY:
		there = take(&c->standby, e->worker);
		if (c->known && !c->nstandby)
			return wrong(r, e, "nstandby would be -1");
		c->nstandby -= c->known;
		break;
	}
	if (!there)
		return wrong(r, e, "was on no list");
	switch (e->why) {
	case GK_W_RUNNING:
		c->running += c->known;
		if (kind == TRACE_UNBLOCK && e->running > 1)
			c->count[COUNT_WAKES_OVER]++;
		break;
	case GK_W_READY:
		c->nready += c->known;
		put(&c->ready, e->worker);
		if (kind == TRACE_UNBLOCK)
			c->count[COUNT_PARKS_BOUND]++;
		break;
	case GK_W_STANDBY:
		c->nstandby += c->known;
		put(&c->standby, e->worker);
		break;
	}
	/* It sleeps no longer with the word in its hands. */
	if (e->state == GK_W_BLOCKED) {
		w->inside = false;
		if (c->stalled == (int)e->worker)
			c->stalled = -1;
	}
	/* Away, or why it blocked is lost. */
	if (e->why == GK_W_BLOCKED && kind != TRACE_BLOCK)
		w->inside = true;
	w->state = e->why;
	w->seq = e->seq;
	c->pending = false;
	return counts(r, c, e);
}

static bool of_core(struct replay *r, struct replay_core *c, const struct trace_event *e)
{
	if (!counts(r, c, e))
		return false;
	switch (e->kind) {
	case TRACE_TICK:
		c->count[COUNT_TICKS]++;
		break;
	case TRACE_WAKE:
		if (e->why > 1 || (e->why && (c->running != 1 || (c->last != TRACE_STATE && c->last != TRACE_LOST))))
			return wrong(r, e, "woke nobody");
		break;
	case TRACE_REHOME:
		if (c->running)
			return wrong(r, e, "moved, with %u running", c->running);
		break;
	case TRACE_IDLE:
		if (c->running)
			return wrong(r, e, "idle, with %u running", c->running);
		if (e->why == WHY_STARVED) {
			c->count[COUNT_STARVED]++;
			if (c->nready || c->nstandby)
				return wrong(r, e, "starved, with somebody to grant");
		}
		if (e->why == WHY_NOTHING && c->nready)
			return wrong(r, e, "nothing to do, with %u READY", c->nready);
		if (e->why == WHY_STALLED && c->stall_known && c->stalled < 0)
			return wrong(r, e, "stalled by nobody");
		break;
	default:
		break;
	}
	return true;
}

bool replay_event(struct replay *r, const struct trace_event *e)
{
	struct replay_core *c;
	bool ok;

	if (e->kind == TRACE_LOST) {
		r->losses++;
		if (e->until > r->blind)
			r->blind = e->until;
		forget(r);
		return true;
	}
	if (e->group != r->group)
		return true;
	if (e->core >= REPLAY_CORES || e->worker >= REPLAY_WORKERS)
		return wrong(r, e, "more than the model has");
	c = &r->core[e->core];
	/* These two come from outside the lock, in between anything. */
	if (e->kind == TRACE_STOP) {
		r->stopped = true;
		return true;
	}
	if (e->kind == TRACE_REMOTE) {
		c->count[COUNT_REMOTE]++;
		return true;
	}
	if (e->at < r->blind)
		return true;
	r->judged++;
	if (c->pending && (e->kind != TRACE_STATE || e->worker != c->why.worker)) {
		/* A signal may change nothing, and so does a stopped group's worker that went astray. */
		if (c->why.kind != TRACE_SIGNAL && !(c->why.kind == TRACE_STRAY && r->stopped))
			return wrong(r, e, "%s, and then this", trace_names[c->why.kind]);
		c->pending = false;
	}
	if (e->kind == TRACE_STATE)
		ok = transition(r, c, e);
	else if (e->kind >= TRACE_IDLE)
		ok = of_core(r, c, e);
	else
		ok = reason(r, c, e);
	c->last = e->kind;
	c->last_why = e->why;
	return ok;
}

bool replay_events(struct replay *r, const struct trace_event *e, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		r->at = i;
		if (!replay_event(r, &e[i]))
			return false;
	}
	return true;
}

bool replay_rest(struct replay *r)
{
	unsigned int i;

	for (i = 0; i < REPLAY_CORES; i++) {
		struct replay_core *c = &r->core[i];

		if (c->pending && c->why.kind != TRACE_SIGNAL)
			return wrong(r, &c->why, "and nothing came of it");
		if (c->known && !c->running && c->nready && c->stalled < 0 && !r->stopped)
			return wrong(r, NULL, "core %u: %u READY, and nobody runs", i, c->nready);
	}
	return true;
}
