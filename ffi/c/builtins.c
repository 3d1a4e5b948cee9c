/* SPDX-License-Identifier: MIT */
/* Steps that are not one system call: each a few calls that must stand together. */
#include "builtins.h"
#include "abi.h"
#include "control.h"
#include "sys.h"

#include <linux/fcntl.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/stat.h>
#include <linux/time.h>
#include <linux/wait.h>

#define PIPE_AT_ONCE 4096 /* PIPE_BUF */

/* struct statfs64, as far as its first field */
struct file_system {
	long type;
	long rest[30];
};

static long send_fd(int socket, struct control_message message, int fd)
{
	return pass_fd(socket, fd, &message, sizeof(message));
}

static long wait_go(int socket)
{
	struct control_message message;
	long n = SYS_3(__NR_read, socket, &message, sizeof(message));

	if (n < 0)
		return n;
	return n == sizeof(message) && message.kind == CONTROL_GO ? 0 : -EPIPE;
}

/* Behind the fifo there is whoever called start, not the parent any more. */
static void tell_start(const struct session *session, struct control_message message)
{
	const struct plan_step *step = &session->plan.steps[message.step];
	struct {
		struct control_message message;
		char printed[PIPE_AT_ONCE - sizeof(struct control_message)];
	} report;
	long n = 0;

	message.kind = step->flags >> 2;
	report.message = message;
	if (step->nr == BUILTIN_HOOK)
		n = SYS_4(__NR_pread64, session->plan.header->monitor.output_fd, report.printed, sizeof(report.printed), 0);
	SYS_3(__NR_write, session->control, &report, sizeof(message) + (n < 0 ? 0 : (size_t)n));
}

/*
 * The child carries out its own section and never comes back. What stops it is
 * told to the monitor; the middle stage of an exec speaks for the last one.
 */
__attribute__((noreturn)) static void child_main(struct session *session, enum plan_section section)
{
	struct control_message message = {.kind = CONTROL_FAILED, .section = section};
	const uint64_t no_signals = 0;
	int error;

	/* Or the end of a killed monitor would never be seen, by the client nor by this process. */
	sys_close(session->client);
	sys_close(session->monitor_control);
	sys_close(session->plan_fd);
	session->client = -1;
	session->monitor_control = -1;
	session->plan_fd = -1;
	/* The monitor reads its signals from a signalfd, so they are blocked here too. */
	SYS_4(__NR_rt_sigprocmask, SIG_SETMASK, &no_signals, 0, sizeof(no_signals));
	error = interpret(session, section, &message.step);
	/* A section that neither executes nor exits is a plan that lacks its end. */
	message.error = (uint32_t)(error ? -error : ENOEXEC);
	if (session->is_held)
		tell_start(session, message);
	else
		SYS_6(__NR_sendto, session->control, &message, sizeof(message), MSG_NOSIGNAL, 0, 0);
	sys_exit(125);
}

/*
 * A seccomp filter answers clone3 with ENOSYS, or with EPERM if it is older
 * than that call, and a last stage is forked behind it: clone knows all that
 * such a fork needs. Where it does not, there is no process: what clone3 has
 * above 32 bits is missing there, and CLONE_NEWTIME would be a part of the
 * exit signal.
 */
long clone_process(const struct clone_args *args, int *pidfd)
{
	long pid = SYS_2(__NR_clone3, args, sizeof(*args));

	if ((pid != -ENOSYS && pid != -EPERM) || args->flags >> 32 || args->flags & CSIGNAL)
		return pid;
	return SYS_5(__NR_clone, args->flags | args->exit_signal, 0, pidfd, 0, 0);
}

/* Closes every descriptor from `first` on but these two, where they are, and the control socket. */
static long close_others(const struct session *session, uint64_t first, uint32_t one, uint32_t other)
{
	const uint64_t kept[3] = {(uint32_t)session->control, one, other};

	for (uint64_t at = first, next; at <= ~0u; at = next + 1) {
		long error = 0;

		next = 1ull << 32;
		for (int i = 0; i < 3; i++)
			if (kept[i] >= at && kept[i] < next)
				next = kept[i];
		if (next > at)
			error = SYS_3(__NR_close_range, at, next - 1, 0);
		if (error)
			return error;
	}
	return 0;
}

static long fork_section(struct session *session, const struct plan_step *step, const uint64_t *a)
{
	int pidfd = -1;
	struct clone_args args = {
		.flags = a[1] | CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)&pidfd,
		.exit_signal = a[1] & CLONE_PARENT ? 0 : SIGCHLD,
	};
	long pid;

	if ((int64_t)a[2] >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = a[2];
	}
	pid = clone_process(&args, &pidfd);
	if (pid == 0)
		child_main(session, (enum plan_section)a[0]);
	if (pid > 0 && step->dst)
		session->regs[step->dst] = (uint64_t)pidfd;
	return pid;
}

long write_all(int fd, const void *from, size_t n)
{
	const char *at = from;

	while (n) {
		long written = SYS_3(__NR_write, fd, at, n);

		if (written == -EINTR)
			continue;
		if (written < 0)
			return written;
		at += written;
		n -= (size_t)written;
	}
	return 0;
}

static long write_file(const uint64_t *a)
{
	long fd = SYS_4(__NR_openat, a[0], a[1], a[4] | O_CLOEXEC, a[5]);
	long error;

	if (fd < 0)
		return fd;
	error = write_all((int)fd, (const void *)(uintptr_t)a[2], a[3]);
	sys_close((int)fd);
	return error;
}

/*
 * execvp's rule: the first path that is there decides; one that may not be
 * executed is remembered. ENOENT for a file that exists means its interpreter
 * or loader, which only this place can still tell: that is ELIBACC.
 */
static long execute(const uint64_t *a)
{
	char *const *paths = (char *const *)(uintptr_t)a[0];
	long found = -ENOENT;

	for (; *paths; paths++) {
		long error = SYS_3(__NR_execve, *paths, a[1], a[2]);

		if (error == -ENOENT && !SYS_4(__NR_faccessat, AT_FDCWD, *paths, 0, 0))
			return -ELIBACC;
		if (error == -EACCES)
			found = error;
		else if (error != -ENOENT && error != -ENOTDIR)
			return error;
	}
	return found;
}

/*
 * As execute() would fail, without doing it: whoever waits for the container to be
 * created hears of it then. A call that a seccomp filter refuses decides nothing.
 */
static long look_up(const uint64_t *a)
{
	char *const *paths = (char *const *)(uintptr_t)a[0];
	long found = -ENOENT;

	for (; *paths; paths++) {
		struct statx st;
		long error = SYS_4(__NR_faccessat2, AT_FDCWD, *paths, 1, AT_EACCESS);

		if (!error && !SYS_5(__NR_statx, AT_FDCWD, *paths, 0, STATX_TYPE, &st) &&
		    (st.stx_mode & 0170000) == 0040000)
			error = -EACCES;
		if (error == -EACCES)
			found = error;
		else if (error != -ENOENT && error != -ENOTDIR)
			return 0;
	}
	return found;
}

static long read_file(long dirfd, const char *path, char *to, size_t n)
{
	long fd = SYS_4(__NR_openat, dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0), got;

	if (fd < 0)
		return fd;
	got = SYS_3(__NR_read, fd, to, n);
	sys_close((int)fd);
	return got;
}

/* Written aside and renamed: whoever reads the record finds it whole or not at all. */
static long write_record(long dirfd, const char *name, const char *text, size_t n)
{
	static const char aside[] = ".record";
	const uint64_t args[6] = {(uint64_t)dirfd,
				  (uint64_t)(uintptr_t)aside,
				  (uint64_t)(uintptr_t)text,
				  n,
				  O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW,
				  0600};
	long error = write_file(args);

	return error ? error : SYS_5(__NR_renameat2, dirfd, aside, dirfd, name, 0);
}

static long record_start(struct session *session, const uint64_t *a)
{
	char path[32] = "/proc/", text[512];
	size_t at = 6;
	long n;

	at += decimal(path + at, session->regs[session->plan.header->monitor.pid_reg]);
	memcpy(path + at, "/stat", 6);
	n = read_file(AT_FDCWD, path, text, sizeof(text));
	if (n < 0)
		return n;
	return write_record((long)a[0], (const char *)(uintptr_t)a[1], text, (size_t)n);
}

/* (address, width, pid): the spaces behind a number mean nothing to JSON; before it they do to who searches it as text. */
static long store_pid(char *to, uint64_t width, uint64_t pid)
{
	char digits[24];
	size_t n = decimal(digits, pid);

	if (n > width)
		return -ERANGE;
	memcpy(to, digits, n);
	memset(to + n, ' ', width - n);
	return 0;
}

static long write_pid(const char *aside, const char *path, uint64_t pid)
{
	char digits[24];
	const uint64_t args[6] = {(uint64_t)AT_FDCWD,
				  (uint64_t)(uintptr_t)aside,
				  (uint64_t)(uintptr_t)digits,
				  decimal(digits, pid),
				  O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW,
				  0644};
	long error = write_file(args);

	return error ? error : SYS_5(__NR_renameat2, AT_FDCWD, aside, AT_FDCWD, path, 0);
}

static long record_exit(struct session *session, const uint64_t *a)
{
	char text[1024];
	struct __kernel_timespec now = {0};
	size_t at;
	long n;

	SYS_2(__NR_clock_gettime, 0, &now);
	at = decimal(text, (uint64_t)(uint32_t)session->wait_status);
	text[at++] = ' ';
	at += decimal(text + at, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
	text[at++] = '\n';
	if (a[3]) {
		n = read_file((long)a[2], (const char *)(uintptr_t)a[3], text + at, sizeof(text) - at);
		if (n > 0)
			at += (size_t)n;
	}
	return write_record((long)a[0], (const char *)(uintptr_t)a[1], text, at);
}

static long drop_bounding(uint64_t low, uint64_t high)
{
	uint64_t keep = low | high << 32;

	for (uint64_t capability = 0; capability < 64; capability++) {
		long error;

		if (keep >> capability & 1)
			continue;
		error = SYS_5(__NR_prctl, PR_CAPBSET_DROP, capability, 0, 0, 0);
		/* The kernel knows fewer than 64: past its last one it says EINVAL. */
		if (error == -EINVAL)
			return 0;
		if (error)
			return error;
	}
	return 0;
}

/* `elsewhere`: nobody may be left at the root, where a refused chdir(2) leaves. */
static long check_cwd(uint64_t elsewhere)
{
	char path[4096];
	long n = SYS_2(__NR_getcwd, path, sizeof(path));

	if (n < 0)
		return n == -ERANGE ? 0 : n;
	/* The kernel says "(unreachable)" of a directory outside the root: CVE-2024-21626. */
	if (path[0] != '/')
		return -ENOENT;
	return elsewhere && !path[1] ? -EACCES : 0;
}

static long check_fs(int fd, uint64_t magic)
{
	struct file_system fs;
	long error = SYS_2(__NR_fstatfs, fd, &fs);

	if (error < 0)
		return error;
	return (uint64_t)fs.type == magic ? 0 : -EINVAL;
}

static long check_type(int fd, uint64_t type, uint64_t device)
{
	struct statx st;
	long error = SYS_5(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st);

	if (error < 0)
		return error;
	if ((st.stx_mode & 0170000) != type)
		return -ENXIO;
	if (device && (st.stx_rdev_major != device >> 32 || st.stx_rdev_minor != (uint32_t)device))
		return -ENXIO;
	return 0;
}

long builtin(struct session *session, const struct plan_step *step, const uint64_t *a)
{
	void *first = (void *)(uintptr_t)a[0];
	uint32_t value;

	switch (step->nr) {
	case BUILTIN_FORK:
		return fork_section(session, step, a);
	case BUILTIN_WAIT_GO:
		return wait_go(session->control);
	case BUILTIN_SEND_FD:
		return send_fd(session->control, (struct control_message){.kind = CONTROL_FD}, (int)a[0]);
	case BUILTIN_SEND_CHILD:
		return send_fd(session->control,
			       (struct control_message){.kind = CONTROL_CHILD, .section = (uint32_t)a[0]},
			       (int)a[1]);
	case BUILTIN_PASS_FD:
		return pass_fd((int)a[0], (int)a[1], (void *)(uintptr_t)a[2], a[3]);
	case BUILTIN_LOAD32:
		memcpy(&value, first, 4);
		return value;
	case BUILTIN_STORE32:
		value = (uint32_t)a[1];
		memcpy(first, &value, 4);
		return 0;
	case BUILTIN_WRITE_FILE:
		return write_file(a);
	case BUILTIN_NETLINK:
		return netlink_batch((int)a[0], (const void *)(uintptr_t)a[1], a[2], a[3]);
	case BUILTIN_EXEC:
		return execute(a);
	case BUILTIN_RECORD_START:
		return record_start(session, a);
	case BUILTIN_RECORD_EXIT:
		return record_exit(session, a);
	case BUILTIN_REMOVE_TREE:
		return remove_tree((int)a[0], (const char *)(uintptr_t)a[1]);
	case BUILTIN_REMOVE_GROUP:
		return remove_group(first);
	case BUILTIN_CHECK_CWD:
		return check_cwd(a[0]);
	case BUILTIN_CHECK_FS:
		return check_fs((int)a[0], a[1]);
	case BUILTIN_CHECK_TYPE:
		return check_type((int)a[0], a[1], a[2]);
	case BUILTIN_TARGET:
		return open_target((int)a[0], (const char *)(uintptr_t)a[1], a[2], a[3]);
	case BUILTIN_MASK:
		return mask((int)a[0], (const char *)(uintptr_t)a[1], (int)a[2], (int)a[3]);
	case BUILTIN_DROP_BOUNDING:
		return drop_bounding(a[0], a[1]);
	case BUILTIN_CLOSE_OTHERS:
		return close_others(session, a[0], (uint32_t)a[1], (uint32_t)a[2]);
	case BUILTIN_MEET:
		return meet(session);
	case BUILTIN_HOLD:
		return hold(session, (int)a[0], (int)a[1]);
	case BUILTIN_HOOK:
		return run_hook(a, session->plan.header->monitor.output_fd);
	case BUILTIN_STORE_PID:
		return store_pid(first, a[1], a[2]);
	case BUILTIN_WRITE_PID:
		return write_pid(first, (const char *)(uintptr_t)a[1], a[2]);
	case BUILTIN_LOOKUP:
		return look_up(a);
	case BUILTIN_USER_NAMESPACE:
		return user_namespace(first, a[1], (const char *)(uintptr_t)a[2], a[3]);
	case BUILTIN_COPY_UP:
		return copy_up((int)a[0], (int)a[1], a[2]);
	case BUILTIN_HOME:
		return find_home(a[0], (char *)(uintptr_t)a[1], a[2]);
	case BUILTIN_CRIU:
		return talk_to_criu(session, a);
	case BUILTIN_REAP:
		reap_main((int)a[0]);
	case BUILTIN_EXIT:
		sys_exit((int)a[0]);
	default:
		return -EINVAL;
	}
}
