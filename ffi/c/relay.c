/* SPDX-License-Identifier: MIT */
#include "relay.h"
#include "abi.h"
#include "clients.h"
#include "log.h"
#include "sys.h"

#include <asm/ioctls.h>
#include <asm/termios.h>
#include <linux/fcntl.h>
#include <linux/poll.h>
#include <linux/time_types.h>

#define FINISH_MS 2000	      /* how long the end waits for clients that do not read */
#define DRAIN_BYTES (2u << 20) /* of each stream at the end: more than any pipe holds */

static struct {
	uint32_t flags;
	int pidfd, listen, terminal;
	int input;     /* the container's stdin, or its terminal */
	int output[2]; /* its stdout and stderr; the first may be its terminal */
	int turn;      /* which of both is read first next time */
	bool accept_later; /* out of descriptors or memory */
	bool input_ends;   /* close the input once the rest is written */
	bool awaits_end;   /* of the first client's input, with which the container's ends */
	size_t input_at, input_end; /* what of `in` is not written yet */
	struct log log;
	char in[MESSAGE_BYTES];
} relay;

static void no_blocking(int fd)
{
	long flags = fd < 0 ? fd : SYS_2(__NR_fcntl, fd, F_GETFL);

	if (flags >= 0)
		SYS_3(__NR_fcntl, fd, F_SETFL, flags | O_NONBLOCK);
}

static int from_register(const struct session *session, uint8_t reg)
{
	return reg == NO_REG ? -1 : (int)session->regs[reg];
}

void relay_open(struct session *session, int terminal)
{
	const struct plan_monitor *plan = &session->plan.header->monitor;

	relay.flags = plan->flags;
	relay.pidfd = (int)session->regs[plan->pid_reg + 1];
	relay.listen = from_register(session, plan->listen_reg);
	relay.terminal = terminal;
	relay.input = terminal >= 0 ? terminal : from_register(session, plan->stdin_reg);
	relay.output[0] = terminal >= 0 ? terminal : from_register(session, plan->stdout_reg);
	relay.output[1] = from_register(session, plan->stderr_reg);
	/* The monitor keeps the terminal's other end open too: an init may close its console and open it again. */
	if (terminal >= 0)
		SYS_3(__NR_ioctl, terminal, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	no_blocking(relay.listen);
	no_blocking(relay.input);
	no_blocking(relay.output[0]);
	no_blocking(relay.output[1]);
	clients_open();
	relay.log.fd = -1;
	relay.log.dir_fd = plan->flags & MONITOR_LOG ? from_register(session, plan->log_dir_reg) : -1;
	relay.log.files = plan->log_files;
	relay.log.limit = plan->log_bytes;
}

/* Reads once from one of the container's streams. Returns the bytes; the message before must be gone. */
static size_t read_output(int stream)
{
	long n = SYS_3(__NR_read, relay.output[stream], clients.message + 1, MESSAGE_BYTES - 1);

	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n <= 0) {
		if (relay.output[stream] != relay.terminal)
			sys_close(relay.output[stream]);
		relay.output[stream] = -1;
		return 0;
	}
	clients.message[0] = stream ? MESSAGE_STDERR : MESSAGE_STDOUT;
	clients.length = (size_t)n + 1;
	if (relay.log.dir_fd >= 0)
		log_append(&relay.log, stream, clients.message + 1, (size_t)n);
	clients_spread();
	return (size_t)n;
}

static bool input_busy(void)
{
	return relay.input_at < relay.input_end;
}

static void close_input(void)
{
	if (relay.input >= 0 && relay.input != relay.terminal) {
		sys_close(relay.input);
		relay.input = -1;
	}
}

static void end_input(void)
{
	relay.awaits_end = false;
	if (input_busy())
		relay.input_ends = true;
	else
		close_input();
}

static void input_done(void)
{
	relay.input_at = relay.input_end = 0;
	for (int i = 0; i < CLIENTS; i++) {
		struct client *client = &clients.at[i];

		client->held = false;
		client->taken |= client->gives;
		client->gives = false;
		client_catch_up(client);
	}
	if (relay.input_ends)
		close_input();
}

/* Nobody reads the input any more: who gave it is not asked for more. */
static void input_broke(void)
{
	for (int i = 0; relay.input != relay.terminal && i < CLIENTS; i++)
		clients.at[i].gives = false;
	close_input();
	input_done();
}

static void write_input(void)
{
	while (input_busy()) {
		long n = SYS_3(__NR_write, relay.input, relay.in + relay.input_at,
			       relay.input_end - relay.input_at);

		if (n == 0 || n == -EAGAIN)
			return;
		if (n < 0 && n != -EINTR) {
			input_broke();
			return;
		}
		if (n > 0)
			relay.input_at += (size_t)n;
	}
	input_done();
}

static void resize(const char *payload)
{
	struct winsize size = {0};

	memcpy(&size.ws_row, payload, 2);
	memcpy(&size.ws_col, payload + 2, 2);
	if (relay.terminal >= 0)
		SYS_3(__NR_ioctl, relay.terminal, TIOCSWINSZ, &size);
}

/* Carries out a client's message, which lies in relay.in unless input was under way. */
static void act(struct client *client, const char *message, size_t n)
{
	switch (message[0]) {
	case MESSAGE_STDIN:
		if (relay.input < 0)
			return;
		client->gives = true;
		relay.input_at = 1;
		relay.input_end = n;
		write_input();
		return;
	case MESSAGE_STDIN_END:
		if (client->first && relay.awaits_end)
			end_input();
		return;
	case MESSAGE_RESIZE:
		if (n == 5)
			resize(message + 1);
		return;
	case MESSAGE_SIGNAL:
		if (n == 2)
			SYS_4(__NR_pidfd_send_signal, relay.pidfd, (uint8_t)message[1], 0, 0);
		return;
	case MESSAGE_QUIET:
		client->quiet = true;
		client->owed = false;
		return;
	default:
		client_drop(client);
	}
}

static void receive(struct client *client)
{
	char few[8], *to = relay.in;
	size_t room = MESSAGE_BYTES;
	long n;

	if (input_busy()) {
		to = few;
		room = sizeof(few);
		n = SYS_6(__NR_recvfrom, client->fd, few, 1, MSG_PEEK | MSG_DONTWAIT, 0, 0);
		if (n == 1 && few[0] == MESSAGE_STDIN) {
			client->held = true;
			return;
		}
	}
	n = SYS_6(__NR_recvfrom, client->fd, to, room, MSG_DONTWAIT, 0, 0);
	if (n > 0)
		act(client, to, (size_t)n);
	else if (n != -EAGAIN && n != -EINTR)
		client_drop(client);
}

void relay_first(int fd)
{
	clients.at[0] = (struct client){.fd = fd, .first = true};
	relay.awaits_end = relay.flags & MONITOR_STDIN_ONCE;
}

enum place { WAKE, LISTEN, INPUT, OUTPUT, FIRST_CLIENT = OUTPUT + 2, PLACES = FIRST_CLIENT + CLIENTS };

static void wait_for(struct pollfd fds[PLACES], int wake)
{
	struct __kernel_timespec second = {.tv_sec = 1};
	bool owed = clients_owed();

	fds[WAKE] = (struct pollfd){.fd = wake, .events = POLLIN};
	fds[LISTEN] = (struct pollfd){.fd = relay.accept_later ? -1 : relay.listen, .events = POLLIN};
	fds[INPUT] = (struct pollfd){.fd = input_busy() ? relay.input : -1, .events = POLLOUT};
	for (int i = 0; i < 2; i++)
		fds[OUTPUT + i] = (struct pollfd){.fd = owed ? -1 : relay.output[i], .events = POLLIN};
	for (int i = 0; i < CLIENTS; i++) {
		const struct client *client = &clients.at[i];
		int events = (client->held ? 0 : POLLIN) | (client->owed || client->taken ? POLLOUT : 0);

		fds[FIRST_CLIENT + i] = (struct pollfd){.fd = client->fd, .events = (short)events};
	}
	SYS_5(__NR_ppoll, fds, PLACES, relay.accept_later ? &second : 0, 0, 0);
	relay.accept_later = false;
}

/* Out of descriptors or memory: trying again at once would only burn time. */
static bool lacks_room(int error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS;
}

void relay_run(int wake)
{
	for (;;) {
		struct pollfd fds[PLACES] = {0};

		wait_for(fds, wake);
		if (fds[WAKE].revents)
			return;
		for (int i = 0; i < CLIENTS; i++) {
			struct client *client = &clients.at[i];
			short ready = fds[FIRST_CLIENT + i].revents;

			if (ready & POLLOUT)
				client_catch_up(client);
			if (client->fd < 0 || !(ready & (POLLIN | POLLHUP | POLLERR)))
				continue;
			/* It is gone, and its last input would come too late. */
			if (client->held)
				client_drop(client);
			else
				receive(client);
		}
		if (fds[INPUT].revents && input_busy())
			write_input();
		for (int i = 0; i < 2; i++) {
			int stream = relay.turn ^ i;

			if (fds[OUTPUT + stream].revents && !clients_owed())
				read_output(stream);
		}
		relay.turn ^= 1;
		/* It was killed: nobody else can say that nothing more comes, and who reads would wait for ever. */
		if (relay.awaits_end && !clients.at[0].first)
			end_input();
		if (fds[LISTEN].revents)
			relay.accept_later = lacks_room(clients_accept(relay.listen));
	}
}

void relay_finish(void)
{
	uint64_t deadline_ms = now_ms() + FINISH_MS;

	/* What is left fits into the sockets then, so that a slow reader (a pager) need not be waited for. */
	clients_widen();
	clients_settle(deadline_ms);
	for (int stream = 0; stream < 2; stream++) {
		size_t drained = 0, n;

		/* Processes outside of the container's PID namespace may hold the pipe and go on writing. */
		while (drained < DRAIN_BYTES && relay.output[stream] >= 0 && (n = read_output(stream))) {
			drained += n;
			clients_settle(deadline_ms);
		}
	}
	if (relay.log.dir_fd >= 0)
		log_finish(&relay.log);
}

void relay_exited(uint32_t wait_status)
{
	/* Who connected while the container ended hears of it as well; EXITED has removed the socket's name. */
	while (relay.listen >= 0 && clients_accept(relay.listen) == 0)
		;
	clients.message[0] = MESSAGE_EXITED;
	memcpy(clients.message + 1, &wait_status, sizeof(wait_status));
	clients.length = 1 + sizeof(wait_status);
	clients_spread();
	clients_settle(now_ms() + FINISH_MS);
}
