/* SPDX-License-Identifier: MIT */
/* Finds the container that is meant, and does what is asked of it. */
#include "made.h"
#include "abi.h"
#include "ask.h"
#include "carry.h"
#include "facts.h"
#include "line.h"
#include "sys.h"

#include <linux/fcntl.h>

#define SIG_IGN 1

int log_opens(const char *path)
{
	int fd;

	if (!path || !*path)
		return 1;
	fd = (int)SYS_4(__NR_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0)
		return 0;
	sys_close(fd);
	return 1;
}

/* To its first process. Nothing but the record of that is looked at, and no lock is needed. */
static void kill_made(char path[ASK_PATH_BYTES], int number, char *text)
{
	int pidfd;

	memcpy(path + strlen(path), "/pid", sizeof("/pid"));
	pidfd = open_process(AT_FDCWD, path, text);
	if (pidfd < 0)
		return;
	if (SYS_4(__NR_pidfd_send_signal, pidfd, number, 0, 0) == 0)
		sys_exit(0);
	sys_close(pidfd);
}

int lock_made(const struct made *made)
{
	return SYS_2(__NR_flock, made->directory, LOCK_EX | LOCK_NB) == 0;
}

int is_unlocked(const struct made *made)
{
	return SYS_2(__NR_flock, made->directory, LOCK_SH | LOCK_NB) == 0;
}

int open_first(const struct made *made)
{
	return open_process(made->directory, "pid", made->text);
}

int open_fifo(const struct made *made)
{
	return (int)SYS_4(__NR_openat, made->directory, "exec.fifo", O_WRONLY | O_NONBLOCK | O_CLOEXEC, 0);
}

static void serve(const struct made *made, const struct asked *asked, char **argv)
{
	if (asked->command == ASK_START)
		start_made(made, argv, asked->words, asked->id);
	else if (asked->command == ASK_STATE)
		state_made(made);
	else
		delete_made(made, asked->is_forced);
}

/* The line is looked for below the directory itself, and is believed about no other one. */
static void open_made(struct made *made, const struct asked *asked, char **argv)
{
	size_t bytes;
	char *line = map_line(made->directory, "line", &bytes);

	if (!line)
		return;
	const struct line_header *header = (const void *)line;

	made->line = line;
	if (line_decode(line, bytes) == 0 && header->kind == LINE_MADE && same_text(line + header->directory, made->path) &&
	    facts_hold(line, 0, made->environment, made->text))
		serve(made, asked, argv);
	SYS_2(__NR_munmap, line, bytes);
}

void serve_made(char **argv, char *const *environment)
{
	const uint64_t ignore[4] = {SIG_IGN};
	char path[ASK_PATH_BYTES], text[TEXT_MAX];
	struct asked asked;
	uint64_t former[4];
	struct made made = {.path = path, .text = text, .environment = environment};

	if (!ask(argv, &asked, path) || !log_opens(asked.log))
		return;
	if (asked.command == ASK_KILL) {
		kill_made(path, asked.signal, text);
		return;
	}
	made.directory = open_file(path, O_DIRECTORY | O_NOFOLLOW);
	/* Engines delete by force once more what they have deleted. */
	if (made.directory == -ENOENT && asked.is_forced)
		sys_exit(0);
	/* A reader that is gone is an answer of write(2), as it is to Bun. */
	if (made.directory < 0 || SYS_4(__NR_rt_sigaction, SIGPIPE, ignore, former, sizeof(*former)))
		return;
	open_made(&made, &asked, argv);
	SYS_4(__NR_rt_sigaction, SIGPIPE, former, 0, sizeof(*former));
	sys_close(made.directory);
}
