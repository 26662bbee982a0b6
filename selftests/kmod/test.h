/* SPDX-License-Identifier: GPL-2.0-only */
/* test.h - the kselftest harness as the tests use it: a longer time limit, for guests without hardware help. */
#ifndef GK_TEST_TEST_H
#define GK_TEST_TEST_H

#include <kselftest_harness.h>
#include "rig.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 240

#define EXPECT_STATE(w, want)								\
	EXPECT_EQ(true, rig_wait_state((w), (want)))					\
		TH_LOG("worker %d is %s, not %s", (w)->id, state_name(rig_state(w)), state_name(want))

#define ASSERT_STATE(w, want)								\
	ASSERT_EQ(true, rig_wait_state((w), (want)))					\
		TH_LOG("worker %d is %s, not %s", (w)->id, state_name(rig_state(w)), state_name(want))

/* Every program ends with this: whatever its tests did, the module holds nothing of theirs any more. */
#define TEST_NO_LEAK									\
	TEST(module_references_are_back)						\
	{										\
		if (rig_refcnt_start < 0)						\
			SKIP(return, "no module gk, or one built in");			\
		EXPECT_TRUE(rig_no_leak())						\
			TH_LOG("refcnt %ld, was %ld", rig_refcnt(), rig_refcnt_start);	\
	}

#endif
