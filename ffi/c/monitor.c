/* SPDX-License-Identifier: MIT */
/*
 * The monitor: carries the plan out, then stays as the container's parent until
 * it has ended. It is the only one that collects the exit status.
 */
#include "abi.h"
#include "builtins.h"
#include "control.h"
#include "relay.h"
#include "session.h"
#include "sys.h"

#include <asm/ioctls.h>
#include <asm/termios.h>
#include <linux/close_range.h>
#include <linux/fcntl.h>
#include <linux/prctl.h>
#include <linux/signalfd.h>
#include <linux/time_types.h>
#include <linux/wait.h>

/* How long CRIU may take for it: five seconds. */
#define CRIU_PAUSES 500
#define CRIU_PAUSE_NS 10000000

#define PF_FORKNOEXEC 0x40 /* include/linux/sched.h: forked, but has not executed anything yet */

static const struct plan_monitor *options(const struct session *session)
{
	return &session->plan.header->monitor;
}

static int child_pid(const struct session *session)
{
	return (int)session->regs[options(session)->pid_reg];
}

static int child_pidfd(const struct session *session)
{
	return (int)session->regs[options(session)->pid_reg + 1];
}

static struct failure carry_out(struct session *session, enum plan_section section)
{
	struct failure failure = {.section = section};

	failure.error = (uint32_t)-interpret(session, section, &failure.step);
	return failure;
}

static struct failure child_failure(const struct session *session, uint32_t error)
{
	return (struct failure){SECTION_CHILD, session->plan.header->sections[SECTION_CHILD].first, error};
}

/*
 * Whether the child got to its execve. It is read from the kernel, as the end of
 * the control socket only says that the child executed or died, and a short
 * command may have ended since: field 9 of /proc/PID/stat, which a zombie has too.
 */
static int has_executed(int pid)
{
	char path[32] = "/proc/", text[512];
	size_t at = 6 + decimal(path + 6, (uint64_t)pid);
	long fd, n;
	int spaces = 0;
	uint64_t flags = 0;

	memcpy(path + at, "/stat", 6);
	fd = SYS_4(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return 1;
	n = SYS_3(__NR_read, fd, text, sizeof(text));
	sys_close((int)fd);
	/* Field 2, the command's name in parentheses, may itself hold any of these; the rest are numbers. */
	for (at = n < 0 ? 0 : (size_t)n; at && text[at - 1] != ')';)
		at--;
	for (; n > 0 && at < (size_t)n && spaces < 8; at++) {
		if (text[at] == ' ')
			spaces++;
		else if (spaces == 7)
			flags = flags * 10 + (uint64_t)(text[at] - '0');
	}
	return !(flags & PF_FORKNOEXEC);
}

/* A terminal has a size from the start, also when nobody is attached to it. */
static void size_terminal(const struct session *session)
{
	const struct winsize size = {.ws_row = options(session)->rows, .ws_col = options(session)->columns};

	if (size.ws_row || size.ws_col)
		SYS_3(__NR_ioctl, session->terminal, TIOCSWINSZ, &size);
}

/* Waits until the command runs. The child may send its terminal meanwhile. */
static struct failure wait_started(struct session *session)
{
	/* PID 1 of --init executes nothing itself. */
	int executes = !(options(session)->flags & MONITOR_RESTORED) &&
		       (options(session)->flags & (MONITOR_EXEC | MONITOR_STAGED) ||
			!session->plan.header->sections[SECTION_INNER].count);

	for (;;) {
		struct control_message message;
		int fd = -1, kind = receive_control(session->control, &message, &fd, 0);

		/*
		 * The last stage of an exec has no terminal to send any more, and a container
		 * with CAP_SYS_PTRACE may speak in its place.
		 */
		if (kind == CONTROL_FD && fd >= 0 && session->terminal < 0 &&
		    options(session)->flags & MONITOR_TTY && !(options(session)->flags & MONITOR_EXEC))
			session->terminal = fd;
		else if (kind == CONTROL_HELD && options(session)->flags & MONITOR_LEAVE)
			return (struct failure){0};
		else if (kind == CONTROL_FAILED)
			return (struct failure){message.section, message.step, message.error};
		else if (kind == 0)
			return child_failure(session, executes && !has_executed(child_pid(session)) ? EIO : 0);
		else
			return child_failure(session, kind < 0 ? (uint32_t)-kind : EPROTO);
	}
}

/*
 * The first stage of an exec, or of a container that needs one, enters the namespaces
 * and forks the last one inside of them, which from then on is the child.
 */
static struct failure wait_inner(struct session *session)
{
	struct control_message message;
	int fd = -1, kind, status;

	while ((kind = receive_control(session->control, &message, &fd, 0)) == CONTROL_FD && session->terminal < 0)
		session->terminal = fd;
	if (kind == CONTROL_FAILED)
		return (struct failure){message.section, message.step, message.error};
	if (kind != CONTROL_CHILD || fd < 0)
		return child_failure(session, kind < 0 ? (uint32_t)-kind : EIO);
	/* It ends by itself, and whoever is left with the last stage knows nothing of it. A restore's has more to do. */
	if (options(session)->flags & MONITOR_LEAVE && !(options(session)->flags & MONITOR_RESTORED))
		while (SYS_4(__NR_wait4, child_pid(session), &status, __WALL, 0) == -EINTR)
			;
	sys_close(child_pidfd(session));
	session->regs[options(session)->pid_reg] = message.section;
	session->regs[options(session)->pid_reg + 1] = (uint64_t)fd;
	return (struct failure){0};
}

/* Why the child itself stopped, if it did, explains more than the step of ours that met a dead child. */
static struct failure prefer_childs(const struct session *session, struct failure ours)
{
	struct control_message message;
	int fd = -1;

	if (receive_control(session->control, &message, &fd, MSG_DONTWAIT) == CONTROL_FAILED)
		return (struct failure){message.section, message.step, message.error};
	return ours;
}

struct failure monitor_start(struct session *session)
{
	const struct control_message go = {.kind = CONTROL_GO};
	struct failure failure = {.section = SECTION_PREPARE};
	int pair[2];

	failure.error =
		(uint32_t)-SYS_4(__NR_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
	if (failure.error)
		return failure;
	session->control = pair[0];
	session->monitor_control = pair[1];
	/* Whose stage ends before CRIU has. */
	if (options(session)->flags & MONITOR_RESTORED)
		SYS_5(__NR_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	failure = carry_out(session, SECTION_PREPARE);
	sys_close(pair[0]);
	session->control = pair[1];
	session->monitor_control = -1;
	if (!failure.error && options(session)->flags & (MONITOR_EXEC | MONITOR_STAGED) &&
	    session->plan.header->sections[SECTION_INNER].count)
		failure = wait_inner(session);
	if (failure.error)
		return failure;
	failure = carry_out(session, SECTION_PARENT);
	if (failure.error)
		return prefer_childs(session, failure);
	SYS_6(__NR_sendto, session->control, &go, sizeof(go), MSG_NOSIGNAL, 0, 0);
	return wait_started(session);
}

/*
 * CRIU takes back what it has restored once it hears that its stage has gone; until then its groups are not empty. What
 * is there after that is stuck, and ends with us: all orphans are children of the monitor.
 */
static void wait_criu(void)
{
	const struct __kernel_timespec pause = {0, CRIU_PAUSE_NS};
	int status;

	for (int i = 0; i < 2 * CRIU_PAUSES && SYS_4(__NR_wait4, -1, &status, WNOHANG | __WALL, 0) != -ECHILD; i++) {
		if (i >= CRIU_PAUSES)
			kill_children();
		SYS_2(__NR_nanosleep, &pause, 0);
	}
}

void monitor_undo(struct session *session)
{
	int status;

	if (child_pid(session) > 0) {
		SYS_4(__NR_pidfd_send_signal, child_pidfd(session), SIGKILL, 0, 0);
		while (SYS_4(__NR_wait4, child_pid(session), &status, __WALL, 0) == -EINTR)
			;
	}
	if (options(session)->flags & MONITOR_RESTORED) {
		/* A stage that waits to be met hears that nobody comes. */
		sys_close(session->control);
		wait_criu();
	}
	carry_out(session, SECTION_UNDO);
}

static void tell_client(const struct session *session, char kind, const uint32_t *values, size_t n)
{
	char message[1 + 3 * sizeof(*values)] = {kind};

	memcpy(message + 1, values, n * sizeof(*values));
	SYS_6(__NR_sendto, session->client, message, 1 + n * sizeof(*values), MSG_NOSIGNAL, 0, 0);
}

__attribute__((noreturn)) static void give_up(struct session *session, struct failure failure)
{
	const uint32_t why[3] = {failure.section, failure.step, failure.error};

	monitor_undo(session);
	tell_client(session, MESSAGE_FAILED, why, 3);
	sys_exit(125);
}

/* The lowest descriptor from `from` on that the monitor needs: its own, and what lies in a register. */
static uint64_t next_needed(const struct session *session, uint64_t from, int signals, int terminal)
{
	uint64_t next = UINT32_MAX;
	const int own[] = {session->client, signals, terminal};

	for (int i = 0; i < PLAN_REGS; i++)
		if (session->regs[i] >= from && session->regs[i] < next)
			next = session->regs[i];
	for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++)
		if (own[i] >= 0 && (uint64_t)own[i] >= from && (uint64_t)own[i] < next)
			next = (uint64_t)own[i];
	return next;
}

/*
 * A pipe that the caller reads to its end must not wait for a container that
 * runs in the background: of what the caller passed on, nothing is kept.
 */
static void leave_caller(struct session *session, int signals, int terminal)
{
	long null = SYS_4(__NR_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC, 0);
	uint64_t from = 3, needed;

	for (int fd = 0; fd < 3; fd++)
		if (null < 0)
			sys_close(fd);
		else if (null != fd)
			SYS_3(__NR_dup3, null, fd, 0);
	while (from < UINT32_MAX) {
		needed = next_needed(session, from, signals, terminal);
		if (needed > from)
			SYS_3(__NR_close_range, from, needed - 1, 0);
		from = needed + 1;
	}
	session->plan_fd = -1;
	/* The number may be another file's from now on: hooks print to /dev/null. */
	session->plan.header->monitor.output_fd = -1;
	SYS_1(__NR_chdir, "/");
}

/* Collects every process that ended. Returns 1 once the child is among them. */
static int collect(struct session *session)
{
	int ended = 0, status;
	long pid;

	while ((pid = SYS_4(__NR_wait4, -1, &status, WNOHANG | __WALL, 0)) > 0 || pid == -EINTR) {
		if (pid != child_pid(session))
			continue;
		session->wait_status = status;
		ended = 1;
	}
	return ended;
}

/* Whoever signals the monitor means the container. Returns 1 once the child has ended. */
static int read_signals(struct session *session, int signals)
{
	struct signalfd_siginfo info;
	int ended = 0;

	while (SYS_3(__NR_read, signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			ended |= collect(session);
		else
			SYS_4(__NR_pidfd_send_signal, child_pidfd(session), info.ssi_signo, 0, 0);
	}
	return ended;
}

/* Restarting, networks and events are the engine's: it is executed for them, if the plan says so. */
__attribute__((noreturn)) static void end(struct session *session)
{
	static char *const nothing[] = {0};
	const struct plan_monitor *plan = options(session);
	const signal_set all = ~0ull, none = 0;
	const struct __kernel_timespec now = {0};
	char *const *argv = (char *const *)(void *)(session->plan.data + plan->exited);
	char *const *environment = (char *const *)(void *)(session->plan.data + plan->environment);

	if (!plan->exited)
		sys_exit(0);
	SYS_3(__NR_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC);
	/* A signal that came too late for the container is not for the engine. */
	while (SYS_4(__NR_rt_sigtimedwait, &all, 0, &now, sizeof(all)) > 0)
		;
	SYS_4(__NR_rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof(none));
	SYS_3(__NR_execve, argv[0], argv, plan->environment ? environment : nothing);
	sys_exit(125);
}

void monitor_main(struct session *session)
{
	const signal_set all = ~0ull;
	const signal_set heard = SIGNAL_BIT(SIGCHLD) | SIGNAL_BIT(SIGTERM) | SIGNAL_BIT(SIGINT) |
				 SIGNAL_BIT(SIGHUP) | SIGNAL_BIT(SIGQUIT);
	const struct plan_monitor *plan = options(session);
	struct failure failure;
	int signals;

	SYS_4(__NR_rt_sigprocmask, SIG_SETMASK, &all, 0, sizeof(all));
	SYS_0(__NR_setsid);
	SYS_5(__NR_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	SYS_5(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
	/* The first three numbers are never free: leave_caller() fills them. */
	if (plan->report_fd > 2)
		sys_close(plan->report_fd);
	signals = (int)SYS_4(__NR_signalfd4, -1, &heard, sizeof(heard), SFD_NONBLOCK | SFD_CLOEXEC);
	failure = monitor_start(session);
	if (!failure.error && signals < 0)
		failure = child_failure(session, (uint32_t)-signals);
	if (failure.error)
		give_up(session, failure);

	sys_close(session->control);
	leave_caller(session, signals, session->terminal);
	if (session->terminal >= 0)
		size_terminal(session);
	relay_open(session, session->terminal);
	carry_out(session, SECTION_STARTED);
	tell_client(session, MESSAGE_STARTED, (const uint32_t[]){(uint32_t)child_pid(session)}, 1);
	if (plan->flags & MONITOR_DETACH)
		sys_close(session->client);
	else
		relay_first(session->client);
	do
		relay_run(signals);
	while (!read_signals(session, signals));
	relay_finish();
	carry_out(session, SECTION_EXITED);
	relay_exited((uint32_t)session->wait_status);
	carry_out(session, SECTION_AFTER);
	end(session);
}
