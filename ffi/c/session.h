/* SPDX-License-Identifier: MIT */
/*
 * session.h - what the parts of the trampoline know of each other.
 *
 *   main.c       maps the plan, splits into client and monitor
 *   interpret.c  carries out steps; builtins.c what is not one system call
 *   monitor.c    stays as the container's parent: pty, log, attach socket, exit
 *   client.c     stays in the foreground: relays a terminal or pipes, signals, the exit status
 *   leave.c      instead of both: ends when the child is held or runs
 *
 *     client ---- SOCK_SEQPACKET (messages below) ---- monitor ---- SOCK_SEQPACKET (control) ---- child
 */
#ifndef BB_SESSION_H
#define BB_SESSION_H

#include "plan.h"

struct session {
	struct plan plan;
	uint64_t regs[PLAN_REGS];
	int plan_fd;   /* the plan's memfd, which `failed` inherits; -1 in every child */
	int control;   /* child's or monitor's end of the control socket, -1 outside of them */
	int monitor_control; /* during PREPARE: the monitor's end, which a child closes */
	int client;    /* monitor's end of the connection to its first client, or -1 */
	int terminal;  /* monitor's master of the child's pty, or -1 */
	int is_held;   /* the child, once BUILTIN_HOLD has taken `control` for its fifo */
	int wait_status; /* of the child, once it has ended */
	char *const *environment;
};

/*
 * Control messages, from child to monitor: a failure; a descriptor in
 * SCM_RIGHTS; in an exec (MONITOR_EXEC) the process to wait for, its pid in
 * `section`, its pidfd in SCM_RIGHTS, which replace regs[pid_reg] and the next
 * before PARENT is carried out. From monitor to child: go.
 *
 * A held child writes its failure into the fifo, the failed step's tag in place of the kind, and behind it what a hook
 * has printed that failed.
 */
struct control_message {
	uint32_t kind;
	uint32_t section, step, error;
};
enum control_kind {
	CONTROL_FAILED = 1,
	CONTROL_FD,
	CONTROL_GO,
	CONTROL_CHILD,
	CONTROL_MEET, /* either way: I am here (BUILTIN_MEET) */
	CONTROL_HELD  /* from the child: it waits for its fifo, and lives on its own */
};

/* Where and why a start stopped. error: 0, or an errno. */
struct failure {
	uint32_t section, step, error;
};

/*
 * Messages between client and monitor: the first byte says what, the rest is the payload.
 * One message is at most MESSAGE_BYTES long; SOCK_SEQPACKET keeps them apart.
 */
#define MESSAGE_BYTES 32768
enum message {
	MESSAGE_STDIN = 'i',	 /* client: bytes for the container's stdin; the next only after ... */
	MESSAGE_STDIN_TAKEN = 'k', /* monitor: ... this, so that signals never queue behind input */
	MESSAGE_STDIN_END = 'e', /* client: stdin ended */
	MESSAGE_RESIZE = 'w',	 /* client: u16 rows, u16 columns */
	MESSAGE_SIGNAL = 's',	 /* client: u8 number, for the child */
	MESSAGE_QUIET = 'q',	 /* client: wants no output, only the end */
	MESSAGE_STDOUT = 'o',	 /* monitor: bytes */
	MESSAGE_STDERR = 'r',	 /* monitor: bytes */
	MESSAGE_STARTED = 'S',	 /* monitor: u32 pid */
	MESSAGE_EXITED = 'X',	 /* monitor: u32 wait status; the last message */
	MESSAGE_FAILED = 'F'	 /* monitor: u32 section (SECTIONS: attaching was refused), step, errno; the last */
};

/*
 * interpret - carry out one section's steps.
 *
 * Returns 0, or -errno with the failing step's number (within the whole plan) in *step.
 * In SECTION_UNDO errors are passed over. Does not return when the section execs or exits.
 */
int interpret(struct session *session, enum plan_section section, uint32_t *step);

/* builtin - carry out a step whose nr is at least BUILTIN_FIRST, arguments resolved. */
long builtin(struct session *session, const struct plan_step *step, const uint64_t *a);

/*
 * monitor_main - the monitor, from its fork to its end. Never returns.
 *
 * Carries out PREPARE, PARENT, and at the end EXITED or UNDO. Once the command
 * runs it keeps only descriptors that lie in registers, so EXITED names no others.
 */
__attribute__((noreturn)) void monitor_main(struct session *session);

/*
 * client_main - the client, until the container ended, was detached from, or failed. Never returns.
 *
 * `connection` is the socket to the monitor.
 */
__attribute__((noreturn)) void client_main(struct session *session, int connection);

/*
 * monitor_start - PREPARE and PARENT, until the child is held or has executed its command.
 *
 * A failure is the child's own, where it had one.
 */
struct failure monitor_start(struct session *session);

/* monitor_undo - kill the child of a start that failed, and carry out UNDO. */
void monitor_undo(struct session *session);

/* leave_main - with MONITOR_LEAVE, instead of monitor and client. Never returns. */
__attribute__((noreturn)) void leave_main(struct session *session);

/* client_explain - become the command that says in words what failed: section, step, errno. Never returns. */
__attribute__((noreturn)) void client_explain(struct session *session, const uint32_t why[3]);

/* client_fail - there is no monitor, by `error`: say so as of the first step. Never returns. */
__attribute__((noreturn)) void client_fail(struct session *session, uint32_t error);

/* reap_main - PID 1 of --init. Ends as `pid` ends. */
__attribute__((noreturn)) void reap_main(int pid);

#endif
