/*
 * Tries system calls with arguments that do no harm: all bits set, so that each
 * address is invalid and each descriptor closed. Every argument is ABI:NR, with
 * ABI x64 or i386 (int 0x80), or ABI:NR:A:B:C for three arguments of one's own.
 * Prints for each what it was and "ok", -errno, or "signal N".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static long call64(long nr, long a, long b, long c)
{
	register long r10 __asm__("r10") = -1, r8 __asm__("r8") = -1, r9 __asm__("r9") = -1;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

static long call32(long nr, long a, long b, long c)
{
	int result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"((int)nr), "b"(a), "c"(b), "d"(c), "S"(-1L), "D"(-1L)
			 : "memory", "r8", "r9", "r10", "r11");
	return result;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		char *at = strchr(argv[i], ':');
		int is32 = strncmp(argv[i], "i386", 4) == 0;
		long args[3] = { -1, -1, -1 };
		long nr;
		int ends[2];
		int status;
		long result;

		if (at == NULL || pipe(ends) != 0)
			return 1;
		nr = strtol(at + 1, &at, 0);
		for (int k = 0; k < 3 && *at == ':'; k++)
			args[k] = (long)strtoull(at + 1, &at, 0);
		if (fork() == 0) {
			alarm(2);
			result = is32 ? call32(nr, args[0], args[1], args[2]) : call64(nr, args[0], args[1], args[2]);
			_exit(write(ends[1], &result, sizeof(result)) != sizeof(result));
		}
		close(ends[1]);
		if (read(ends[0], &result, sizeof(result)) != sizeof(result)) {
			wait(&status);
			printf("%s signal %d\n", argv[i], WTERMSIG(status));
		} else {
			wait(&status);
			if (result < 0 && result > -4096)
				printf("%s %ld\n", argv[i], result);
			else
				printf("%s ok\n", argv[i]);
		}
		close(ends[0]);
	}
	return 0;
}
