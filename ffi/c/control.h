/* SPDX-License-Identifier: MIT */
/* control.h - the control socket between a child and its parent, the monitor; session.h has its messages. */
#ifndef BB_CONTROL_H
#define BB_CONTROL_H

#include "session.h"

/* pass_fd - one message with a descriptor, to any socket. `text` is not written to. */
long pass_fd(int socket, int fd, void *text, size_t length);

/* receive_control - one message. Returns its kind, 0 at the end of the connection, or -errno. *fd: what it brought. */
int receive_control(int socket, struct control_message *message, int *fd, int flags);

/*
 * meet - wait until the other side is here too.
 *
 * Returns 0, or -EPIPE when it will not come: what a child that failed has said
 * is then still there to be received. A terminal that comes meanwhile is kept.
 */
long meet(struct session *session);

/*
 * hold - let the parent go, and wait for one byte of the fifo. Failures are written there from now on.
 *
 * `heeds`: as PID 1 of a namespace, end by the signals that the kernel would pass over.
 */
long hold(struct session *session, int fifo, int heeds);

#endif
