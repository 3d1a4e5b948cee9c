/*
 * Loads seccomp filters into the kernel, each in a process of its own.
 *
 * Standard input holds filters, each behind its length in bytes (u32). For each
 * a line is printed: what seccomp(2) returned, then what the calls named on the
 * command line returned under it ("NR:ARG0", -errno for failures). "killed N"
 * stands for the signal that ended a process at such a call.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PENDING = 1 << 30, PROBES = 32 };

/* Shared with the child, which tells by memory only: its filter may refuse every call. */
static volatile int *results;

static void child(const struct sock_fprog *program, int count, char **probes)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		_exit(1);
	results[0] = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, program) == 0 ? 0 : -errno;
	for (int i = 0; i < count && results[0] == 0; i++) {
		char *end;
		long nr = strtol(probes[i], &end, 0);
		long arg = *end == ':' ? (long)strtoull(end + 1, NULL, 0) : 0;
		long result = syscall(nr, arg, 0, 0, 0, 0);

		results[1 + i] = result < 0 ? -errno : 0;
	}
	results[1 + count] = 0;
	for (;;)
		__asm__ volatile("" ::: "memory");
}

int main(int argc, char **argv)
{
	static unsigned char bytes[BPF_MAXINSNS * sizeof(struct sock_filter)];
	int count = argc - 1;
	uint32_t length;

	results = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (count > PROBES || results == MAP_FAILED)
		return 1;
	while (fread(&length, sizeof(length), 1, stdin) == 1) {
		struct sock_fprog program = { (unsigned short)(length / 8), (struct sock_filter *)bytes };
		int status = 0;
		int ended = 0;
		pid_t pid;

		if (length > sizeof(bytes) || fread(bytes, 1, length, stdin) != length)
			return 1;
		for (int i = 0; i < count + 2; i++)
			results[i] = PENDING;
		pid = fork();
		if (pid == 0)
			child(&program, count, argv + 1);
		for (int waits = 0; results[1 + count] == PENDING && !ended && waits < 20000; waits++) {
			ended = waitpid(pid, &status, WNOHANG) == pid;
			usleep(100);
		}
		if (!ended) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
		}
		for (int i = 0; i < count + 1 && results[i] != PENDING; i++)
			printf("%s%d", i == 0 ? "" : " ", results[i]);
		if (ended)
			printf(" killed %d", WTERMSIG(status));
		printf("\n");
		fflush(stdout);
	}
	return 0;
}
