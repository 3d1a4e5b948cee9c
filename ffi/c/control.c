/* SPDX-License-Identifier: MIT */
/* The control socket: descriptors, failures, and where child and parent wait for each other. */
#include "control.h"
#include "abi.h"
#include "sys.h"

#define FDS_AT_ONCE 8

long pass_fd(int socket, int fd, void *text, size_t length)
{
	struct span span = {text, length};
	struct {
		struct control_header header;
		int fd, pad;
	} control = {.header = {sizeof(struct control_header) + sizeof(int), SOL_SOCKET, SCM_RIGHTS}, .fd = fd};
	struct message_header header = {.spans = &span,
					.span_count = 1,
					.control = &control,
					.control_length = sizeof(control)};

	return SYS_3(__NR_sendmsg, socket, &header, MSG_NOSIGNAL);
}

/* Takes the one descriptor of a message, and closes any more. -1: there is none. */
static int take_fd(struct message_header *header)
{
	const struct control_header *control = header->control;
	int fds[FDS_AT_ONCE], taken = -1;

	if (header->control_length < sizeof(*control) || control->type != SCM_RIGHTS)
		return -1;
	memcpy(fds, control + 1, control->length - sizeof(*control));
	for (size_t i = 0; i < (control->length - sizeof(*control)) / sizeof(int); i++) {
		if (taken < 0)
			taken = fds[i];
		else
			sys_close(fds[i]);
	}
	return taken;
}

int receive_control(int socket, struct control_message *message, int *fd, int flags)
{
	struct span span = {message, sizeof(*message)};
	char control[sizeof(struct control_header) + FDS_AT_ONCE * sizeof(int)] __attribute__((aligned(8)));
	struct message_header header = {.spans = &span,
					.span_count = 1,
					.control = control,
					.control_length = sizeof(control)};
	long n;

	/*
	 * A child that fails before it has read what it was sent closes a socket with
	 * something unread: the kernel then says ECONNRESET once, before what the child said.
	 */
	do
		n = SYS_3(__NR_recvmsg, socket, &header, flags | MSG_CMSG_CLOEXEC);
	while (n == -EINTR || n == -ECONNRESET);
	if (n <= 0)
		return (int)n;
	*fd = take_fd(&header);
	/* The kernel cuts off what does not fit into our table of descriptors. */
	if (header.flags & MSG_CTRUNC)
		return -EMFILE;
	return n == sizeof(*message) ? (int)message->kind : -EPROTO;
}

/* The kind of the next message, which stays where it is; or as receive_control. */
static int next_kind(int socket)
{
	struct control_message message;
	long n;

	do
		n = SYS_6(__NR_recvfrom, socket, &message, sizeof(message), MSG_PEEK, 0, 0);
	while (n == -EINTR || n == -ECONNRESET);
	return n <= 0 ? (int)n : (int)message.kind;
}

long meet(struct session *session)
{
	struct control_message message = {.kind = CONTROL_MEET};
	long error = SYS_6(__NR_sendto, session->control, &message, sizeof(message), MSG_NOSIGNAL, 0, 0);
	int kind, fd = -1;

	while ((kind = next_kind(session->control)) == CONTROL_FD && session->terminal < 0)
		receive_control(session->control, &message, &session->terminal, 0);
	if (kind < 0)
		return kind;
	if (kind != CONTROL_MEET)
		return error < 0 ? error : -EPIPE;
	receive_control(session->control, &message, &fd, 0);
	return 0;
}

__attribute__((noreturn)) static void end_by(int signal) { sys_exit(128 + signal); }

/*
 * To PID 1 of a namespace the kernel sends no signal that it has no handler for: without one, whoever ends a container
 * that waits for its start would be told that it was done. What the command inherits is the default again.
 */
static void heed_signals(void)
{
	const signal_set passed = SIGNAL_BIT(SIGKILL) | SIGNAL_BIT(SIGCHLD) | SIGNAL_BIT(SIGCONT) | SIGNAL_BIT(SIGSTOP) |
				  SIGNAL_BIT(SIGTSTP) | SIGNAL_BIT(SIGTTIN) | SIGNAL_BIT(SIGTTOU) | SIGNAL_BIT(SIGURG) |
				  SIGNAL_BIT(SIGWINCH);
	/* These the kernel sends for what a process itself does, whatever it is. */
	const signal_set faults = SIGNAL_BIT(SIGILL) | SIGNAL_BIT(SIGTRAP) | SIGNAL_BIT(SIGBUS) | SIGNAL_BIT(SIGFPE) |
				  SIGNAL_BIT(SIGSEGV) | SIGNAL_BIT(SIGSYS);
	/* Nobody returns from it, but x64 takes no handler without a way back. */
	const uint64_t action[4] = {(uint64_t)(uintptr_t)end_by, SA_RESTORER, (uint64_t)(uintptr_t)end_by, ~0ull};

	for (int signal = 1; signal <= SIGNALS; signal++)
		if (!((passed | faults) & SIGNAL_BIT(signal)))
			SYS_4(__NR_rt_sigaction, signal, action, 0, sizeof(passed));
}

long hold(struct session *session, int fifo, int heeds)
{
	const struct control_message message = {.kind = CONTROL_HELD};
	char byte;
	long n;

	if (heeds)
		heed_signals();
	n = SYS_6(__NR_sendto, session->control, &message, sizeof(message), MSG_NOSIGNAL, 0, 0);
	if (n < 0)
		return n;
	sys_close(session->control);
	session->control = fifo;
	session->is_held = 1;
	do
		n = SYS_3(__NR_read, fifo, &byte, 1);
	while (n == -EINTR);
	return n < 0 ? n : 0;
}
