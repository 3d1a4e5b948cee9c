/* SPDX-License-Identifier: MIT */
/*
 * A restore by CRIU's service ("criu swrk"): one request, which TypeScript has
 * encoded, and then notifications, each of which CRIU waits to be answered. What is
 * read here is protocol buffers, of criu/images/rpc.proto, as far as it is looked at.
 */
#include "abi.h"
#include "builtins.h"
#include "control.h"
#include "sys.h"

#include <linux/fcntl.h>
#include <linux/poll.h>

/* enum criu_req_type */
#define CRIU_RESTORE 2
#define CRIU_NOTIFY 6

/* struct criu_resp, as far as it is looked at */
struct response {
	uint64_t type, success, pid;
	const char *script;
	size_t script_length;
};

/* Encoded bytes that are still to be read. */
struct bytes {
	const uint8_t *at, *end;
};

/* The next number of seven bits a byte, the lowest first. Returns 0 when there is no whole one. */
static int take_number(struct bytes *from, uint64_t *value)
{
	*value = 0;
	for (int shift = 0; shift < 64 && from->at < from->end; shift += 7) {
		uint8_t byte = *from->at++;

		*value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return 1;
	}
	return 0;
}

/* The next field: its number, and either its value or its bytes. Returns 0 at the end, and for what is no field. */
static int take_field(struct bytes *from, uint64_t *field, uint64_t *value, struct bytes *content)
{
	uint64_t key, length;

	if (!take_number(from, &key))
		return 0;
	*field = key >> 3;
	*content = (struct bytes){0, 0};
	if ((key & 7) == 0)
		return take_number(from, value);
	if ((key & 7) != 2 || !take_number(from, &length) || length > (uint64_t)(from->end - from->at))
		return 0;
	*content = (struct bytes){from->at, from->at + length};
	from->at += length;
	return 1;
}

static struct response parse(struct bytes message)
{
	struct response response = {0};
	struct bytes inner, text;
	uint64_t field, value;

	while (take_field(&message, &field, &value, &inner)) {
		uint64_t kind = field;

		if (kind == 1 && !inner.at)
			response.type = value;
		else if (kind == 2 && !inner.at)
			response.success = value;
		/* restore: pid = 1. notify: script = 1, pid = 2. */
		while ((kind == 4 || kind == 5) && take_field(&inner, &field, &value, &text)) {
			if (!text.at && field == (kind == 4 ? 1 : 2))
				response.pid = value;
			else if (kind == 5 && field == 1 && text.at) {
				response.script = (const char *)text.at;
				response.script_length = (size_t)(text.end - text.at);
			}
		}
	}
	return response;
}

/*
 * Waits for a message. Returns 0 when CRIU has ended without one: what it has restored so far has
 * the socket's other end, too, and nobody hears of it there.
 */
static long wait_message(int socket, int criu)
{
	struct pollfd fds[2] = {{.fd = socket, .events = POLLIN}, {.fd = criu, .events = POLLIN}};
	long n;

	do
		n = SYS_5(__NR_ppoll, fds, 2, 0, 0, 0);
	while (n == -EINTR);
	return n < 0 ? n : fds[0].revents != 0;
}

/* What CRIU has left behind: the container's first process is a child of ours, and takes its namespace along. */
void kill_children(void)
{
	char text[512];
	long fd = SYS_4(__NR_openat, AT_FDCWD, "/proc/thread-self/children", O_RDONLY | O_CLOEXEC, 0);
	long n = fd < 0 ? fd : SYS_3(__NR_read, fd, text, sizeof(text)), pid = 0;

	for (long i = 0; i < n; i++)
		if (text[i] >= '0' && text[i] <= '9') {
			pid = pid * 10 + (text[i] - '0');
		} else {
			if (pid > 0)
				SYS_2(__NR_kill, pid, SIGKILL);
			pid = 0;
		}
	if (fd >= 0)
		sys_close((int)fd);
}

/* One message, and the descriptor that came with it, or -1. */
static long receive(int socket, int criu, void *to, size_t size, int *fd)
{
	struct span span = {to, size};
	struct {
		struct control_header header;
		int fd, pad;
	} control;
	struct message_header header = {.spans = &span,
					.span_count = 1,
					.control = &control,
					.control_length = sizeof(control)};
	long n = wait_message(socket, criu);

	*fd = -1;
	if (n <= 0)
		return n;
	do
		n = SYS_3(__NR_recvmsg, socket, &header, MSG_CMSG_CLOEXEC);
	while (n == -EINTR);
	*fd = n > 0 && header.control_length >= sizeof(control.header) + sizeof(int) ? control.fd : -1;
	return n;
}

static long answer(int socket, const void *message, size_t length)
{
	long n = SYS_6(__NR_sendto, socket, message, length, MSG_NOSIGNAL, 0, 0);

	return n < 0 ? n : 0;
}

/* The master of a terminal that was restored: whoever had the one before gets it. */
static long hand_over(const struct session *session, int fd, int console)
{
	struct control_message message = {.kind = CONTROL_FD};
	char name[] = "/dev/ptmx";
	long n = console >= 0 ? pass_fd(console, fd, name, sizeof(name) - 1)
			      : pass_fd(session->control, fd, &message, sizeof(message));

	sys_close(fd);
	return n < 0 ? n : 0;
}

long talk_to_criu(const struct session *session, const uint64_t *a)
{
	/* criu_req: type = NOTIFY, notify_success = true */
	static const uint8_t done[] = {0x08, CRIU_NOTIFY, 0x18, 1};
	const char *until = (const char *)(uintptr_t)a[3];
	int socket = (int)a[0];
	const uint8_t *request = (const uint8_t *)(uintptr_t)a[1];
	uint32_t length = 0;
	long error;

	/* Without a request it goes on after the notification that was waited for. */
	if (request)
		memcpy(&length, request, sizeof(length));
	error = request ? answer(socket, request + sizeof(length), length) : answer(socket, done, sizeof(done));

	while (!error) {
		uint8_t text[4096];
		struct response response;
		int fd;
		long n = receive(socket, (int)a[2], text, sizeof(text), &fd);

		if (n <= 0) {
			kill_children();
			return n < 0 ? n : -EPIPE;
		}
		response = parse((struct bytes){text, text + n});
		if (fd >= 0 && (error = hand_over(session, fd, (int)a[4])))
			return error;
		if (!response.success)
			return -EREMOTEIO;
		if (response.type == CRIU_RESTORE)
			return until ? -EPROTO : (long)response.pid;
		if (response.type != CRIU_NOTIFY)
			return -EPROTO;
		if (until && response.script && response.script_length == strlen(until) &&
		    !memcmp(response.script, until, response.script_length))
			return (long)response.pid;
		error = answer(socket, done, sizeof(done));
	}
	return error;
}
