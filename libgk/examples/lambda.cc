// SPDX-License-Identifier: MIT
/* lambda.cc - tasks from C++: anything that can be called, with what it captured, as Go's go statement has it. */
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>
#include <gk.h>

/* Starts f() as a task, which owns it and what it captured. 0 or what gk_go() says. No exception may leave f. */
template<class F> int go(F &&f)
{
	using T = std::decay_t<F>;
	auto p = std::make_unique<T>(std::forward<F>(f));
	int err = gk_go([](void *arg) { (*std::unique_ptr<T>(static_cast<T *>(arg)))(); }, p.get());

	if (!err)
		p.release();
	return err;
}

static int app(void *)
{
	std::vector<std::string> lines;
	std::mutex mutex;
	gk_wg wg = {};

	gk_wg_add(&wg, 10);
	for (int i = 0; i < 10; i++)
		if (go([&, i] {
			    std::lock_guard hold(mutex);
			    gk_yield();
			    lines.push_back("task " + std::to_string(i));
			    gk_wg_done(&wg);
		    }))
			return 1;
	gk_wg_wait(&wg);
	/* The last is done with the group, but unlocks only now. */
	std::lock_guard hold(mutex);
	for (const auto &line : lines)
		std::puts(line.c_str());
	return lines.size() != 10;
}

int main()
{
	return gk_run(app, nullptr);
}
