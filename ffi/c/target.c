/* SPDX-License-Identifier: MIT */
/*
 * What mounts go on. Every name is looked up by openat2 below the container's
 * root, so that no link of an image leads out of it.
 */
#include "builtins.h"
#include "sys.h"

#include <linux/fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/stat.h>

#define MODE_TYPE 0170000
#define PATH_BYTES 4096

static long open_below(int root, const char *path, uint64_t resolve)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve,
	};

	return SYS_4(__NR_openat2, root, path, &how, sizeof(how));
}

static long make_last(int parent, const char *name, uint64_t type)
{
	return type == S_IFDIR ? SYS_3(__NR_mkdirat, parent, name, 0755)
			       : SYS_4(__NR_mknodat, parent, name, S_IFREG | 0644, 0);
}

/*
 * The way that a link at the end of `path`'s first `end` bytes, whose name
 * begins at `start`, stands for: `path` is rewritten, with what follows it.
 */
static long follow(int parent, char *path, size_t start, size_t end)
{
	char link[PATH_BYTES];
	size_t rest = strlen(path + end) + 1;
	long length;

	/* A name that is no link any more was made by somebody else: the next lookup finds it. */
	memcpy(link, path + start, end - start);
	link[end - start] = 0;
	length = SYS_4(__NR_readlinkat, parent, link, link, sizeof(link));
	if (length < 0)
		return length == -EINVAL ? 0 : length;
	if (length > 0 && link[0] == '/')
		start = 0;
	if (start + (size_t)length + rest > PATH_BYTES)
		return -ENAMETOOLONG;
	memmove(path + start + length, path + end, rest);
	memcpy(path + start, link, (size_t)length);
	return 0;
}

/* Makes the first component of `path` that is missing, or follows it if it is a link that leads nowhere yet. */
static long make_first(int root, char *path, uint64_t type, uint64_t resolve)
{
	char prefix[PATH_BYTES];
	size_t at = 0;

	while (path[at] == '/')
		at++;
	while (path[at]) {
		size_t start = at, end;
		long parent, error, fd;

		while (path[at] && path[at] != '/')
			at++;
		end = at;
		while (path[at] == '/')
			at++;
		memcpy(prefix, path, end);
		prefix[end] = 0;
		fd = open_below(root, prefix, resolve);
		if (fd >= 0) {
			sys_close((int)fd);
			continue;
		}
		if (fd != -ENOENT)
			return fd;
		memcpy(prefix, path, start);
		prefix[start] = 0;
		parent = open_below(root, start ? prefix : ".", resolve);
		if (parent < 0)
			return parent;
		memcpy(prefix, path + start, end - start);
		prefix[end - start] = 0;
		error = make_last((int)parent, prefix, path[at] ? S_IFDIR : type);
		if (error == -EEXIST)
			error = follow((int)parent, path, start, end);
		sys_close((int)parent);
		return error;
	}
	return 0;
}

/*
 * Makes one component at a time, as deep as something is missing: `path` is
 * looked up whole after each. A link that leads nowhere is followed too, and
 * made to lead somewhere: images have /etc/resolv.conf so.
 */
long open_target(int root, const char *path, uint64_t type, uint64_t resolve)
{
	char wanted[PATH_BYTES];
	size_t length = strlen(path);
	long fd = open_below(root, path, resolve);

	if (fd != -ENOENT)
		return fd;
	if (length >= sizeof(wanted))
		return -ENAMETOOLONG;
	memcpy(wanted, path, length + 1);
	/* Each turn makes a component or follows a link; a path has at most half as many as bytes. */
	for (int turns = 0; turns < PATH_BYTES; turns++) {
		long error = make_first(root, wanted, type, resolve);

		if (error)
			return error;
		fd = open_below(root, wanted, resolve);
		if (fd != -ENOENT)
			return fd;
	}
	return -ELOOP;
}

static long is_directory(int fd)
{
	struct statx st;
	long error = SYS_5(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_TYPE, &st);

	return error < 0 ? error : (st.stx_mode & MODE_TYPE) == S_IFDIR;
}

/*
 * A copy of what hides something. What hides files is the host's own null, whose mode and times would be the
 * container's to change on a mount that can be written; its data come and go on any.
 */
static long open_cover(int cover)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC};
	long tree = SYS_3(__NR_open_tree, cover, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	long error;

	if (tree < 0)
		return tree;
	error = SYS_5(__NR_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr));
	if (error < 0)
		sys_close((int)tree);
	return error < 0 ? error : tree;
}

long mask(int root, const char *path, int null, int empty)
{
	long target = open_below(root, path, 0), tree, error;

	if (target < 0)
		return target == -ENOENT || target == -ENOTDIR ? 0 : target;
	error = is_directory((int)target);
	if (error >= 0) {
		tree = open_cover(error ? empty : null);
		error = tree;
		if (tree >= 0) {
			error = SYS_5(__NR_move_mount, tree, "", target, "",
				      MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
			sys_close((int)tree);
		}
	}
	sys_close((int)target);
	return error;
}
