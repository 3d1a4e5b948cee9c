/* SPDX-License-Identifier: MIT */
/* Reads the container's /etc/passwd, from within its root. */
#include "builtins.h"
#include "home.h"
#include "sys.h"

#include <linux/fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>

#define BLOCK_BYTES 1024
#define MAX_BYTES (1 << 20)

/*
 * Links stay below the root, and only a file that has a size is read: neither a
 * pipe nor a device, nor one of /proc that never ends.
 */
static long open_accounts(void)
{
	struct open_how how = {
		.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	long root = SYS_4(__NR_openat, AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0), fd, error;
	struct statx st;

	if (root < 0)
		return root;
	fd = SYS_4(__NR_openat2, root, "etc/passwd", &how, sizeof(how));
	sys_close((int)root);
	if (fd < 0)
		return fd;
	error = SYS_5(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st);
	if (!error && (st.stx_mode & 0170000) == 0100000 && st.stx_size && st.stx_size <= MAX_BYTES)
		return fd;
	sys_close((int)fd);
	return -ENXIO;
}

long find_home(uint64_t uid, char *to, size_t room)
{
	struct home_search search;
	char block[BLOCK_BYTES];
	long fd = open_accounts(), n = 0;
	int is_found = 0;

	home_begin(&search, uid, to, room);
	for (size_t left = MAX_BYTES / BLOCK_BYTES; fd >= 0 && left && !is_found; left--) {
		n = SYS_3(__NR_read, fd, block, sizeof(block));
		if (n <= 0)
			break;
		is_found = home_feed(&search, block, (size_t)n);
	}
	if (fd >= 0)
		sys_close((int)fd);
	if (!is_found)
		home_end(&search);
	return 0;
}
