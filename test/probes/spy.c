/*
 * Looks without pause at every process of its /proc but itself, its parents and
 * those it is told of, for a way out: a descriptor of a directory, or a file,
 * that is not the container's own, a root or working directory elsewhere, an
 * executable that can be written, and host processes that can be traced. Stops
 * when the file "stop" appears. Prints what it found, and how many it looked at.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct stat own;
static int newest, looked;

static void check_directory(int pid, const char *name)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	if (stat(path, &st) == 0 && (st.st_dev != own.st_dev || st.st_ino != own.st_ino))
		printf("%s leads to %lx:%lu\n", path, (unsigned long)st.st_dev, (unsigned long)st.st_ino);
}

static void check_fd(int pid, const char *fd)
{
	char path[300], target[PATH_MAX];
	struct stat st;
	ssize_t n;
	int opened;

	snprintf(path, sizeof(path), "/proc/%d/fd/%s", pid, fd);
	if (stat(path, &st) != 0 || st.st_dev == own.st_dev)
		return;
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return;
	target[n] = 0;
	if (S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode))
		printf("%s is %s\n", path, target);
	if (S_ISREG(st.st_mode)) {
		opened = open(path, O_WRONLY | O_CLOEXEC);
		if (opened >= 0)
			printf("%s can be written: %s\n", path, target);
		close(opened);
	}
}

static void look(int pid)
{
	char path[64], target[64];
	struct dirent *entry;
	ssize_t n;
	DIR *fds;
	int opened;

	looked++;
	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	n = readlink(path, target, sizeof(target) - 1);
	target[n < 0 ? 0 : n] = 0;
	if (strncmp(target, "/memfd:", 7) == 0) {
		newest++;
		opened = open(path, O_WRONLY | O_CLOEXEC);
		if (opened >= 0)
			printf("%s can be written\n", path);
		close(opened);
	}
	check_directory(pid, "root");
	check_directory(pid, "cwd");
	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	fds = opendir(path);
	if (fds == NULL)
		return;
	while ((entry = readdir(fds)) != NULL)
		if (entry->d_name[0] != '.')
			check_fd(pid, entry->d_name);
	closedir(fds);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (stat("/", &own) != 0)
		return 1;
	printf("ready\n");
	while (access("/tmp/stop", F_OK) != 0) {
		int last = 0;
		char word[64] = "";
		int loadavg = open("/proc/loadavg", O_RDONLY);

		if (read(loadavg, word, sizeof(word) - 1) > 0)
			last = atoi(strrchr(word, ' ') + 1);
		close(loadavg);
		/* The newest process of the namespace, and the one to come. */
		for (int pid = last > 2 ? last - 2 : 2; pid <= last + 1; pid++) {
			char path[32];

			snprintf(path, sizeof(path), "/proc/%d", pid);
			if (pid != getpid() && access(path, F_OK) == 0)
				look(pid);
		}
	}
	printf("looked %d, before execve %d\n", looked, newest);
	return 0;
}
