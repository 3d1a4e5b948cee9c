/* SPDX-License-Identifier: MIT */
/*
 * carry.h - what the fronts of both executables have in common.
 *
 * A front is what runs before Bun does. A command that was carried out before is
 * on record with its plan and with all that the plan was made of (line.h). When
 * every one of these facts still holds, the plan is good: the front makes the
 * container's directory, fills in what is another's each time, and becomes the
 * trampoline, which takes a fraction of the time that Bun needs to start.
 * Otherwise it leaves nothing behind, and Bun starts as if this had never been.
 *
 * It decides nothing that TypeScript has not decided before: it compares texts.
 */
#ifndef BB_CARRY_H
#define BB_CARRY_H

#include "holes.h"

/* The trampoline's bytes, which front-start.S brings. */
extern const char trampoline[], trampoline_end[];

/* What a front was asked. */
struct request {
	const char *directory; /* where lines lie */
	const char *skeleton;
	size_t skeleton_bytes;
	const struct holes *holes;
	char *const *environment;
};

/*
 * front_main - becomes the trampoline if these arguments are on record, and else comes back.
 *
 * @stack: argc, argv and so on, as the kernel left them
 */
void front_main(long *stack);

/* carry_out - the same, for a request that a front has understood. */
void carry_out(const struct request *request);

/*
 * map_line - a file that only root can write: whoever else could would have us carry out anything.
 *
 * Returns a private copy to be unmapped, or null.
 */
char *map_line(int directory, const char *path, size_t *bytes);

/* Returns 0, or -1. */
int write_all(int fd, const char *bytes, size_t count);

/* Whether this is root, with all three standard streams: Bun opens /dev/null for those that are closed, and nothing may take their place. */
int may_carry_out(void);

#endif
