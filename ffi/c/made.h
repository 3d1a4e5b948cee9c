/* SPDX-License-Identifier: MIT */
/*
 * made.h - containers that bb-oci has made: `start`, `state`, `kill` and `delete` without Bun.
 *
 * Each does what TypeScript does when nothing is odd (packages/oci/src/start.ts,
 * remove.ts, commands/), and comes back when something is: Bun then begins from
 * what is there, and has the words for what goes wrong. What a container is made
 * of stands in the `line` of its directory (line.h, LINE_MADE), which is there
 * only when nothing but this has to be done: no hooks after `create`, nobody who
 * waits to hear that it is ready, no unit of systemd's, a PID namespace of its own.
 */
#ifndef BB_MADE_H
#define BB_MADE_H

#include <stddef.h>

/* Of flock(2). */
#define LOCK_SH 1
#define LOCK_EX 2
#define LOCK_NB 4
#define LOCK_UN 8

struct made {
	const char *path; /* of its directory, absolute */
	int directory;
	const char *line; /* decoded; its facts hold */
	char *text;	  /* TEXT_MAX bytes to read into */
	char *const *environment;
};

/* serve_made - ends this process if that was all, and else comes back. `argv` begins with the program's name. */
void serve_made(char **argv, char *const *environment);

/* Whether the log can be written to, which is made if it is missing; null and empty stand for none. */
int log_opens(const char *path);

/* Takes the container's lock, as whoever makes or deletes it does. Returns whether nobody else has it. */
int lock_made(const struct made *made);

/* Whether nobody makes or deletes it, until this process ends. Others may ask the same at the same time. */
int is_unlocked(const struct made *made);

/* Its first process, as open_process has it: by the record below the directory itself, whatever has its name by now. */
int open_first(const struct made *made);

/* The first process's end of the fifo that it waits at, as a writing one. Returns -errno when it does not wait. */
int open_fifo(const struct made *made);

/* start_made - lets a held process execute its command. `again`: this program's words up to the command, for what failed. */
void start_made(const struct made *made, char *const *again, size_t words, const char *id);

/* delete_made - removes a container that has ended, or with `is_forced` kills it first. */
void delete_made(const struct made *made, int is_forced);

/* state_made - prints what it is. */
void state_made(const struct made *made);

#endif
