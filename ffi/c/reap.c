/* SPDX-License-Identifier: MIT */
/*
 * PID 1 of --init: hands every signal on to the command, collects the processes
 * that lost their parent, and ends as the command ends.
 */
#include "abi.h"
#include "session.h"
#include "sys.h"

#include <linux/prctl.h>
#include <linux/wait.h>

/* Signals that tell of this process itself: not for the command. */
static int is_own(long signal)
{
	return signal == SIGCHLD || signal == SIGTTIN || signal == SIGTTOU;
}

/* Collects whoever has ended. Ends this process, and with it the container, when `pid` is among them. */
static void collect(int pid)
{
	int status;
	long ended;

	while ((ended = SYS_4(__NR_wait4, -1, &status, WNOHANG | __WALL, 0)) != 0) {
		if (ended == pid)
			sys_exit(shell_status(status));
		/* No child at all: somebody else has collected it, and nothing is left to wait for. */
		if (ended < 0 && ended != -EINTR)
			sys_exit(255);
	}
}

void reap_main(int pid)
{
	const signal_set all = ~0ull;

	SYS_4(__NR_rt_sigprocmask, SIG_SETMASK, &all, 0, sizeof(all));
	SYS_2(__NR_prctl, PR_SET_NAME, "init");
	/* Among them the control socket, whose end tells the monitor that the command runs. */
	SYS_3(__NR_close_range, 3, ~0u, 0);
	/* The command may have ended before its SIGCHLD was blocked and so kept. */
	collect(pid);
	for (;;) {
		long signal = SYS_4(__NR_rt_sigtimedwait, &all, 0, 0, sizeof(all));

		if (signal == SIGCHLD)
			collect(pid);
		else if (signal > 0 && !is_own(signal))
			SYS_2(__NR_kill, pid, signal);
	}
}
