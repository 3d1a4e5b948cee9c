/* SPDX-License-Identifier: MIT */
/* ask.h - what a command line of bb-oci asks of a container that was made, as arguments.ts and container.ts read it. */
#ifndef BB_ASK_H
#define BB_ASK_H

#include <stddef.h>

#define ASK_PATH_BYTES 4096
#define ASK_FILE_BYTES 16 /* what a path has room for behind the directory's */

enum ask_command { ASK_START = 1, ASK_STATE, ASK_KILL, ASK_DELETE };

struct asked {
	enum ask_command command;
	const char *root, *id;
	const char *log; /* null: none */
	int signal;	/* of ASK_KILL */
	int is_forced;	/* ASK_DELETE */
	size_t words;	/* in front of the command, with the program's name */
};

/*
 * ask - read a command line, whose first word is the program's name.
 *
 * Of the many ways to say it those that engines use are understood; of what is
 * wrong nothing. Returns whether it was, with the path of the container's directory.
 */
int ask(char *const *argv, struct asked *asked, char path[ASK_PATH_BYTES]);

#endif
