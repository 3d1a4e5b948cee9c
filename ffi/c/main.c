/* SPDX-License-Identifier: MIT */
/*
 * The trampoline: started from a sealed memfd with a plan in another.
 *
 *   argv[1]  the plan's descriptor
 *
 * It splits into the client, which keeps the caller's pid and terminal, and the
 * monitor, which carries the plan out and stays with the container; or it carries
 * the plan out itself and leaves (MONITOR_LEAVE).
 */
#include "session.h"
#include "sys.h"

#include <linux/mman.h>
#include <linux/sched.h>
#include <linux/stat.h>

#define AF_UNIX 1
#define SOCK_SEQPACKET 5
#define SOCK_CLOEXEC 02000000
#define SEEK_END 2
#define PROT_READ_WRITE 3
#define F_GETFD 1
#define F_SETFD 2
#define AT_FDCWD (-100)
#define O_RDWR 2
#define FD_CLOEXEC 1
#define SIG_SETMASK 2

static int parse_fd(const char *text)
{
	int fd = 0;

	if (!*text)
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || fd > 100000)
			return -1;
		fd = fd * 10 + (*text - '0');
	}
	return fd;
}

static int map_plan(int fd, struct plan *plan)
{
	long bytes = SYS_3(__NR_lseek, fd, 0, SEEK_END), at;

	if (bytes <= 0)
		return -EINVAL;
	at = SYS_6(__NR_mmap, 0, bytes, PROT_READ_WRITE, MAP_PRIVATE, fd, 0);
	if (at < 0 && at > -4096)
		return (int)at;
	return plan_decode((void *)at, (size_t)bytes, plan);
}

/* The client's pid is what the caller knows, so the monitor is the one that is forked. */
static void split(struct session *session)
{
	int pair[2];
	const uint64_t all = ~0ull;
	struct clone_args args = {0};
	long pid = SYS_4(__NR_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);

	/* The command may run, and be seen to, before the client is there to hear what is sent to it. */
	SYS_4(__NR_rt_sigprocmask, SIG_SETMASK, &all, 0, sizeof(all));
	if (pid == 0)
		pid = SYS_2(__NR_clone3, &args, sizeof(args));
	if (pid < 0)
		client_fail(session, (uint32_t)-pid);
	if (pid == 0) {
		sys_close(pair[0]);
		session->client = pair[1];
		monitor_main(session);
	}
	sys_close(pair[1]);
	client_main(session, pair[0]);
}

/*
 * Bun ignores SIGPIPE and SIGXFSZ, and whoever started Bun may ignore others: a
 * container starts with every signal at its default.
 */
static void reset_signals(void)
{
	const uint64_t action[4] = {0}, empty = 0;

	for (int signal = 1; signal <= 64; signal++)
		SYS_4(__NR_rt_sigaction, signal, action, 0, sizeof(empty));
	SYS_4(__NR_rt_sigprocmask, SIG_SETMASK, &empty, 0, sizeof(empty));
}

/* A caller may have closed its standard streams; a pipe of ours that took their place would be taken for them. */
static void open_standard_streams(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (SYS_2(__NR_fcntl, fd, F_GETFD) < 0)
			SYS_4(__NR_openat, AT_FDCWD, "/dev/null", O_RDWR, 0);
}

__attribute__((noreturn, used)) void trampoline_main(long *stack);

void trampoline_main(long *stack)
{
	/* Static, not on the stack: 0.6 KB of zeroes that cost nothing, shared until written. */
	static struct session session = {.control = -1, .monitor_control = -1, .client = -1, .terminal = -1};
	long argc = stack[0];
	char **argv = (char **)(stack + 1);
	uint32_t step = 0;
	int error;

	if (argc != 2)
		sys_exit(125);
	reset_signals();
	open_standard_streams();
	session.plan_fd = parse_fd(argv[1]);
	session.environment = argv + argc + 1;
	SYS_3(__NR_fcntl, session.plan_fd, F_SETFD, FD_CLOEXEC);
	error = map_plan(session.plan_fd, &session.plan);
	if (error)
		sys_exit(125);
	for (int i = 0; i < PLAN_REGS; i++)
		session.regs[i] = (uint64_t)-1;
	if (session.plan.header->monitor.flags & MONITOR_LEAVE)
		leave_main(&session);
	if (!(session.plan.header->monitor.flags & MONITOR_CLIENT_ONLY))
		split(&session);
	error = interpret(&session, SECTION_PREPARE, &step);
	if (error)
		sys_exit(125);
	client_main(&session, (int)session.regs[session.plan.header->monitor.connection_reg]);
}
