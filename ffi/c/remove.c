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
#define NAME_BYTES 256
#define DEPTH 32 /* how far down descriptors are kept open */
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

/* Moves a directory that lies too deep up to where the removal began, under a name that is free there. */
static long lift(int from, const char *name, int top)
{
	static uint64_t number;
	char fresh[32] = ".lifted-";
	long error;

	do {
		decimal(fresh + 8, number++);
		error = SYS_5(__NR_renameat2, from, name, top, fresh, 0);
	} while (error == -EEXIST || error == -ENOTEMPTY || error == -ENOTDIR);
	return error;
}

/*
 * Empties the directory `top` without recursion. The way up is kept as open
 * descriptors, never looked up as "..": somebody to whom the container has
 * passed a directory of its root may still move what lies below, and ".."
 * would then lead past the top and on to the host. Depth is the container's
 * choice, so what lies deeper than the table is moved up first.
 */
static long empty_tree(int top)
{
	char found[NAME_BYTES];
	int way[DEPTH] = {top};
	size_t at = 0;
	long result;

	for (;;) {
		result = empty_of_files(way[at], found, sizeof(found));
		/* Removed by somebody else: there is nothing in it either. */
		if (result == -ENOENT)
			result = 0;
		if (result == 0 && at == 0)
			return 0;
		if (result == 0) {
			/* Up again: the directory just emptied goes with the next pass's rmdir. */
			sys_close(way[at--]);
			continue;
		}
		if (result > 0 && at + 1 == DEPTH)
			result = lift(way[at], found, top);
		else if (result > 0 && (result = open_directory(way[at], found)) >= 0)
			way[++at] = (int)result;
		/* Moved by somebody else meanwhile: the next pass sees what is there. */
		if (result < 0 && result != -ENOENT)
			break;
	}
	while (at > 0)
		sys_close(way[at--]);
	return result;
}

long remove_tree(int dirfd, const char *name)
{
	long error = SYS_3(__NR_unlinkat, dirfd, name, AT_REMOVEDIR), top;

	if (error == -ENOTDIR)
		error = SYS_3(__NR_unlinkat, dirfd, name, 0);
	if (!error || error == -ENOENT)
		return 0;
	top = open_directory(dirfd, name);
	if (top < 0)
		return top;
	error = empty_tree((int)top);
	sys_close((int)top);
	return error ? error : SYS_3(__NR_unlinkat, dirfd, name, AT_REMOVEDIR);
}
