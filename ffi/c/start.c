/* SPDX-License-Identifier: MIT */
/* `start`: one byte into the fifo of a held process, as packages/oci/src/start.ts does it. */
#include "made.h"
#include "abi.h"
#include "facts.h"
#include "session.h"
#include "sys.h"

#include <linux/fcntl.h>
#include <linux/poll.h>

#define WORDS_MAX 64

/* What a process has left in its fifo that could not execute its command. Returns whether there is something. */
static int read_report(const struct made *made, struct control_message *report)
{
	struct control_message read[2];
	int fd = (int)SYS_4(__NR_openat, made->directory, "exec.fifo", O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0);
	long n = fd < 0 ? fd : SYS_3(__NR_read, fd, read, sizeof(read));

	if (fd >= 0)
		sys_close(fd);
	*report = read[0];
	return n == sizeof(*read);
}

/* Bun has the words for it: `internal held ID TAG ERRNO` behind this program's own. */
static void explain_held(const struct made *made, const struct control_message *report, char *const *again, size_t words, const char *id)
{
	char tag[24], error[24];
	const char *argv[WORDS_MAX + 6], *const more[] = {"internal", "held", id, tag, error, 0};

	decimal(tag, report->kind);
	decimal(error, report->error);
	memcpy(argv, again, words * sizeof(*argv));
	memcpy(argv + words, more, sizeof(more));
	SYS_3(__NR_execve, "/proc/self/exe", argv, made->environment);
}

void start_made(const struct made *made, char *const *again, size_t words, const char *id)
{
	struct control_message report;
	struct pollfd poll = {0};
	int fifo;

	if (words > WORDS_MAX || !lock_made(made))
		return;
	fifo = open_fifo(made);
	if (fifo < 0)
		return;
	/* Nobody else starts it; whoever deletes it need not wait for what it starts. */
	if (SYS_2(__NR_flock, fifo, LOCK_EX | LOCK_NB) || SYS_2(__NR_flock, made->directory, LOCK_UN)) {
		sys_close(fifo);
		return;
	}
	poll.fd = fifo;
	if (SYS_3(__NR_write, fifo, "", 1) == 1) {
		/* An end without readers reports POLLERR: the command is executed, or the process has ended. */
		while (SYS_5(__NR_ppoll, &poll, 1, 0, 0, 0) == -EINTR)
			;
		int has_failed = read_report(made, &report);

		SYS_3(__NR_unlinkat, made->directory, "exec.fifo", 0);
		if (!has_failed)
			sys_exit(0);
		explain_held(made, &report, again, words, id);
	}
	sys_close(fifo);
}
