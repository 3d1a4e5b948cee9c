/* Tells what a process can do to a terminal: its own descriptors, /dev/tty, and TIOCSTI. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(void)
{
	int tty = open("/dev/tty", O_RDWR) < 0 ? -errno : 0;

	printf("isatty %d%d%d\n", isatty(0), isatty(1), isatty(2));
	printf("/dev/tty %d\n", tty);
	for (int fd = 0; fd < 3; fd++)
		printf("TIOCSTI %d\n", ioctl(fd, TIOCSTI, "#") < 0 ? -errno : 0);
	printf("session %d\n", getsid(0) == getpid() || getsid(0) == 1);
	return 0;
}
