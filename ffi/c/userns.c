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

#define PID_BYTES 24

/* `/proc/<pid>` of the process, as that /proc names it: this one may be in a PID namespace of its own by now. */
struct process_path {
	char text[64];
	size_t length;
};

static long open_of(struct process_path *path, const char *name, long flags)
{
	memcpy(path->text + path->length, name, strlen(name) + 1);
	return SYS_4(__NR_openat, AT_FDCWD, path->text, flags | O_CLOEXEC, 0);
}

static long write_map(struct process_path *path, const char *name, const char *map, size_t length)
{
	long fd = open_of(path, name, O_WRONLY), error;

	if (fd < 0)
		return fd;
	/* In one write, or the kernel refuses the rest. */
	error = SYS_3(__NR_write, fd, map, length);
	sys_close((int)fd);
	return error < 0 ? error : 0;
}

/* Tells the parent its name, and waits to be killed. */
__attribute__((noreturn)) static void be_named(int pipe, long parent)
{
	char name[PID_BYTES];
	long n;

	SYS_5(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	n = SYS_4(__NR_readlinkat, AT_FDCWD, "/proc/self", name, sizeof(name));
	if (n > 0)
		SYS_3(__NR_write, pipe, name, n);
	sys_close(pipe);
	/* Without a name it is of no use, nor if the parent was gone before it could be told to die with it. */
	while (n > 0 && SYS_0(__NR_getppid) == parent)
		SYS_5(__NR_ppoll, 0, 0, 0, 0, 0);
	sys_exit(0);
}

static long read_name(int pipe, struct process_path *path)
{
	long n;

	memcpy(path->text, "/proc/", 6);
	do
		n = SYS_3(__NR_read, pipe, path->text + 6, PID_BYTES);
	while (n == -EINTR);
	path->length = 6 + (size_t)(n > 0 ? n : 0);
	return n > 0 ? 0 : -ESRCH;
}

/* A namespace needs a process to be named by. */
long user_namespace(const char *uids, size_t uid_length, const char *gids, size_t gid_length)
{
	struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
	struct process_path path;
	int pipe[2];
	long result = SYS_2(__NR_pipe2, pipe, O_CLOEXEC), parent = SYS_0(__NR_getpid), pid;

	if (result < 0)
		return result;
	pid = SYS_2(__NR_clone3, &args, sizeof(args));
	if (pid == 0)
		be_named(pipe[1], parent);
	/* Or the end of a process that has no name to tell would not be seen. */
	sys_close(pipe[1]);
	result = pid < 0 ? pid : read_name(pipe[0], &path);
	if (!result)
		result = write_map(&path, "/uid_map", uids, uid_length);
	if (!result)
		result = write_map(&path, "/gid_map", gids, gid_length);
	if (!result)
		result = open_of(&path, "/ns/user", O_RDONLY);
	sys_close(pipe[0]);
	if (pid > 0) {
		SYS_2(__NR_kill, pid, SIGKILL);
		while (SYS_4(__NR_wait4, pid, 0, __WALL, 0) == -EINTR)
			;
	}
	return result;
}
