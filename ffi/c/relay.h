/* SPDX-License-Identifier: MIT */
/*
 * relay.h - what flows through the monitor while the container runs.
 *
 *   container's stdout, stderr or terminal -> log, and every client that is attached
 *   each client's input                    -> container's stdin or terminal
 *
 * One message of output is under way at a time. Until every client has taken
 * it, nothing more is read from the container: memory is bounded and nothing
 * is lost, and a client that stopped reading holds up the container's output
 * but neither signals, other clients' input nor the end.
 */
#ifndef BB_RELAY_H
#define BB_RELAY_H

#include "session.h"

/* relay_open - take the streams over from the session's registers. `terminal` is the master of its pty, or -1. */
void relay_open(struct session *session, int terminal);

/* relay_first - the client that started the container stays attached. Owns `fd`. */
void relay_first(int fd);

/* relay_run - relay until `wake` can be read. */
void relay_run(int wake);

/* relay_finish - the container has ended: pass on what it left in its pipes, and close the log. */
void relay_finish(void);

/* relay_exited - tell every client how it ended. */
void relay_exited(uint32_t wait_status);

#endif
