/* SPDX-License-Identifier: MIT */
/* A hook of config.json: a program that gets the container's state on its stdin and must end well, in time. */
#include "abi.h"
#include "builtins.h"
#include "sys.h"

#include <linux/fcntl.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/time_types.h>
#include <linux/wait.h>

/* `text` in a file that only memory holds: nobody waits for a hook that does not read it. */
static long open_text(const char *text)
{
	long fd = SYS_2(__NR_memfd_create, "state", 0), error;

	if (fd < 0)
		return fd;
	error = write_all((int)fd, text, strlen(text));
	if (!error)
		error = SYS_3(__NR_lseek, fd, 0, 0);
	if (error >= 0)
		return fd;
	sys_close((int)fd);
	return error;
}

__attribute__((noreturn)) static void become_hook(const uint64_t *a, int input, int output, int errors)
{
	const signal_set none = 0;
	int error;

	SYS_4(__NR_rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof(none));
	SYS_3(__NR_dup3, input, 0, 0);
	if (output >= 0) {
		SYS_3(__NR_dup3, output, 1, 0);
		SYS_3(__NR_dup3, output, 2, 0);
	}
	/* Everything else would be the hook's to keep, and the way to the monitor is not for it. */
	if (errors > 3)
		SYS_3(__NR_close_range, 3, errors - 1, 0);
	SYS_3(__NR_close_range, errors + 1, ~0u, 0);
	error = (int)-SYS_3(__NR_execve, a[0], a[1], a[2]);
	SYS_3(__NR_write, errors, &error, sizeof(error));
	sys_exit(127);
}

/* Waits for its end, or kills it after `timeout` ms. */
static long wait_hook(long pid, int pidfd, uint64_t timeout)
{
	struct __kernel_timespec limit = {(long long)(timeout / 1000), (long long)(timeout % 1000) * 1000000};
	struct pollfd poll = {.fd = pidfd, .events = POLLIN};
	int status, is_late = 0;
	long ready = 1;

	/* A signal costs nothing: ppoll(2) leaves what is left of the time in `limit`. */
	while (timeout && (ready = SYS_5(__NR_ppoll, &poll, 1, &limit, 0, 0)) == -EINTR)
		;
	if (!ready) {
		is_late = 1;
		SYS_4(__NR_pidfd_send_signal, pidfd, SIGKILL, 0, 0);
	}
	while (SYS_4(__NR_wait4, pid, &status, __WALL, 0) == -EINTR)
		;
	if (is_late)
		return -ETIMEDOUT;
	return status ? -(HOOK_STATUS + shell_status(status)) : 0;
}

long run_hook(const uint64_t *a, int output)
{
	struct clone_args args = {.flags = CLONE_PIDFD, .exit_signal = SIGCHLD};
	int pidfd = -1, errors[2], error = 0;
	long input = open_text((const char *)(uintptr_t)a[3]), pid, result;

	if (input < 0)
		return input;
	result = SYS_2(__NR_pipe2, errors, O_CLOEXEC);
	if (result < 0) {
		sys_close((int)input);
		return result;
	}
	args.pidfd = (uint64_t)(uintptr_t)&pidfd;
	pid = clone_process(&args, &pidfd);
	if (pid == 0)
		become_hook(a, (int)input, output, errors[1]);
	sys_close((int)input);
	sys_close(errors[1]);
	result = pid;
	if (pid > 0) {
		while ((result = SYS_3(__NR_read, errors[0], &error, sizeof(error))) == -EINTR)
			;
		result = wait_hook(pid, pidfd, a[4]);
		sys_close(pidfd);
	}
	sys_close(errors[0]);
	return error ? -error : result;
}
