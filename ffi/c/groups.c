/* SPDX-License-Identifier: MIT */
/* Removes a container's group with those that the container has made below it. */
#include "builtins.h"
#include "sys.h"

#include <linux/fcntl.h>

/* struct linux_dirent64 */
struct entry {
	uint64_t ino;
	int64_t off;
	uint16_t length;
	uint8_t type;
	char name[];
};

#define ENTRIES_BYTES 4096
#define NAME_BYTES 256
#define DIRECTORY 4 /* DT_DIR */
#define AT_REMOVEDIR 0x200
/* Whoever is outside and goes on making groups there does not keep us for ever. */
#define MOST 65536

/* Moves the name of a group below `dir` into `name`. Returns 1, 0 when there is none, or -errno. */
static long find_group(int dir, char name[NAME_BYTES])
{
	char buffer[ENTRIES_BYTES] __attribute__((aligned(8)));
	long n;

	SYS_3(__NR_lseek, dir, 0, 0);
	while ((n = SYS_3(__NR_getdents64, dir, buffer, sizeof(buffer))) > 0) {
		for (long at = 0; at < n;) {
			const struct entry *e = (const struct entry *)(buffer + at);
			size_t length = strlen(e->name);

			at += e->length;
			if (e->type != DIRECTORY || e->name[0] == '.' || length >= NAME_BYTES)
				continue;
			memcpy(name, e->name, length + 1);
			return 1;
		}
	}
	return n;
}

static long open_group(int dirfd, const char *name)
{
	return SYS_4(__NR_openat, dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
}

/* Goes down until there is no group below, and removes that one: depth is the container's choice, and no way is kept. */
static long remove_lowest(const char *path)
{
	char name[NAME_BYTES], below[NAME_BYTES];
	long group = open_group(AT_FDCWD, path), result;

	if (group < 0)
		return group;
	result = find_group((int)group, name);
	if (result == 0)
		result = -EBUSY;
	while (result > 0) {
		long next = open_group((int)group, name);

		result = next < 0 ? next : find_group((int)next, below);
		if (result == 0)
			result = SYS_3(__NR_unlinkat, group, name, AT_REMOVEDIR);
		else
			memcpy(name, below, sizeof(name));
		if (next >= 0) {
			sys_close((int)group);
			group = next;
		}
	}
	sys_close((int)group);
	return result;
}

long remove_group(const char *path)
{
	long error = -EBUSY;

	for (int i = 0; i < MOST && error == -EBUSY; i++) {
		error = SYS_3(__NR_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
		if (error == -EBUSY && remove_lowest(path))
			break;
	}
	return error == -ENOENT ? 0 : error;
}
