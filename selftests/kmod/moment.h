/* SPDX-License-Identifier: GPL-2.0-only */
/* moment.h - a moment of scene.h as eight tests, one for each state of the victim. */
#ifndef GK_TEST_MOMENT_H
#define GK_TEST_MOMENT_H

#include "test.h"
#include "scene.h"

static inline void scene_test(struct __test_metadata *_metadata, const struct moment *m, const struct scene_state *s)
{
	const char *why = scene_play(m, s);

	if (why && !strncmp(why, SCENE_SKIP, sizeof(SCENE_SKIP) - 1))
		SKIP(return, "%s", why + sizeof(SCENE_SKIP) - 1);
	EXPECT_EQ(NULL, why) TH_LOG("%s", why);
}

#define SCENE_CELL(m, s)								\
	TEST(m##_while_##s)								\
	{										\
		scene_test(_metadata, &moment_##m, &scene_##s);				\
	}

/* m_while_running, m_while_inside, and so on. */
#define MOMENT(m, ...)									\
	static const struct moment moment_##m = { .name = #m, __VA_ARGS__ };		\
	SCENE_STATES(SCENE_CELL, m)

#endif
