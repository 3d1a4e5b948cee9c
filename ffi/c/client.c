/* SPDX-License-Identifier: MIT */
/*
 * The client: what the user waits for. It has the caller's pid and terminal,
 * passes on what goes in and out, and ends as the container ends.
 */
#include "abi.h"
#include "session.h"
#include "sys.h"

#include <asm/ioctls.h>
#include <asm/termios.h>
#include <linux/fcntl.h>
#include <linux/poll.h>
#include <linux/signalfd.h>
#include <stdbool.h>

#define OUR_FAILURE 125
#define STATUS_UNKNOWN 255
#define WRITE_BYTES 4096 /* a pipe that polls as writable takes so much without blocking */
#define KEYS_BYTES 8	 /* room that an interrupted detach sequence may need */
#define ARGUMENTS 64	 /* of the command that explains a failure */

/* What is not passed on: what stops or tells of this process itself, and its own faults. */
#define KEPT_SIGNALS                                                                              \
	(SIGNAL_BIT(SIGCHLD) | SIGNAL_BIT(SIGURG) | SIGNAL_BIT(SIGPIPE) | SIGNAL_BIT(SIGKILL) |   \
	 SIGNAL_BIT(SIGSTOP) | SIGNAL_BIT(SIGTSTP) | SIGNAL_BIT(SIGTTIN) | SIGNAL_BIT(SIGTTOU) |  \
	 SIGNAL_BIT(SIGSEGV) | SIGNAL_BIT(SIGBUS) | SIGNAL_BIT(SIGILL) | SIGNAL_BIT(SIGFPE) |     \
	 SIGNAL_BIT(SIGTRAP) | SIGNAL_BIT(SIGSYS))

static struct {
	const struct session *session;
	const struct plan_monitor *plan;
	int connection, signals;
	bool relaying;	  /* the command runs */
	bool raw;	  /* the terminal is ours to restore */
	bool reads;	  /* stdin may bring more */
	bool ends;	  /* the end of stdin is still to be told */
	bool credit;	  /* the monitor takes input */
	bool write_failed;
	int target;	  /* where the message under way goes: 1 or 2 */
	size_t out_at, out_end; /* what of `out` is not written yet */
	size_t in_end;	  /* bytes of `in`, its first the message's kind */
	size_t matched;	  /* detach keys that were pressed */
	struct termios terminal; /* as it was */
	char in[MESSAGE_BYTES];
	char out[MESSAGE_BYTES];
} client;

static void restore_terminal(void)
{
	if (client.raw)
		SYS_3(__NR_ioctl, 0, TCSETS, &client.terminal);
	client.raw = false;
}

__attribute__((noreturn)) static void leave(int status)
{
	restore_terminal();
	sys_exit(status);
}

static void report(uint32_t kind, uint32_t a, uint32_t b, uint32_t c)
{
	const struct plan_report report = {kind, a, b, c};

	if (client.plan->report_fd >= 0)
		SYS_3(__NR_write, client.plan->report_fd, &report, sizeof(report));
}

static void unblock_signals(void)
{
	const signal_set none = 0;

	SYS_4(__NR_rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof(none));
}

/* The engine has the words: it gets section, step, errno, and the plan's descriptor. */
__attribute__((noreturn)) static void fail(const uint32_t why[3])
{
	const uint64_t numbers[4] = {why[0], why[1], why[2], (uint64_t)client.session->plan_fd};
	const uint8_t *data = client.session->plan.data;
	char *const *words = (char *const *)(const void *)(data + client.plan->failed);
	const void *environment = client.plan->environment ? data + client.plan->environment
							   : (const void *)client.session->environment;
	char digits[4][24];
	const char *argv[ARGUMENTS + 5] = {0};
	int n = 0;

	restore_terminal();
	report(REPORT_FAILED, why[0], why[1], why[2]);
	if (client.plan->report_fd >= 0 || !client.plan->failed)
		sys_exit(OUR_FAILURE);
	for (; words[n] && n < ARGUMENTS; n++)
		argv[n] = words[n];
	for (int i = 0; i < 4; i++) {
		decimal(digits[i], numbers[i]);
		argv[n++] = digits[i];
	}
	SYS_3(__NR_fcntl, client.session->plan_fd, F_SETFD, 0);
	unblock_signals();
	SYS_3(__NR_execve, argv[0], argv, environment);
	sys_exit(OUR_FAILURE);
}

__attribute__((noreturn)) static void connection_lost(void)
{
	static const char words[] =
		"bb: the monitor of this container was killed; its exit status is unknown\n";

	restore_terminal();
	SYS_3(__NR_write, 2, words, sizeof(words) - 1);
	sys_exit(STATUS_UNKNOWN);
}

static void send(const void *message, size_t n)
{
	long sent;

	do
		sent = SYS_6(__NR_sendto, client.connection, message, n, MSG_NOSIGNAL, 0, 0);
	while (sent == -EINTR);
}

static void send_size(uint16_t more_rows)
{
	struct winsize size;
	char message[5] = {MESSAGE_RESIZE};

	if (!(client.plan->flags & MONITOR_TTY) || SYS_3(__NR_ioctl, 0, TIOCGWINSZ, &size) < 0)
		return;
	size.ws_row = (uint16_t)(size.ws_row + more_rows);
	memcpy(message + 1, &size.ws_row, 2);
	memcpy(message + 3, &size.ws_col, 2);
	send(message, sizeof(message));
}

/* Every key goes through as it is; what it means is for the container's terminal to say. */
static void make_raw(void)
{
	struct termios raw;

	if (SYS_3(__NR_ioctl, 0, TCGETS, &client.terminal) < 0)
		return;
	raw = client.terminal;
	raw.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
	raw.c_oflag &= ~(tcflag_t)OPOST;
	raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
	raw.c_cflag &= ~(tcflag_t)(CSIZE | PARENB);
	raw.c_cflag |= CS8;
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	client.raw = SYS_3(__NR_ioctl, 0, TCSETS, &raw) == 0;
}

static void start_relaying(void)
{
	if (client.relaying)
		return;
	client.relaying = true;
	if (client.plan->flags & MONITOR_STDIN) {
		client.reads = client.ends = client.credit = true;
		if (client.plan->flags & MONITOR_TTY)
			make_raw();
	}
	/* A size that changes makes full-screen programs draw themselves again. */
	if (client.plan->flags & MONITOR_CLIENT_ONLY)
		send_size(1);
	send_size(0);
}

static void send_input(void)
{
	const char end = MESSAGE_STDIN_END;

	if (client.credit && client.in_end > 1) {
		client.in[0] = MESSAGE_STDIN;
		send(client.in, client.in_end);
		client.in_end = 1;
		client.credit = false;
	}
	if (client.ends && !client.reads && client.in_end == 1) {
		client.ends = false;
		send(&end, 1);
	}
}

/* The keys of a sequence that may still become detaching are kept back until it is decided. */
static void take_key(char key)
{
	const uint8_t *keys = client.plan->detach_keys;

	if ((uint8_t)key != keys[client.matched]) {
		memcpy(client.in + client.in_end, keys, client.matched);
		client.in_end += client.matched;
		client.matched = 0;
	}
	if (!keys[0] || (uint8_t)key != keys[client.matched]) {
		client.in[client.in_end++] = key;
		return;
	}
	if (keys[++client.matched])
		return;
	send_input();
	leave(0);
}

static size_t input_room(void)
{
	size_t used = client.in_end + client.matched + KEYS_BYTES;

	return used < sizeof(client.in) ? sizeof(client.in) - used : 0;
}

static void read_input(void)
{
	char keys[256];
	size_t room = input_room();
	char *to = client.raw ? keys : client.in + client.in_end;
	long n = SYS_3(__NR_read, 0, to, client.raw && room > sizeof(keys) ? sizeof(keys) : room);

	if (n == -EAGAIN || n == -EINTR)
		return;
	/* A raw terminal has no end: it was hung up. The container stays, and can be attached to again. */
	if (n <= 0 && client.raw)
		leave(128 + SIGHUP);
	if (n <= 0)
		client.reads = false;
	else if (client.raw)
		for (long i = 0; i < n; i++)
			take_key(keys[i]);
	else
		client.in_end += (size_t)n;
}

/* Nobody reads our output any more: end as any program does. */
__attribute__((noreturn)) static void broken_pipe(void)
{
	restore_terminal();
	SYS_2(__NR_kill, SYS_0(__NR_getpid), SIGPIPE);
	unblock_signals();
	sys_exit(128 + SIGPIPE);
}

/* Nothing more would come out, and whoever waits for it has to know. */
__attribute__((noreturn)) static void output_failed(long error)
{
	static const char full[] = "bb: Cannot write the output: there is no space left\n";
	static const char other[] = "bb: Cannot write the output: the kernel does not take it\n";
	const bool is_full = error == -ENOSPC || error == -EDQUOT || error == -EFBIG;

	restore_terminal();
	SYS_3(__NR_write, 2, is_full ? full : other, (is_full ? sizeof(full) : sizeof(other)) - 1);
	sys_exit(OUR_FAILURE);
}

static void write_output(void)
{
	size_t left = client.out_end - client.out_at;
	long n = SYS_3(__NR_write, client.target, client.out + client.out_at,
		       left < WRITE_BYTES ? left : WRITE_BYTES);

	if (n == -EPIPE)
		broken_pipe();
	if (n == -EAGAIN || n == -EINTR)
		return;
	if (n < 0) {
		/*
		 * A caller that closed its stdout wanted none, and a terminal that was hung
		 * up is for the command to hear of, by SIGHUP; a full disk is a failure.
		 */
		if (n != -EBADF && n != -EIO)
			output_failed(n);
		client.write_failed |= n == -EIO;
		client.out_at = client.out_end;
		return;
	}
	client.out_at += (size_t)n;
}

/* The pid, the wait status, or section, step and errno, behind a message's first byte. */
static void values_of(size_t n, uint32_t values[3])
{
	memset(values, 0, 3 * sizeof(*values));
	if (n > 1)
		memcpy(values, client.out + 1, n - 1 < 12 ? n - 1 : 12);
}

static void receive(void)
{
	long n = SYS_6(__NR_recvfrom, client.connection, client.out, sizeof(client.out), 0, 0, 0);
	uint32_t values[3];

	/*
	 * A monitor that ends with input of ours unread resets the connection, and
	 * SOCK_SEQPACKET tells of that, once, before what it sent: its last message
	 * is still there.
	 */
	if (n == -EINTR || n == -EAGAIN || n == -ECONNRESET)
		return;
	if (n <= 0)
		connection_lost();
	values_of((size_t)n, values);
	switch (client.out[0]) {
	case MESSAGE_STARTED:
		report(REPORT_STARTED, values[0], 0, 0);
		if (client.plan->flags & MONITOR_DETACH)
			leave(0);
		start_relaying();
		return;
	case MESSAGE_FAILED:
		fail(values);
	case MESSAGE_EXITED:
		report(REPORT_EXITED, values[0], 0, 0);
		if (client.write_failed && !values[0])
			leave(OUR_FAILURE);
		leave(shell_status((int)values[0]));
	case MESSAGE_STDIN_TAKEN:
		client.credit = true;
		return;
	case MESSAGE_STDOUT:
	case MESSAGE_STDERR:
		if (!(client.plan->flags & MONITOR_ATTACH))
			return;
		client.target = client.out[0] == MESSAGE_STDOUT ? 1 : 2;
		client.out_at = 1;
		client.out_end = (size_t)n;
	}
}

static void read_signals(void)
{
	struct signalfd_siginfo info;
	char message[2] = {MESSAGE_SIGNAL};

	while (SYS_3(__NR_read, client.signals, &info, sizeof(info)) == sizeof(info)) {
		message[1] = (char)info.ssi_signo;
		if (info.ssi_signo == SIGWINCH)
			send_size(0);
		else
			send(message, sizeof(message));
	}
}

/* Whether the client itself works with a descriptor. */
static bool needs(int fd)
{
	return fd < 3 || fd == client.connection || fd == client.signals ||
	       fd == client.session->plan_fd || fd == client.plan->report_fd || fd == client.plan->output_fd;
}

/*
 * Above all the container's lock: it is the monitor's, and must not be held by
 * a client whose reader is stuck after the container has ended.
 */
static void let_go(void)
{
	const int own[] = {client.connection, client.signals, client.session->plan_fd,
			   client.plan->report_fd, client.plan->output_fd};
	int last = 2;

	for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++)
		if (own[i] > last)
			last = own[i];
	for (int fd = 3; fd < last; fd++)
		if (!needs(fd))
			sys_close(fd);
	SYS_3(__NR_close_range, last + 1, ~0u, 0);
}

/* SIGPIPE is blocked too, so that a broken pipe can restore the terminal first. */
static void open_signals(void)
{
	const signal_set heard = ~KEPT_SIGNALS, blocked = heard | SIGNAL_BIT(SIGPIPE);

	client.signals = -1;
	if (client.plan->flags & MONITOR_DETACH) {
		unblock_signals();
		return;
	}
	SYS_4(__NR_rt_sigprocmask, SIG_SETMASK, &blocked, 0, sizeof(blocked));
	client.signals = (int)SYS_4(__NR_signalfd4, -1, &heard, sizeof(heard), SFD_NONBLOCK | SFD_CLOEXEC);
	if (client.signals < 0)
		unblock_signals();
}

void client_explain(struct session *session, const uint32_t why[3])
{
	client.session = session;
	client.plan = &session->plan.header->monitor;
	fail(why);
}

void client_fail(struct session *session, uint32_t error)
{
	const uint32_t why[3] = {SECTION_PREPARE,
				 session->plan.header->sections[SECTION_PREPARE].first, error};

	client_explain(session, why);
}

void client_main(struct session *session, int connection)
{
	client.session = session;
	client.plan = &session->plan.header->monitor;
	client.connection = connection;
	client.in_end = 1;
	open_signals();
	let_go();
	if (client.plan->flags & MONITOR_CLIENT_ONLY)
		start_relaying();
	for (;;) {
		bool writes = client.out_at < client.out_end;
		struct pollfd fds[4] = {
			{.fd = client.signals, .events = POLLIN},
			{.fd = writes ? -1 : client.connection, .events = POLLIN},
			{.fd = client.reads && input_room() ? 0 : -1, .events = POLLIN},
			{.fd = writes ? client.target : -1, .events = POLLOUT},
		};

		SYS_5(__NR_ppoll, fds, 4, 0, 0, 0);
		if (fds[0].revents)
			read_signals();
		if (fds[2].revents)
			read_input();
		if (fds[3].revents)
			write_output();
		if (fds[1].revents)
			receive();
		send_input();
	}
}
