/* SPDX-License-Identifier: MIT */
#include "carry.h"
#include "facts.h"
#include "lease.h"
#include "sys.h"

#include <linux/memfd.h>
#include <linux/mman.h>
#include <linux/stat.h>

#define AT_FDCWD (-100)
#define AT_EMPTY_PATH 0x1000
#define AT_REMOVEDIR 0x200
#define O_RDONLY 0
#define O_WRONLY 1
#define O_CREAT 0100
#define O_EXCL 0200
#define O_NONBLOCK 04000
#define O_CLOEXEC 02000000
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
#define F_GETFD 1
#define F_SETFD 2
#define F_ADD_SEALS 1033
#define ALL_SEALS 15
#define CLOSE_RANGE_CLOEXEC 4
#define RLIMIT_NOFILE 7
/* Of Linux 6.3; the headers may be older. */
#ifndef MFD_EXEC
#define MFD_EXEC 0x10
#endif

#define PATH_BYTES 4096

int write_all(int fd, const char *bytes, size_t count)
{
	for (size_t at = 0; at < count;) {
		long n = SYS_3(__NR_write, fd, bytes + at, count - at);

		if (n <= 0)
			return -1;
		at += (size_t)n;
	}
	return 0;
}

static int write_new(int directory, const char *line, const struct line_file *file)
{
	int fd = (int)SYS_4(__NR_openat, directory, line + file->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int error = fd < 0 ? fd : write_all(fd, line + file->content.offset, file->content.bytes);

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

/* Whether nothing that was opened has a number that the plan knows something else by. */
static int are_below(uint32_t number, int a, int b, int c)
{
	return a < (int)number && b < (int)number && c < (int)number;
}

/* Comes back only if it could not. `passed` is a lock or a pidfd. */
static void become_trampoline(const char *line, int passed)
{
	const struct line_header *header = (const void *)line;
	char number[24];
	const char *argv[] = {"bb", number, 0}, *envp[] = {0};
	int program = sealed("bantubox", trampoline, (size_t)(trampoline_end - trampoline), MFD_EXEC);
	int plan = sealed("plan", line + header->plan.offset, header->plan.bytes, 0);
	int output = header->output ? (int)SYS_2(__NR_memfd_create, "hooks", MFD_CLOEXEC) : -1;

	decimal(number, (uint64_t)plan);
	if (program >= 0 && plan >= 0 && are_below(header->passed, program, plan, output) &&
	    SYS_3(__NR_dup3, passed, header->passed, 0) >= 0) {
		/* What the caller left open is no more the monitor's business than Bun's. */
		SYS_3(__NR_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC);
		SYS_3(__NR_fcntl, header->passed, F_SETFD, 0);
		SYS_3(__NR_fcntl, plan, F_SETFD, 0);
		if (output >= 0)
			SYS_3(__NR_dup3, output, header->output, 0);
		SYS_5(__NR_execveat, program, "", argv, envp, AT_EMPTY_PATH);
		sys_close((int)header->passed);
		if (output >= 0)
			sys_close((int)header->output);
	}
	if (output >= 0)
		sys_close(output);
	if (program >= 0)
		sys_close(program);
	if (plan >= 0)
		sys_close(plan);
}

static void remove_container(int directory, const char *line)
{
	const struct line_header *header = (const void *)line;
	const struct line_file *file = (const void *)(line + header->files);
	const char *name = line + header->subdirectories.offset, *end = name + header->subdirectories.bytes;

	for (uint32_t i = 0; i < header->file_count; i++)
		SYS_3(__NR_unlinkat, directory, line + file[i].name, 0);
	for (; name < end; name += strlen(name) + 1)
		SYS_3(__NR_unlinkat, directory, name, AT_REMOVEDIR);
	SYS_3(__NR_unlinkat, AT_FDCWD, line + header->directory, AT_REMOVEDIR);
	sys_close(directory);
}

/* The lock first, then what others look at. */
static int lock_container(int directory, const char *line)
{
	const struct line_header *header = (const void *)line;

	/* Another command may have taken the new directory for left over. */
	if (SYS_2(__NR_flock, directory, LOCK_EX | LOCK_NB))
		return -1;
	return (int)SYS_3(__NR_faccessat, AT_FDCWD, line + header->directory, 0);
}

static int fill_container(int directory, const char *line)
{
	const struct line_header *header = (const void *)line;
	const struct line_file *file = (const void *)(line + header->files);
	const char *name = line + header->subdirectories.offset, *end = name + header->subdirectories.bytes;

	for (; name < end; name += strlen(name) + 1)
		if (SYS_3(__NR_mkdirat, directory, name, 0755))
			return -1;
	for (uint32_t i = 0; i < header->file_count; i++)
		if (write_new(directory, line, &file[i]))
			return -1;
	return 0;
}

/* A container that is made, and has its address: comes back only if it could not start. */
static void start(int directory, const char *line, char *const *environment, char *text)
{
	if (fill_container(directory, line) == 0 && facts_hold(line, 1, environment, text))
		become_trampoline(line, directory);
}

static void make(char *line, struct own *own, char *const *environment, char *text)
{
	const struct line_header *header = (const void *)line;
	const char *path = line + header->directory;
	int directory;

	if (SYS_3(__NR_mkdirat, AT_FDCWD, path, header->directory_mode))
		return;
	directory = open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	if (directory < 0) {
		SYS_3(__NR_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
		return;
	}
	if (lock_container(directory, line) == 0) {
		if (!has_lease(header)) {
			start(directory, line, environment, text);
		} else if (take_lease(line, own) == 0) {
			fill_address(line, own);
			start(directory, line, environment, text);
			return_lease(line, own);
		}
	}
	remove_container(directory, line);
}

static void enter(const char *line, char *const *environment, char *text)
{
	const struct line_header *header = (const void *)line;
	int pidfd = open_process(AT_FDCWD, line + header->record, text);

	if (pidfd < 0)
		return;
	if (facts_hold(line, 1, environment, text))
		become_trampoline(line, pidfd);
	sys_close(pidfd);
}

static int draw_id(char id[FRESH_DIGITS])
{
	uint8_t random[FRESH_DIGITS / 2];

	if (SYS_3(__NR_getrandom, random, sizeof(random), 0) != sizeof(random))
		return -1;
	for (size_t i = 0; i < sizeof(random); i++) {
		id[2 * i] = "0123456789abcdef"[random[i] >> 4];
		id[2 * i + 1] = "0123456789abcdef"[random[i] & 15];
	}
	return 0;
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

int may_carry_out(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (SYS_2(__NR_fcntl, fd, F_GETFD) < 0)
			return 0;
	return SYS_0(__NR_geteuid) == 0;
}

static int is_ours(const struct statx *node)
{
	return node->stx_uid == 0 && (node->stx_mode & OTHERS_WRITE) == 0;
}

/* Where the line of a skeleton lies: FNV-1a in 16 digits, which vouches for nothing. Empty if that does not fit. */
static void line_path(const struct request *request, char path[PATH_BYTES])
{
	static const char before[] = "/line-";
	size_t at = strlen(request->directory);
	uint64_t hash = 0xcbf29ce484222325u;

	for (size_t i = 0; i < request->skeleton_bytes; i++)
		hash = (hash ^ (uint8_t)request->skeleton[i]) * 0x100000001b3u;
	path[0] = 0;
	if (at + sizeof(before) + 16 > PATH_BYTES)
		return;
	memcpy(path, request->directory, at);
	memcpy(path + at, before, sizeof(before) - 1);
	at += sizeof(before) - 1;
	for (int i = 15; i >= 0; i--, hash >>= 4)
		path[at + (size_t)i] = "0123456789abcdef"[hash & 15];
	path[at + 16] = 0;
}

char *map_line(int directory, const char *path, size_t *bytes)
{
	struct statx node = {0};
	long at = -1;
	int fd;

	*bytes = 0;
	fd = (int)SYS_4(__NR_openat, directory, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	if (SYS_5(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &node) == 0 && is_ours(&node) &&
	    (node.stx_mode & S_IFMT) == S_IFREG && node.stx_size <= LINE_MAX_BYTES)
		*bytes = (size_t)node.stx_size;
	if (*bytes)
		at = SYS_6(__NR_mmap, 0, *bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	sys_close(fd);
	return at < 0 && at > -4096 ? 0 : (char *)at;
}

void carry_out(const struct request *request)
{
	char path[PATH_BYTES], text[TEXT_MAX];
	struct own own = {.link = 0};
	struct statx node = {0};
	size_t bytes;
	char *line;

	if (SYS_5(__NR_statx, AT_FDCWD, request->directory, 0, STATX_BASIC_STATS, &node) || !is_ours(&node))
		return;
	line_path(request, path);
	line = map_line(AT_FDCWD, path, &bytes);
	if (!line)
		return;
	const struct line_header *header = (const void *)line;
	if (line_decode(line, bytes) == 0 && header->kind != LINE_MADE && header->skeleton.bytes == request->skeleton_bytes &&
	    memcmp(line + header->skeleton.offset, request->skeleton, request->skeleton_bytes) == 0 &&
	    draw_id(own.id) == 0 && fill_places(line, request->holes, &own) == 0) {
		long umask = SYS_1(__NR_umask, 022);

		raise_nofile(header->nofile);
		if (facts_hold(line, 0, request->environment, text)) {
			if (header->kind == LINE_MAKE)
				make(line, &own, request->environment, text);
			else
				enter(line, request->environment, text);
		}
		SYS_1(__NR_umask, umask);
	}
	SYS_2(__NR_munmap, line, bytes);
}
