/* SPDX-License-Identifier: MIT */
/* Removes a tree that a hostile container may have filled: by descriptors, following nothing. */
#include "builtins.h"
#include "sys.h"

#include <linux/fcntl.h>
#include <linux/stat.h>

/* struct linux_dirent64 */
struct entry {
	uint64_t ino;
	int64_t off;
	uint16_t length;
	uint8_t type;
	char name[];
};

#define ENTRIES_BYTES 4096
#define AT_REMOVEDIR 0x200

static int is_dot(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

static long open_directory(int dirfd, const char *name)
{
	return SYS_4(__NR_openat, dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
}

/*
 * Removes what is not a directory below `dir`, and moves each directory's name
 * into `found` (one at a time). Returns 1 with a name found, 0 when dir is
 * empty, or -errno.
 */
static long empty_of_files(int dir, char *found, size_t found_bytes)
{
	char buffer[ENTRIES_BYTES] __attribute__((aligned(8)));
	long n;

	SYS_3(__NR_lseek, dir, 0, 0);
	while ((n = SYS_3(__NR_getdents64, dir, buffer, sizeof(buffer))) > 0) {
		for (long at = 0; at < n;) {
			const struct entry *e = (const struct entry *)(buffer + at);
			long error;

			at += e->length;
			if (is_dot(e->name))
				continue;
			error = SYS_3(__NR_unlinkat, dir, e->name, 0);
			if (!error || error == -ENOENT)
				continue;
			if (error != -EISDIR && error != -EPERM)
				return error;
			/* Most directories are empty: no need to go down. */
			error = SYS_3(__NR_unlinkat, dir, e->name, AT_REMOVEDIR);
			if (!error || error == -ENOENT)
				continue;
			if (error != -ENOTEMPTY && error != -EEXIST)
				return error;
			if (strlen(e->name) >= found_bytes)
				return -ENAMETOOLONG;
			memcpy(found, e->name, strlen(e->name) + 1);
			return 1;
		}
	}
	return n;
}

/*
 * Goes down without recursion and without a stack of descriptors: depth is the
 * container's choice. Coming up through ".." is safe because nobody else can
 * reach the tree any more: its container has ended and its parent is ours alone.
 */
long remove_tree(int dirfd, const char *name)
{
	char found[256];
	long error = SYS_3(__NR_unlinkat, dirfd, name, AT_REMOVEDIR), dir;
	uint64_t depth = 0;

	if (error == -ENOTDIR)
		error = SYS_3(__NR_unlinkat, dirfd, name, 0);
	if (!error || error == -ENOENT)
		return 0;
	dir = open_directory(dirfd, name);
	if (dir < 0)
		return dir;
	for (;;) {
		long next, result = empty_of_files((int)dir, found, sizeof(found));

		if (result < 0) {
			sys_close((int)dir);
			return result;
		}
		if (result == 0 && depth == 0)
			break;
		next = result ? open_directory((int)dir, found) : open_directory((int)dir, "..");
		sys_close((int)dir);
		if (next < 0)
			return next;
		dir = next;
		/* Up again: the directory just emptied goes with the next pass's rmdir. */
		depth = result ? depth + 1 : depth - 1;
	}
	sys_close((int)dir);
	return SYS_3(__NR_unlinkat, dirfd, name, AT_REMOVEDIR);
}
