// SPDX-License-Identifier: MIT
#include <netdb.h>
#include <stdio.h>
#include <gk.h>

static gk_chan *answers;

static void look_up(void *arg) /* plain blocking code, one task for each name */
{
	char *name = arg, line[128];
	struct addrinfo *addr;

	snprintf(line, sizeof(line), "%s %s", getaddrinfo(name, "https", NULL, &addr) ? "no" : "found", name);
	gk_chan_send(answers, line);
}

static int app(void *arg)
{
	char **names = arg, line[128];
	int n;

	answers = gk_chan_new(sizeof(line), 0);
	for (n = 0; names[n]; n++)
		gk_go(look_up, names[n]);
	while (n-- && gk_chan_recv(answers, line))
		puts(line);
	return 0;
}

int main(int argc, char **argv)
{
	return gk_run(app, argv + 1);
}
