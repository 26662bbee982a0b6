// SPDX-License-Identifier: GPL-2.0-only
/* cxx.cc - gk.h from C++17: lambdas as tasks, exceptions within a task. */
#include <cerrno>
#include <cstdio>
#include <stdexcept>
#include <string>

#include <gk.h>

static int failures;

static void check(bool ok, const char *what)
{
	static int n;

	std::printf("%sok %d %s\n", ok ? "" : "not ", ++n, what);
	failures += !ok;
}

int main()
{
	std::setvbuf(stdout, nullptr, _IOLBF, 0);
	std::printf("TAP version 13\n1..3\n");
	int ret = gk_run([](void *) -> int {
		gk_chan *done = gk_chan_new(sizeof(int), 0);
		int n = 0, v = 0;

		for (int i = 0; i < 10; i++)
			gk_go([](void *arg) {
				int one = 0;

				try {
					gk_yield();
					throw std::runtime_error("thrown in a task");
				} catch (const std::exception &e) {
					gk_yield();
					one = std::string(e.what()) == "thrown in a task";
				}
				gk_chan_send(static_cast<gk_chan *>(arg), &one);
			}, done);
		for (int i = 0; i < 10; i++)
			if (gk_chan_recv(done, &v) == 1)
				n += v;
		errno = 17;
		gk_yield();
		check(errno == 17, "errno_from_cxx");
		gk_chan_free(done);
		return n;
	}, nullptr);

	check(ret == 10, "lambdas_and_exceptions_in_tasks");
	check(gk_cores() == 0, "the_runtime_is_over");
	return failures != 0;
}
