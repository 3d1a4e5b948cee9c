/* SPDX-License-Identifier: MIT */
/* `delete`: groups first, then the directory, as packages/oci/src/remove.ts does it. Bun goes on wherever this stops. */
#include "made.h"
#include "abi.h"
#include "facts.h"
#include "line.h"
#include "sys.h"

#include <linux/fcntl.h>
#include <linux/poll.h>
#include <linux/stat.h>
#include <linux/time_types.h>

#define END_NS 100000000 /* for a killed process to end */
#define PAUSE_NS 1000000
#define PAUSES 100
#define NO_GROUPS_BELOW 2 /* links of a directory: its name, and its "." */

/* Returns whether there is no process any more. */
static int has_ended(const struct made *made, int is_forced)
{
	struct __kernel_timespec limit = {.tv_nsec = END_NS};
	struct pollfd poll = {.events = POLLIN};
	long ready = 0;

	poll.fd = open_first(made);
	if (poll.fd < 0)
		return poll.fd == -ESRCH;
	if (is_forced && SYS_4(__NR_pidfd_send_signal, poll.fd, SIGKILL, 0, 0) == 0)
		ready = SYS_5(__NR_ppoll, &poll, 1, &limit, 0, 0);
	sys_close(poll.fd);
	return ready > 0;
}

/* Waits a little for those who are still leaving. Returns whether the group is gone. */
static int remove_group(const char *path)
{
	const struct __kernel_timespec pause = {.tv_nsec = PAUSE_NS};

	for (int i = 0; i < PAUSES; i++) {
		struct statx node = {0};
		long error = SYS_3(__NR_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);

		if (!error || error == -ENOENT)
			return 1;
		if (error != -EBUSY || SYS_5(__NR_statx, AT_FDCWD, path, 0, STATX_NLINK, &node) || node.stx_nlink > NO_GROUPS_BELOW)
			return 0;
		SYS_2(__NR_nanosleep, &pause, 0);
	}
	return 0;
}

static int remove_groups(const char *line)
{
	const struct line_header *header = (const void *)line;
	const char *group = line + header->subdirectories.offset, *end = group + header->subdirectories.bytes;

	for (; group < end; group += strlen(group) + 1)
		if (!remove_group(group))
			return 0;
	return 1;
}

static void remove_directory(const struct made *made)
{
	static const char *const files[] = {"line", "exec.fifo", "pid", "state.json", ".state.json", "config.json"};

	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		SYS_3(__NR_unlinkat, made->directory, files[i], 0);
	SYS_3(__NR_unlinkat, made->directory, "rootfs", AT_REMOVEDIR);
	if (SYS_3(__NR_unlinkat, AT_FDCWD, made->path, AT_REMOVEDIR) == 0)
		sys_exit(0);
}

void delete_made(const struct made *made, int is_forced)
{
	if (lock_made(made) && has_ended(made, is_forced) && remove_groups(made->line))
		remove_directory(made);
}
