/* SPDX-License-Identifier: MIT */
/* A user namespace by its maps: for a container to be born in, and for mounts whose owners are mapped. */
#include "builtins.h"
#include "sys.h"

#include <linux/fcntl.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/wait.h>

#define SIGKILL 9
#define SIGCHLD 17

static long write_map(long pid, const char *name, const char *map, size_t length)
{
	char path[48] = "/proc/";
	size_t at = 6;
	long fd, error;

	at += decimal(path + at, (uint64_t)pid);
	memcpy(path + at, name, strlen(name) + 1);
	fd = SYS_4(__NR_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	/* In one write, or the kernel refuses the rest. */
	error = SYS_3(__NR_write, fd, map, length);
	sys_close((int)fd);
	return error < 0 ? error : 0;
}

static long open_namespace(long pid)
{
	char path[48] = "/proc/";
	size_t at = 6;

	at += decimal(path + at, (uint64_t)pid);
	memcpy(path + at, "/ns/user", 9);
	return SYS_4(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
}

/* A namespace needs a process to be named by: one that waits to be killed. */
long user_namespace(const char *uids, size_t uid_length, const char *gids, size_t gid_length)
{
	struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
	long parent = SYS_0(__NR_getpid);
	long pid = SYS_2(__NR_clone3, &args, sizeof(args));
	long result;

	if (pid == 0) {
		SYS_5(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		/* 0: the parent is in no PID namespace of ours, as init's own is. Else it has gone before the line above. */
		result = SYS_0(__NR_getppid);
		while (result == parent || !result)
			SYS_5(__NR_ppoll, 0, 0, 0, 0, 0);
		sys_exit(0);
	}
	if (pid < 0)
		return pid;
	result = write_map(pid, "/uid_map", uids, uid_length);
	if (!result)
		result = write_map(pid, "/gid_map", gids, gid_length);
	if (!result)
		result = open_namespace(pid);
	SYS_2(__NR_kill, pid, SIGKILL);
	while (SYS_4(__NR_wait4, pid, 0, __WALL, 0) == -EINTR)
		;
	return result;
}
