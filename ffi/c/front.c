/* SPDX-License-Identifier: MIT */
/*
 * The front of dist/bb: what runs before Bun does.
 *
 * A `run --rm` or `exec` that was carried out before, word for word, is on
 * record with its plan and with all that the plan was made of (line.h). When
 * every one of these facts still holds, the plan is good: this makes the
 * container's directory, puts its ID into the plan, and becomes the trampoline,
 * which takes a fraction of the time that Bun needs to start. Otherwise it
 * leaves nothing behind, and Bun starts as if this had never been.
 *
 * It decides nothing that TypeScript has not decided before: it compares texts.
 */
#include "front.h"
#include "line.h"
#include "sys.h"

#include <linux/memfd.h>
#include <linux/mman.h>
#include <linux/openat2.h>
#include <linux/stat.h>

#define AT_FDCWD (-100)
#define AT_EMPTY_PATH 0x1000
#define AT_REMOVEDIR 0x200
#define O_RDONLY 0
#define O_WRONLY 1
#define O_CREAT 0100
#define O_EXCL 0200
#define O_NOCTTY 0400
#define O_NONBLOCK 04000
#define O_CLOEXEC 02000000
#define O_PATH 010000000
#if defined(__aarch64__)
#define O_DIRECTORY 040000
#define O_NOFOLLOW 0100000
#else
#define O_DIRECTORY 0200000
#define O_NOFOLLOW 0400000
#endif
#define OTHERS_WRITE 022
#define LOCK_EX 2
#define LOCK_NB 4
#define F_SETFD 2
#define F_ADD_SEALS 1033
#define ALL_SEALS 15
/* Of Linux 6.3; the headers may be older. */
#ifndef MFD_EXEC
#define MFD_EXEC 0x10
#endif

#define TEXT_MAX 65536
#define PATH_BYTES 4096
#define RLIMIT_NOFILE 7
#define F_GETFD 1
#define CLOSE_RANGE_CLOEXEC 4

static int open_file(const char *path, int flags)
{
	return (int)SYS_4(__NR_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0);
}

static int same(const char *a, const char *b)
{
	size_t n = strlen(a);

	return n == strlen(b) && memcmp(a, b, n) == 0;
}

/* Appends `text`; one that does not fit leaves an empty path, which nothing is found by. */
static char *append(char path[PATH_BYTES], const char *text)
{
	size_t have = strlen(path), more = strlen(text);

	if (have + more >= PATH_BYTES)
		path[0] = 0;
	else
		memcpy(path + have, text, more + 1);
	return path;
}

static char *join(char path[PATH_BYTES], const char *directory, const char *name)
{
	path[0] = 0;
	return append(append(append(path, directory), "/"), name);
}

/* Reads all of a file of less than TEXT_MAX bytes. Returns its length, or -errno. */
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

static long read_path(const char *path, char *text)
{
	int fd = open_file(path, O_RDONLY | O_NOCTTY);
	long n = fd < 0 ? fd : read_all(fd, text);

	if (fd >= 0)
		sys_close(fd);
	return n == -ENOENT || n == -ENOTDIR || n == -ESRCH ? 0 : n;
}

static int contains(const char *text, size_t bytes, const char *what)
{
	size_t n = strlen(what);

	for (size_t at = 0; at + n <= bytes; at++)
		if (memcmp(text + at, what, n) == 0)
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

/*
 * The fields that `letters` name, each followed by a blank: d(evice), i(node),
 * s(ize), m(odification), c(hange), u(ser), p(ermissions). Nothing when there is no such file.
 */
static size_t node_text(const char *path, const char *letters, char *text)
{
	struct statx node = {0};
	size_t n = 0;

	if (SYS_5(__NR_statx, AT_FDCWD, path, 0, STATX_BASIC_STATS, &node) < 0)
		return 0;
	for (; *letters && n + 64 < TEXT_MAX; letters++) {
		uint64_t value = *letters == 'i' ? node.stx_ino : *letters == 's' ? node.stx_size : *letters == 'u' ? node.stx_uid : node.stx_mode;

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

/* /proc/PID/stat: whether the process is no zombie and started at `ticks`, the 22nd field. */
static int is_alive(const char *text, size_t bytes, const char *ticks)
{
	size_t at = bytes, n = strlen(ticks);

	/* The command's name may hold anything, but ends at the last parenthesis. */
	while (at && text[at - 1] != ')')
		at--;
	if (at == 0 || at + 2 > bytes || text[at + 1] == 'Z' || text[at + 1] == 'X')
		return 0;
	for (int field = 2; field < 22; field++) {
		while (at < bytes && text[at] != ' ')
			at++;
		if (at++ >= bytes)
			return 0;
	}
	return at + n < bytes && memcmp(text + at, ticks, n) == 0 && text[at + n] == ' ';
}

static int holds(const char *line, const struct line_fact *fact, char *text)
{
	const char *path = line + fact->path, *detail = line + fact->detail, *value = line + fact->value;
	long n;

	switch (fact->kind) {
	case FACT_TEXT:
		n = read_path(path, text);
		if (n > 0 && *detail)
			n = (long)keep_lines(text, (size_t)n, detail);
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
	case FACT_ALIVE:
		n = read_path(path, text);
		return n > 0 && is_alive(text, (size_t)n, value);
	default:
		return 0;
	}
	return n >= 0 && (uint64_t)n == fact->value_bytes && memcmp(text, value, (size_t)n) == 0;
}

static int all_hold(const char *line, int late_only, char *text)
{
	const struct line_header *header = (const void *)line;
	const struct line_fact *fact = (const void *)(line + header->facts);

	for (uint32_t i = 0; i < header->fact_count; i++)
		if ((!late_only || fact[i].late) && !holds(line, &fact[i], text))
			return 0;
	return 1;
}

static int write_all(int fd, const char *bytes, size_t count)
{
	for (size_t at = 0; at < count;) {
		long n = SYS_3(__NR_write, fd, bytes + at, count - at);

		if (n <= 0)
			return -1;
		at += (size_t)n;
	}
	return 0;
}

static int write_new(int directory, const char *name, const char *line, struct line_range range)
{
	int fd = (int)SYS_4(__NR_openat, directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int error = fd < 0 ? fd : write_all(fd, line + range.offset, range.bytes);

	if (fd >= 0)
		sys_close(fd);
	return error;
}

static int sealed(const char *name, const char *bytes, size_t count, unsigned flags)
{
	long fd = SYS_2(__NR_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

	/* Before Linux 6.3 every memfd may be executed. */
	if (fd == -EINVAL)
		fd = SYS_2(__NR_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return (int)fd;
	if (write_all((int)fd, bytes, count) == 0 && SYS_3(__NR_fcntl, fd, F_ADD_SEALS, ALL_SEALS) == 0)
		return (int)fd;
	sys_close((int)fd);
	return -1;
}

/* Comes back only if it could not. `passed` is a lock or a pidfd. */
static void become_trampoline(const char *line, int passed)
{
	const struct line_header *header = (const void *)line;
	char number[24];
	const char *argv[] = {"bb", number, 0}, *envp[] = {0};
	int program = sealed("bantubox", trampoline, (size_t)(trampoline_end - trampoline), MFD_EXEC);
	int plan = sealed("plan", line + header->plan.offset, header->plan.bytes, 0);

	decimal(number, (uint64_t)plan);
	if (program >= 0 && plan >= 0 && SYS_3(__NR_dup3, passed, header->passed, 0) >= 0) {
		/* What the caller left open is no more the monitor's business than Bun's. */
		SYS_3(__NR_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC);
		SYS_3(__NR_fcntl, header->passed, F_SETFD, 0);
		SYS_3(__NR_fcntl, plan, F_SETFD, 0);
		SYS_5(__NR_execveat, program, "", argv, envp, AT_EMPTY_PATH);
		sys_close((int)header->passed);
	}
	if (program >= 0)
		sys_close(program);
	if (plan >= 0)
		sys_close(plan);
}

static const char *const subdirectories[] = {"rootfs", "upper", "work"};

static void remove_container(int directory, const char *path)
{
	SYS_3(__NR_unlinkat, directory, "container.json", 0);
	SYS_3(__NR_unlinkat, directory, "config.json", 0);
	for (size_t i = 0; i < 3; i++)
		SYS_3(__NR_unlinkat, directory, subdirectories[i], AT_REMOVEDIR);
	SYS_3(__NR_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
	sys_close(directory);
}

/* As makeKept in engine/kept-start.ts: the lock first, then what others look at. */
static void run(char *line, char *text)
{
	const struct line_header *header = (const void *)line;
	const uint32_t *whole = (const void *)(line + header->whole), *beginnings = (const void *)(line + header->beginnings);
	char id[ID_DIGITS + 1], path[PATH_BYTES];
	uint8_t random[ID_DIGITS / 2];
	int directory, error = 0;

	if (SYS_3(__NR_getrandom, random, sizeof(random), 0) != sizeof(random))
		return;
	for (size_t i = 0; i < sizeof(random); i++) {
		id[2 * i] = "0123456789abcdef"[random[i] >> 4];
		id[2 * i + 1] = "0123456789abcdef"[random[i] & 15];
	}
	id[ID_DIGITS] = 0;
	join(path, line + header->directory, id);
	if (SYS_3(__NR_mkdirat, AT_FDCWD, path, 0700))
		return;
	directory = open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	if (directory < 0) {
		SYS_3(__NR_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
		return;
	}
	for (uint32_t i = 0; i < header->whole_count; i++)
		memcpy(line + whole[i], id, ID_DIGITS);
	for (uint32_t i = 0; i < header->short_count; i++)
		memcpy(line + beginnings[i], id, SHORT_DIGITS);
	/* Another command may have taken the new directory for left over. */
	error |= SYS_2(__NR_flock, directory, LOCK_EX | LOCK_NB) || SYS_3(__NR_faccessat, AT_FDCWD, path, 0);
	for (size_t i = 0; i < 3 && !error; i++)
		error |= SYS_3(__NR_mkdirat, directory, subdirectories[i], 0755) != 0;
	error = error || write_new(directory, "config.json", line, header->config) ||
		write_new(directory, "container.json", line, header->record);
	if (!error && all_hold(line, 1, text))
		become_trampoline(line, directory);
	remove_container(directory, path);
}

static void exec(const char *line, char *text)
{
	const struct line_header *header = (const void *)line;
	int pidfd = (int)SYS_2(__NR_pidfd_open, header->pid, 0);

	if (pidfd < 0)
		return;
	/* Only now: before, the pid could have become somebody else's in between. */
	if (all_hold(line, 1, text))
		become_trampoline(line, pidfd);
	sys_close(pidfd);
}

/* Whether `words` are the arguments that the line was written for. */
static int are_words(char **argv, const char *words, size_t bytes)
{
	size_t at = 0;

	for (; *argv; argv++) {
		size_t n = strlen(*argv) + 1;

		if (n > bytes - at || memcmp(*argv, words + at, n))
			return 0;
		at += n;
	}
	return at == bytes;
}

/* FNV-1a of the arguments with their zero bytes, in 16 digits: the file's name, which vouches for nothing. */
static void hash_words(char **argv, char name[17])
{
	uint64_t hash = 0xcbf29ce484222325u;

	for (; *argv; argv++)
		for (const char *c = *argv;; c++) {
			hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
			if (!*c)
				break;
		}
	for (int i = 15; i >= 0; i--, hash >>= 4)
		name[i] = "0123456789abcdef"[hash & 15];
	name[16] = 0;
}

/* The flags in front of the command, as parseGlobals takes them. Returns the command, or null. */
static const char *command_of(char **argv, const char **run_root)
{
	for (; *argv && argv[0][0] == '-'; argv++) {
		int is_run_root = same(*argv, "--run-root");

		if ((!is_run_root && !same(*argv, "--root")) || !argv[1])
			return 0;
		argv++;
		if (is_run_root)
			*run_root = *argv;
	}
	return *argv;
}

/* As Bun does, and what was remembered was read after: the limit counts among the facts, and the container inherits it. */
static void raise_nofile(uint32_t wanted)
{
	uint64_t limit[2]; /* soft, hard */

	if (SYS_4(__NR_prlimit64, 0, RLIMIT_NOFILE, 0, limit) || limit[0] >= wanted || limit[1] < wanted)
		return;
	limit[0] = wanted;
	SYS_4(__NR_prlimit64, 0, RLIMIT_NOFILE, limit, 0);
}

/* Bun opens /dev/null for those that are closed; what is opened here must not take their place. */
static int has_standard_streams(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (SYS_2(__NR_fcntl, fd, F_GETFD) < 0)
			return 0;
	return 1;
}

static int is_ours(const struct statx *node)
{
	return node->stx_uid == 0 && (node->stx_mode & OTHERS_WRITE) == 0;
}

/* Maps the line that is on record for these arguments, privately. */
static char *find_line(char **argv, const char *run_root, size_t *bytes)
{
	char path[PATH_BYTES], name[17];
	struct statx node = {0};
	long at = -1;
	int fd;

	/* Whoever may write there could have us carry out anything. */
	if (*run_root != '/' || SYS_5(__NR_statx, AT_FDCWD, run_root, 0, STATX_BASIC_STATS, &node) || !is_ours(&node))
		return 0;
	hash_words(argv, name);
	append(join(path, run_root, "plans/line-"), name);
	fd = open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return 0;
	*bytes = 0;
	if (SYS_5(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &node) == 0 && is_ours(&node) &&
	    (node.stx_mode & S_IFMT) == S_IFREG && node.stx_size <= LINE_MAX_BYTES)
		*bytes = (size_t)node.stx_size;
	if (*bytes)
		at = SYS_6(__NR_mmap, 0, *bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	sys_close(fd);
	return at < 0 && at > -4096 ? 0 : (char *)at;
}

/* Comes back only if it could not. */
static void carry_out(char *line, char *text)
{
	const struct line_header *header = (const void *)line;
	long umask = SYS_1(__NR_umask, 022);

	if (header->kind == LINE_RUN)
		run(line, text);
	else
		exec(line, text);
	SYS_1(__NR_umask, umask);
}

void front_main(long *stack)
{
	char **argv = (char **)(stack + 1) + 1;
	const char *run_root = "/run/bantubox", *command;
	char text[TEXT_MAX];
	size_t bytes;
	char *line;

	if (stack[0] < 2 || SYS_0(__NR_geteuid) != 0)
		return;
	command = command_of(argv, &run_root);
	if (!command || (!same(command, "run") && !same(command, "exec")) || !has_standard_streams())
		return;
	line = find_line(argv, run_root, &bytes);
	if (!line)
		return;
	if (line_decode(line, bytes) == 0) {
		const struct line_header *header = (const void *)line;

		if (are_words(argv, line + header->words.offset, header->words.bytes)) {
			raise_nofile(header->nofile);
			if (all_hold(line, 0, text))
				carry_out(line, text);
		}
	}
	SYS_2(__NR_munmap, line, bytes);
}
