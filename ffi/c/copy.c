/* SPDX-License-Identifier: MIT */
/* Fills a new file system with what it covers: by descriptors, following nothing. */
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

#define ENTRIES_BYTES 2048
#define BLOCK_BYTES 4096
#define LINK_BYTES 4096
#define NAMES_BYTES 4096
#define VALUE_BYTES 4096
/* Each level takes some KB of stack, outside of which lie the buffers of what does not recurse. */
#define DEPTH 64

static int is_dot(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

__attribute__((noinline)) static long copy_bytes(int from, int to)
{
	char block[BLOCK_BYTES];
	long n;

	while ((n = SYS_3(__NR_read, from, block, sizeof(block))) > 0) {
		long error = write_all(to, block, (size_t)n);

		if (error)
			return error;
	}
	return n;
}

/* Attributes that the new file system knows; it refuses others, and nobody misses them. */
__attribute__((noinline)) static void copy_attributes(int from, int to)
{
	char names[NAMES_BYTES], value[VALUE_BYTES];
	long length = SYS_3(__NR_flistxattr, from, names, sizeof(names));

	for (long at = 0; at < length; at += (long)strlen(names + at) + 1) {
		long n = SYS_4(__NR_fgetxattr, from, names + at, value, sizeof(value));

		if (n >= 0)
			SYS_5(__NR_fsetxattr, to, names + at, value, n, 0);
	}
}

/* Owner first: a change of owner takes set-user-ID bits away. */
static long copy_owner(int to, const struct statx *st)
{
	long error = SYS_3(__NR_fchown, to, st->stx_uid, st->stx_gid);

	return error ? error : SYS_2(__NR_fchmod, to, st->stx_mode & 07777);
}

__attribute__((noinline)) static long copy_link(int from, int to, const char *name, const struct statx *st)
{
	char target[LINK_BYTES + 1];
	long n = SYS_4(__NR_readlinkat, from, name, target, LINK_BYTES), error;

	if (n < 0)
		return n;
	target[n] = 0;
	error = SYS_3(__NR_symlinkat, target, to, name);
	return error ? error : SYS_5(__NR_fchownat, to, name, st->stx_uid, st->stx_gid, AT_SYMLINK_NOFOLLOW);
}

static long copy_file(int from, int to, const char *name, const struct statx *st)
{
	long in = SYS_4(__NR_openat, from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0), out, error;

	if (in < 0)
		return in;
	out = SYS_4(__NR_openat, to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	error = out;
	if (out >= 0) {
		error = copy_bytes((int)in, (int)out);
		if (!error)
			error = copy_owner((int)out, st);
		copy_attributes((int)in, (int)out);
		sys_close((int)out);
	}
	sys_close((int)in);
	return error;
}

static long copy_node(int to, const char *name, const struct statx *st)
{
	unsigned int major = st->stx_rdev_major, minor = st->stx_rdev_minor;
	long error;

	error = SYS_4(__NR_mknodat, to, name, st->stx_mode,
		      (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~0xffu) << 12);
	return error ? error : SYS_5(__NR_fchownat, to, name, st->stx_uid, st->stx_gid, AT_SYMLINK_NOFOLLOW);
}

static long copy_below(int from, int to, int depth);

static long copy_directory(int from, int to, const char *name, const struct statx *st, int depth)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	long in, out, error;

	if (depth == DEPTH)
		return -ELOOP;
	in = SYS_4(__NR_openat, from, name, flags, 0);
	if (in < 0)
		return in;
	error = SYS_3(__NR_mkdirat, to, name, 0700);
	out = error ? error : SYS_4(__NR_openat, to, name, flags, 0);
	error = out;
	if (out >= 0) {
		error = copy_below((int)in, (int)out, depth + 1);
		if (!error)
			error = copy_owner((int)out, st);
		copy_attributes((int)in, (int)out);
		sys_close((int)out);
	}
	sys_close((int)in);
	return error;
}

static long copy_entry(int from, int to, const char *name, int depth)
{
	struct statx st;
	long error = SYS_5(__NR_statx, from, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &st);

	if (error < 0)
		return error;
	switch (st.stx_mode & 0170000) {
	case 0040000:
		return copy_directory(from, to, name, &st, depth);
	case 0100000:
		return copy_file(from, to, name, &st);
	case 0120000:
		return copy_link(from, to, name, &st);
	default:
		return copy_node(to, name, &st);
	}
}

static long copy_below(int from, int to, int depth)
{
	char buffer[ENTRIES_BYTES] __attribute__((aligned(8)));
	long n;

	while ((n = SYS_3(__NR_getdents64, from, buffer, sizeof(buffer))) > 0) {
		for (long at = 0; at < n;) {
			const struct entry *e = (const struct entry *)(buffer + at);
			long error = is_dot(e->name) ? 0 : copy_entry(from, to, e->name, depth);

			if (error)
				return error;
			at += e->length;
		}
	}
	return n;
}

long copy_up(int from, int to, uint64_t what)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
	struct statx st;
	long in = SYS_4(__NR_openat, from, ".", flags, 0), out, error;

	if (in < 0)
		return in;
	out = SYS_4(__NR_openat, to, ".", flags, 0);
	error = out;
	if (out >= 0) {
		error = SYS_5(__NR_statx, in, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st);
		if (!error && what & COPY_TREE)
			error = copy_below((int)in, (int)out, 0);
		if (!error && what & COPY_MODE)
			error = SYS_2(__NR_fchmod, out, st.stx_mode & 07777);
		if (!error && what & COPY_TREE)
			error = SYS_3(__NR_fchown, out, st.stx_uid, st.stx_gid);
		sys_close((int)out);
	}
	sys_close((int)in);
	return error;
}
