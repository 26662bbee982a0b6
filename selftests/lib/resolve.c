// SPDX-License-Identifier: GPL-2.0-only
/* resolve.c - getaddrinfo() in many tasks: a library that blocks and knows nothing of gk. Linked against the shared C library. */
#include "lib.h"
#include <netdb.h>

static gk_chan *answers;

static void resolves(void *arg)
{
	struct addrinfo *a = NULL;
	int err = getaddrinfo("localhost", NULL, NULL, &a);

	if (!err)
		freeaddrinfo(a);
	CHECK_EQ(0, gk_chan_send(answers, &err));
}

static int lookups(void *arg)
{
	int i, err;

	answers = gk_chan_new(sizeof(int), 0);
	for (i = 0; i < 50; i++)
		gk_go(resolves, NULL);
	for (i = 0; i < 50; i++) {
		CHECK_EQ(1, gk_chan_recv(answers, &err));
		CHECK_EQ(0, err);
	}
	CHECK_EQ(0, gk_chan_free(answers));
	return 0;
}

TEST(getaddrinfo_in_fifty_tasks)
{
	EXPECT_EQ(0, lib_run(1, lookups, NULL));
	EXPECT_EQ(0, lib_run(2, lookups, NULL));
}

TEST_HARNESS_MAIN
