/* SPDX-License-Identifier: MIT */
/* What a plan was made of, read again; engine/kept/facts.ts and ffi/src/fs.ts read the same. */
#include "abi.h"
#include "builtins.h"
#include "facts.h"
#include "line.h"
#include "sys.h"

#include <linux/openat2.h>
#include <linux/sockios.h>
#include <linux/stat.h>

#define AT_FDCWD (-100)
#define AT_EMPTY_PATH 0x1000
#define AF_INET 2
#define AF_NETLINK 16
#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define SO_BINDTOIFINDEX 62
#define IFF_UP 1
#define O_RDONLY 0
#define O_NOCTTY 0400
#define O_NONBLOCK 04000
#define O_CLOEXEC 02000000
#define O_PATH 010000000
#if defined(__aarch64__)
#define O_DIRECTORY 040000
#else
#define O_DIRECTORY 0200000
#endif

int open_file(const char *path, int flags)
{
	return (int)SYS_4(__NR_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0);
}

static long read_all(int fd, char *text)
{
	long have = 0;

	for (;;) {
		long n = SYS_3(__NR_read, fd, text + have, TEXT_MAX - have);

		if (n < 0)
			return n;
		if (n == 0)
			return have;
		have += n;
		if (have == TEXT_MAX)
			return -E2BIG;
	}
}

static long read_at(int directory, const char *path, char *text)
{
	int fd = (int)SYS_4(__NR_openat, directory, path, O_RDONLY | O_NOCTTY | O_CLOEXEC, 0);
	long n = fd < 0 ? fd : read_all(fd, text);

	if (fd >= 0)
		sys_close(fd);
	return n == -ENOENT || n == -ENOTDIR || n == -ESRCH ? 0 : n;
}

/* All of a file of less than TEXT_MAX bytes; nothing of one that is not there. Returns its length or -errno. */
static long read_path(const char *path, char *text) { return read_at(AT_FDCWD, path, text); }

static int contains(const char *text, size_t bytes, const char *what)
{
	size_t n = strlen(what);

	for (size_t at = 0; at + n <= bytes; at++)
		if (text[at] == *what && memcmp(text + at, what, n) == 0)
			return 1;
	return 0;
}

/* Leaves only the lines with `what` in them. Returns what is left of `bytes`. */
static size_t keep_lines(char *text, size_t bytes, const char *what)
{
	size_t kept = 0;

	for (size_t at = 0, end; at < bytes; at = end) {
		for (end = at; end < bytes && text[end++] != '\n';)
			;
		if (contains(text + at, end - at, what)) {
			memmove(text + kept, text + at, end - at);
			kept += end - at;
		}
	}
	return kept;
}

/* The lines of a file with `what` in them: the host's list of mounts may be many times TEXT_MAX. */
static long read_lines(const char *path, const char *what, char *text)
{
	size_t kept = 0, have = 0, end;
	int fd = open_file(path, O_RDONLY | O_NOCTTY);
	long n = fd < 0 ? fd : 1;

	while (n > 0) {
		n = SYS_3(__NR_read, fd, text + have, TEXT_MAX - have);
		if (n < 0)
			break;
		have += (size_t)n;
		/* A line that has not come to its end waits for what follows. */
		for (end = have; n && end > kept && text[end - 1] != '\n'; end--)
			;
		size_t lines = keep_lines(text + kept, end - kept, what);

		memmove(text + kept + lines, text + end, have - end);
		kept += lines;
		have = kept + (have - end);
		if (have == TEXT_MAX)
			n = -E2BIG;
	}
	if (fd >= 0)
		sys_close(fd);
	if (n == 0)
		return (long)kept;
	return n == -ENOENT || n == -ENOTDIR || n == -ESRCH ? 0 : n;
}

/*
 * The fields that `letters` name, each followed by a blank: d(evice), i(node),
 * s(ize), m(odification), c(hange), u(ser), p(ermissions and type), and any other
 * letter for its being there. Nothing when there is no such file.
 */
static size_t node_text(const char *path, const char *letters, char *text)
{
	struct statx node = {0};
	size_t n = 0;

	if (SYS_5(__NR_statx, AT_FDCWD, path, 0, STATX_BASIC_STATS, &node) < 0)
		return 0;
	for (; *letters && n + 64 < TEXT_MAX; letters++) {
		uint64_t value = *letters == 'i' ? node.stx_ino : *letters == 's' ? node.stx_size : *letters == 'u' ? node.stx_uid : *letters == 'p' ? node.stx_mode : 1;

		if (*letters == 'd') {
			n += decimal(text + n, node.stx_dev_major);
			text[n++] = ':';
			value = node.stx_dev_minor;
		} else if (*letters == 'm' || *letters == 'c') {
			const struct statx_timestamp *time = *letters == 'm' ? &node.stx_mtime : &node.stx_ctime;

			n += decimal(text + n, (uint64_t)time->tv_sec);
			text[n++] = '.';
			value = time->tv_nsec;
		}
		n += decimal(text + n, value);
		text[n++] = ' ';
	}
	return n;
}

/* A plain file below a root that is not trusted: links stay inside it, and nothing there holds us up. */
static long read_below(const char *root, const char *path, char *text)
{
	struct open_how how = {.flags = O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	struct statx node = {0};
	int top = open_file(root, O_PATH | O_DIRECTORY), fd;
	long n = 0;

	if (top < 0)
		return top;
	fd = (int)SYS_4(__NR_openat2, top, path, &how, sizeof(how));
	sys_close(top);
	if (fd < 0)
		return 0;
	if (SYS_5(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_TYPE, &node) == 0 && (node.stx_mode & S_IFMT) == S_IFREG)
		n = read_all(fd, text);
	sys_close(fd);
	return n;
}

static int is_variable(const char *entry, const char *name)
{
	while (*name && *entry == *name) {
		entry++;
		name++;
	}
	return !*name && *entry == '=';
}

/* The variable of that name, or all of them, a line each. Returns the length of what is now in `text`, or -E2BIG. */
static long environment_text(char *const *environment, const char *name, char *text)
{
	size_t n = 0;

	for (; *environment; environment++) {
		size_t bytes = strlen(*environment);

		if (*name && !is_variable(*environment, name))
			continue;
		if (n + bytes + 1 > TEXT_MAX)
			return -E2BIG;
		memcpy(text + n, *environment, bytes);
		n += bytes;
		text[n++] = '\n';
	}
	return (long)n;
}

/* Fields of /proc/PID/stat. */
#define STAT_THREADS 20
#define STAT_START 22

/* Where a field begins; `state` is the third. Returns 0 if there is none. */
static size_t stat_field(const char *text, size_t bytes, int wanted, char *state)
{
	size_t at = bytes;

	/* The command's name may hold anything, but ends at the last parenthesis. */
	while (at && text[at - 1] != ')')
		at--;
	if (at == 0 || at + 2 > bytes)
		return 0;
	*state = text[at + 1];
	for (int field = 2; field < wanted; field++) {
		while (at < bytes && text[at] != ' ')
			at++;
		if (at++ >= bytes)
			return 0;
	}
	return at;
}

static size_t digits_at(const char *text, size_t bytes)
{
	size_t n = 0;

	while (n < bytes && text[n] >= '0' && text[n] <= '9')
		n++;
	return n;
}

/* A zombie has ended, unless it is only the first of threads that go on. */
static int is_ended(const char *text, size_t bytes)
{
	char state = 0;
	size_t at = stat_field(text, bytes, STAT_THREADS, &state);

	return !at || state == 'X' || (state == 'Z' && digits_at(text + at, bytes - at) == 1 && text[at] <= '1');
}

/* Whether the kernel refuses none of these messages. */
static int is_accepted(const char *protocol, const char *messages, size_t bytes)
{
	uint64_t count = count_messages(messages, bytes);
	int socket, is = 0;
	long number = 0;

	for (; *protocol >= '0' && *protocol <= '9' && number < 100; protocol++)
		number = number * 10 + (*protocol - '0');
	socket = count ? (int)SYS_3(__NR_socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, number) : -1;
	if (socket >= 0) {
		is = netlink_batch(socket, messages, bytes, count) == 0;
		sys_close(socket);
	}
	return is;
}

/* Whether the interface has the address: what is sent to that, by this interface, has it for its source, too. */
static int has_address(int32_t interface, const char *digits)
{
	struct {
		uint16_t family, port;
		uint8_t address[4];
		uint8_t rest[8];
	} wanted = {.family = AF_INET, .port = 1}, source;
	int socket, length = sizeof(source), is = 0;

	if (read_digits(digits, wanted.address))
		return 0;
	/* Nothing is sent: connect(2) of a datagram's socket only looks up the way. */
	socket = (int)SYS_3(__NR_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (socket < 0)
		return 0;
	if (SYS_5(__NR_setsockopt, socket, SOL_SOCKET, SO_BINDTOIFINDEX, &interface, sizeof(interface)) == 0 &&
	    SYS_3(__NR_connect, socket, &wanted, sizeof(wanted)) == 0 &&
	    SYS_3(__NR_getsockname, socket, &source, &length) == 0)
		is = memcmp(source.address, wanted.address, sizeof(wanted.address)) == 0;
	sys_close(socket);
	return is;
}

static size_t append(char *text, size_t n, const char *more, size_t bytes)
{
	memcpy(text + n, more, bytes);
	return n + bytes;
}

/* Asked in ways for which neither /sys need be this namespace's, nor anything is waited for that makes links. */
static size_t interface_text(const char *name, const char *digits, char *text)
{
	struct {
		char name[16];
		int32_t value; /* ifr_ifindex, and in its lower half ifr_flags */
		char rest[20];
	} request = {.value = 0};
	size_t n = strlen(name);
	int socket = n < sizeof(request.name) ? (int)SYS_3(__NR_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
	int32_t index;

	if (socket < 0)
		return 0;
	memcpy(request.name, name, n);
	n = SYS_3(__NR_ioctl, socket, SIOCGIFINDEX, &request) ? 0 : decimal(text, (uint32_t)request.value);
	index = request.value;
	if (n && SYS_3(__NR_ioctl, socket, SIOCGIFFLAGS, &request) == 0 && request.value & IFF_UP)
		n = append(text, n, " up", 3);
	sys_close(socket);
	if (n && has_address(index, digits)) {
		n = append(text, n, " ", 1);
		n = append(text, n, digits, ADDRESS_DIGITS);
	}
	return n;
}

int open_process(int directory, const char *path, char *text)
{
	char proc[32] = "/proc/", ticks[24], state = 0;
	long n = read_at(directory, path, text), pid = 0, fd;
	size_t at, pid_digits, digits;

	if (n <= 0)
		return -1;
	pid_digits = digits_at(text, (size_t)n);
	at = stat_field(text, (size_t)n, STAT_START, &state);
	digits = at ? digits_at(text + at, (size_t)n - at) : 0;
	if (!pid_digits || pid_digits > 9 || !digits || digits >= sizeof(ticks))
		return -1;
	for (size_t i = 0; i < pid_digits; i++)
		pid = pid * 10 + (text[i] - '0');
	memcpy(ticks, text + at, digits);
	memcpy(proc + 6, text, pid_digits);
	memcpy(proc + 6 + pid_digits, "/stat", 6);
	fd = SYS_2(__NR_pidfd_open, pid, 0);
	if (fd < 0)
		return fd == -ESRCH ? -ESRCH : -1;
	/* Only now: before, the number could have become somebody else's in between. */
	n = read_path(proc, text);
	at = n > 0 ? stat_field(text, (size_t)n, STAT_START, &state) : 0;
	if (at && !is_ended(text, (size_t)n) && digits_at(text + at, (size_t)n - at) == digits &&
	    memcmp(text + at, ticks, digits) == 0)
		return (int)fd;
	sys_close((int)fd);
	return n < 0 ? -1 : -ESRCH;
}

static int holds(const char *line, const struct line_fact *fact, char *const *environment, char *text)
{
	const char *path = line + fact->path, *detail = line + fact->detail, *value = line + fact->value;
	long n;

	switch (fact->kind) {
	case FACT_TEXT:
		n = *detail ? read_lines(path, detail, text) : read_path(path, text);
		break;
	case FACT_BELOW:
		n = read_below(path, detail, text);
		break;
	case FACT_NODE:
		n = (long)node_text(path, detail, text);
		break;
	case FACT_LINK:
		n = SYS_4(__NR_readlinkat, AT_FDCWD, path, text, TEXT_MAX);
		break;
	case FACT_LACKS:
		n = read_path(path, text);
		return n >= 0 && !contains(text, (size_t)n, detail);
	case FACT_ENVIRONMENT:
		n = environment_text(environment, path, text);
		break;
	case FACT_ACCEPTS:
		return is_accepted(detail, value, fact->value_bytes);
	case FACT_INTERFACE:
		n = (long)interface_text(path, detail, text);
		break;
	default:
		return 0;
	}
	return n >= 0 && (uint64_t)n == fact->value_bytes && memcmp(text, value, (size_t)n) == 0;
}

int facts_hold(const char *line, int late_only, char *const *environment, char *text)
{
	const struct line_header *header = (const void *)line;
	const struct line_fact *fact = (const void *)(line + header->facts);

	for (uint32_t i = 0; i < header->fact_count; i++)
		if ((!late_only || fact[i].late) && !holds(line, &fact[i], environment, text))
			return 0;
	return 1;
}
