/* SPDX-License-Identifier: MIT */
#ifndef BB_BUILTINS_H
#define BB_BUILTINS_H

#include "session.h"

#include <linux/sched.h>

/* netlink.c - send `batch`, read `acks` acknowledgements. Returns 0 or the first error the kernel gave. */
long netlink_batch(int socket, const void *batch, size_t length, uint64_t acks);

/* remove.c - remove `name` below `dirfd` and all that it holds, following no link. ENOENT is success. */
long remove_tree(int dirfd, const char *name);

/* groups.c - remove the cgroup and all below it that nobody is in. ENOENT is success. */
long remove_group(const char *path);

/* target.c - open what a mount goes on, made as a directory or file of `type` where it is missing. */
long open_target(int root, const char *path, uint64_t type, uint64_t resolve);

/* target.c - hide `path` behind /dev/null or an empty directory. What is absent needs no hiding. */
long mask(int root, const char *path, int null, int empty);

/* userns.c - make a user namespace with these maps. Returns its descriptor. */
long user_namespace(const char *uids, size_t uid_length, const char *gids, size_t gid_length);

/* copy.c - copy the permissions (COPY_MODE) or the whole content (COPY_TREE) of directory `from` to `to`. */
long copy_up(int from, int to, uint64_t what);

/* accounts.c - BUILTIN_HOME. Always 0: a user without a home has "/". */
long find_home(uint64_t uid, char *to, size_t room);

/* builtins.c - write all of it, or say why not. */
long write_all(int fd, const void *from, size_t n);

/* builtins.c - clone3(2), or clone(2) behind a seccomp filter that has no clone3. */
long clone_process(const struct clone_args *args, int *pidfd);

/* hook.c - BUILTIN_HOOK; what it prints goes to `output`, if that is a descriptor. */
long run_hook(const uint64_t *a, int output);

/* criu.c - BUILTIN_CRIU */
long talk_to_criu(const struct session *session, const uint64_t *a);
void kill_children(void);

#endif
