/* SPDX-License-Identifier: MIT */
#ifndef BB_BUILTINS_H
#define BB_BUILTINS_H

#include "session.h"

/* netlink.c - send `batch`, read `acks` acknowledgements. Returns 0 or the first error the kernel gave. */
long netlink_batch(int socket, const void *batch, size_t length, uint64_t acks);

/* remove.c - remove `name` below `dirfd` and all that it holds, following no link. ENOENT is success. */
long remove_tree(int dirfd, const char *name);

/* builtins.c - write all of it, or say why not. */
long write_all(int fd, const void *from, size_t n);

#endif
