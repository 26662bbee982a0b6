// SPDX-License-Identifier: GPL-2.0-only
/* cxx.cc - gk.h from C++17: lambdas as tasks, exceptions within a task, the standard library's locks. */
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <iterator>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <gk.h>

static std::atomic<int> failures;

#define CHECK(cond) do {								\
	if (!(cond)) {									\
		std::fprintf(stderr, "# %s:%d: %s\n", __FILE__, __LINE__, #cond);	\
		failures++;								\
	}										\
} while (0)

/* As libgk/examples/lambda.cc has it. */
template<class F> int go(F &&f)
{
	using T = std::decay_t<F>;
	auto p = std::make_unique<T>(std::forward<F>(f));
	int err = gk_go([](void *arg) { (*std::unique_ptr<T>(static_cast<T *>(arg)))(); }, p.get());

	if (!err)
		p.release();
	return err;
}

/* The initialisers are constants; so they can be in C++, too. */
static gk_mutex mutex = GK_MUTEX_INIT;
static gk_rwlock rwlock = GK_RWLOCK_INIT;
static gk_cond cond = GK_COND_INIT;
static gk_wg group = GK_WG_INIT(1);
static gk_once once = GK_ONCE_INIT;
static gk_sem sem = GK_SEM_INIT(3);
static gk_barrier barrier = GK_BARRIER_INIT(4);

static int lambdas_capture_and_are_freed()
{
	auto shared = std::make_shared<int>(0);
	gk_wg wg = {};

	for (int i = 0; i < 100; i++) {
		gk_wg_add(&wg, 1);
		CHECK(!go([shared, i, &wg] {
			gk_yield();
			__atomic_fetch_add(shared.get(), i, __ATOMIC_SEQ_CST);
			gk_wg_done(&wg);
		}));
	}
	CHECK(!gk_wg_wait(&wg));
	CHECK(*shared == 4950);
	/* Each of them dies a moment after its last statement. */
	for (auto end = gk_now() + 20000000000u; shared.use_count() > 1 && gk_now() < end;)
		gk_sleep(100000);
	CHECK(shared.use_count() == 1);
	return 0;
}

static int only_movable_captures()
{
	gk_chan *done = gk_chan_new(sizeof(int), 0);
	auto p = std::make_unique<int>(42);
	auto shared = std::make_shared<int>(0);
	int v = 0;

	CHECK(!go([p = std::move(p), shared, done] { gk_chan_send(done, p.get()); }));
	CHECK(gk_chan_recv(done, &v) == 1 && v == 42);
	/* What a task holds that the end of the main task stops is lost. */
	while (shared.use_count() > 1)
		gk_yield();
	CHECK(!gk_chan_free(done));
	return 0;
}

struct counted {
	static std::atomic<int> alive;

	counted() { alive++; }
	~counted() { alive--; }
};

std::atomic<int> counted::alive;

static int exceptions_are_a_tasks_own()
{
	std::atomic<int> caught{0};
	gk_wg wg = {};

	gk_wg_add(&wg, 20);
	for (int i = 0; i < 20; i++)
		go([&, i] {
			try {
				counted c;

				gk_yield();
				throw std::runtime_error("of task " + std::to_string(i));
			} catch (const std::exception &e) {
				/* Others throw and catch on this thread, and this one goes on in another. */
				gk_sleep(i % 3 * 100000);
				CHECK(std::uncaught_exceptions() == 0);
				if (e.what() == "of task " + std::to_string(i))
					caught++;
			}
			gk_wg_done(&wg);
		});
	gk_wg_wait(&wg);
	CHECK(caught == 20);
	CHECK(counted::alive == 0);
	return 0;
}

/* The C++ library has, per thread, a stack of the exceptions that are being handled. */
static int a_handler_that_waits_has_its_own_exception()
{
	std::atomic<int> right{0};
	gk_wg wg = {};

	gk_wg_add(&wg, 20);
	for (int i = 0; i < 20; i++)
		go([&, i] {
			try {
				try {
					if (i % 4 == 3) {
						/* Waits while the stack is unwound. */
						struct waits {
							~waits() { gk_yield(); CHECK(std::uncaught_exceptions() == 1); }
						} w;

						throw i;
					}
					throw i;
				} catch (int) {
					gk_yield();
					CHECK(std::uncaught_exceptions() == 0);
					gk_sleep(i % 3 * 100000);
					try {
						throw std::string("within");
					} catch (const std::string &) {
						gk_yield();
					}
					throw;
				}
			} catch (int n) {
				right += n == i;
			}
			CHECK(!std::current_exception());
			gk_wg_done(&wg);
		});
	CHECK(!std::uncaught_exceptions() && !std::current_exception());
	gk_wg_wait(&wg);
	CHECK(right == 20);
	return 0;
}

/* The deadlock of libraries that run many tasks on few threads. */
static int a_std_mutex_held_over_a_yield()
{
	std::mutex m;
	gk_wg wg = {};
	int n = 0;

	gk_wg_add(&wg, 20);
	for (int i = 0; i < 20; i++)
		go([&] {
			{
				std::lock_guard hold(m);
				int v = n;

				gk_yield();
				n = v + 1;
			}
			gk_wg_done(&wg);
		});
	gk_wg_wait(&wg);
	CHECK(n == 20);
	return 0;
}

static int a_std_condition_variable_between_tasks()
{
	std::condition_variable there, gone;
	std::vector<int> queue;
	gk_wg wg = {};
	std::mutex m;
	int sum = 0;

	gk_wg_add(&wg, 2);
	go([&] {
		for (int i = 0; i < 20; i++) {
			std::unique_lock hold(m);

			gone.wait(hold, [&] { return queue.size() < 2; });
			queue.push_back(i);
			there.notify_one();
		}
		gk_wg_done(&wg);
	});
	go([&] {
		for (int i = 0; i < 20; i++) {
			std::unique_lock hold(m);

			there.wait(hold, [&] { return !queue.empty(); });
			sum += queue.back();
			queue.pop_back();
			gone.notify_one();
		}
		gk_wg_done(&wg);
	});
	gk_wg_wait(&wg);
	CHECK(sum == 190);
	return 0;
}

/* A Lockable and a SharedLockable of gk's own: for std::lock_guard, std::shared_lock and the like. */
struct gk_lockable {
	gk_rwlock rw = GK_RWLOCK_INIT;

	void lock() { CHECK(!gk_rwlock_wrlock(&rw)); }
	bool try_lock() { return !gk_rwlock_trywrlock(&rw); }
	void unlock() { CHECK(!gk_rwlock_wrunlock(&rw)); }
	void lock_shared() { CHECK(!gk_rwlock_rdlock(&rw)); }
	bool try_lock_shared() { return !gk_rwlock_tryrdlock(&rw); }
	void unlock_shared() { CHECK(!gk_rwlock_rdunlock(&rw)); }
};

static int standard_guards_hold_gk_locks()
{
	gk_lockable l;

	{
		std::lock_guard hold(l);
		CHECK(!l.try_lock());
	}
	{
		std::shared_lock one(l), two(l, std::try_to_lock);

		CHECK(two.owns_lock());
		CHECK(!l.try_lock());
	}
	CHECK(l.try_lock());
	l.unlock();
	return 0;
}

static int the_rest_of_synchronisation()
{
	std::atomic<int> last{0}, done{0};
	bool told = false;
	gk_wg wg = {};

	CHECK(!gk_wg_done(&group));
	CHECK(!gk_wg_wait(&group));
	gk_wg_add(&wg, 4);
	for (int i = 0; i < 4; i++)
		go([&] {
			last += gk_barrier_wait(&barrier);
			gk_once_do(&once, [](void *arg) { ++*static_cast<std::atomic<int> *>(arg); }, &done);
			CHECK(!gk_sem_acquire(&sem, 2));
			CHECK(!gk_sem_release(&sem, 2));
			gk_mutex_lock(&mutex);
			while (!told)
				CHECK(!gk_cond_wait(&cond, &mutex));
			gk_mutex_unlock(&mutex);
			gk_wg_done(&wg);
		});
	gk_mutex_lock(&mutex);
	told = true;
	gk_cond_broadcast(&cond);
	gk_mutex_unlock(&mutex);
	CHECK(!gk_wg_wait(&wg));
	CHECK(last == 1 && done == 1);
	CHECK(gk_rwlock_rdlock_until(&rwlock, GK_FOREVER) == 0 && !gk_rwlock_rdunlock(&rwlock));
	return 0;
}

static int channels_join_cancel_and_deadlines()
{
	gk_chan *c = gk_chan_new(sizeof(std::uint64_t), 2);
	gk_attr attr = {};
	gk_task *t;
	std::uint64_t v = 7;

	attr.name = "sleeper";
	CHECK(!gk_spawn(&t, &attr, [](void *) { CHECK(gk_sleep(3600000000000u) == -ECANCELED); }, nullptr));
	CHECK(gk_join_until(t, gk_now() + 1000000) == -ETIMEDOUT);
	CHECK(!gk_cancel(t));
	CHECK(!gk_join(t));
	CHECK(!gk_chan_send(c, &v) && gk_chan_len(c) == 1 && gk_chan_cap(c) == 2);
	CHECK(gk_chan_recv_until(c, &v, 0) == 1 && v == 7);
	CHECK(gk_chan_recv_until(c, &v, gk_now() + 1000000) == -ETIMEDOUT);
	CHECK(!gk_chan_close(c) && gk_chan_recv(c, &v) == 0 && !gk_chan_free(c));
	return 0;
}

/* A compiler that keeps the address of errno shows it in the next one's value. */
static int errno_is_the_tasks()
{
	errno = 17;
	gk_yield();
	gk_sleep(100000);
	CHECK(errno == 17);
	return 0;
}

static int (*const bodies[])() = {
	lambdas_capture_and_are_freed, only_movable_captures, exceptions_are_a_tasks_own,
	a_handler_that_waits_has_its_own_exception, a_std_mutex_held_over_a_yield,
	a_std_condition_variable_between_tasks, standard_guards_hold_gk_locks, the_rest_of_synchronisation,
	channels_join_cancel_and_deadlines, errno_is_the_tasks,
};

static const char *const names[] = {
	"lambdas_capture_and_are_freed", "only_movable_captures", "exceptions_are_a_tasks_own",
	"a_handler_that_waits_has_its_own_exception",
	"a_std_mutex_held_over_a_yield", "a_std_condition_variable_between_tasks", "standard_guards_hold_gk_locks",
	"the_rest_of_synchronisation", "channels_join_cancel_and_deadlines", "errno_is_the_tasks",
};

static int body(void *arg)
{
	gk_wg fresh = GK_WG_INIT(1);

	group = fresh;
	std::fill_n(reinterpret_cast<char *>(&once), sizeof(once), 0);
	return (*static_cast<int (*const *)()>(arg))();
}

int main()
{
	int all = 0;

	static_assert(std::size(bodies) == std::size(names));
	std::setvbuf(stdout, nullptr, _IOLBF, 0);
	std::printf("TAP version 13\n1..%zu\n", std::size(bodies));
	for (std::size_t i = 0; i < std::size(bodies); i++) {
		failures = 0;
		for (int cores = 1; cores <= 2; cores++) {
			gk_set_cores(cores);
			failures += gk_run(body, const_cast<int (**)()>(&bodies[i])) != 0;
		}
		std::printf("%sok %zu %s\n", failures ? "not " : "", i + 1, names[i]);
		all += failures;
	}
	return all != 0;
}
