/* SPDX-License-Identifier: MIT */
/*
 * floor.c - what the kernel itself takes for a container like those of BantuBox.
 *
 * One small process does, in C and with everything known beforehand, the system
 * calls that a start and an end need: directories, cgroups, namespaces, an
 * overlay, the default mounts, masks, pivot_root, capabilities, a seccomp filter
 * of the usual length, execve; then it waits, and removes the groups.
 *
 *   floor ROOT STATE COMMAND [REPEAT]
 *
 * Without REPEAT: one container for each line of standard input; each is
 * answered by its nanoseconds. ROOT has the mount points, STATE exists.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILTER_LENGTH 328
#define CAPABILITIES 0xa80425fbu
#define LAST_CAPABILITY 40
#define MAX_HIERARCHIES 24

static struct hierarchy {
	char mount[256];
	char options[128];
	int version;
} hierarchies[MAX_HIERARCHIES];
static int hierarchy_count, has_v1;
static const char *root, *state, *command;
static char cpus[128], mems[128];

static void must(long result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	_exit(1);
}

#define MUST(call) must(call, #call)

static const char *path(const char *format, const char *a, const char *b)
{
	static char text[4][1024];
	static int next;
	char *to = text[next++ & 3];

	snprintf(to, sizeof(text[0]), format, a, b);
	return to;
}

static void put(const char *file, int flags, const char *content, size_t length)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC | flags, 0644);

	must(fd, file);
	must(write(fd, content, length), file);
	close(fd);
}

static void get(const char *file, char *to, size_t size)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, to, size - 1);

	to[n < 0 ? 0 : n] = 0;
	to[strcspn(to, "\n")] = 0;
	if (fd >= 0)
		close(fd);
}

static void find_hierarchies(void)
{
	FILE *file = fopen("/proc/self/mountinfo", "r");
	char line[4096], type[32];

	while (file && fgets(line, sizeof(line), file) && hierarchy_count < MAX_HIERARCHIES) {
		struct hierarchy *h = &hierarchies[hierarchy_count];
		const char *dash = strstr(line, " - cgroup");
		char super[256];

		if (!dash || sscanf(dash, " - %31s %*s %255s", type, super) != 2)
			continue;
		sscanf(line, "%*s %*s %*s %*s %255s", h->mount);
		h->version = strcmp(type, "cgroup2") ? 1 : 2;
		has_v1 |= h->version == 1;
		/* "rw,cpu" mounts the controller again by "cpu"; a named one by "none,name=systemd". */
		const char *options = strncmp(super, "rw,", 3) ? super : super + 3;
		if (strncmp(options, "xattr,", 6) == 0)
			options += 6;
		snprintf(h->options, sizeof(h->options), "%s%s", strncmp(options, "name=", 5) ? "" : "none,", options);
		hierarchy_count++;
	}
	if (file)
		fclose(file);
}

static const char *group(const struct hierarchy *h, const char *file)
{
	static char text[1024];

	snprintf(text, sizeof(text), "%s/bantubox-floor/one%s%s", h->mount, *file ? "/" : "", file);
	return text;
}

static int is_controller(const struct hierarchy *h, const char *name)
{
	return h->version == 1 && strcmp(h->options, name) == 0;
}

static void make_groups(void)
{
	static const char *const devices[] = {"c *:* m",   "b *:* m",	"c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm",
					      "c 1:9 rwm", "c 5:0 rwm", "c 5:1 rwm", "c 5:2 rwm", "c 136:* rwm"};

	for (int i = 0; i < hierarchy_count; i++) {
		const struct hierarchy *h = &hierarchies[i];

		MUST(mkdir(group(h, ""), 0755));
		if (is_controller(h, "cpuset")) {
			put(group(h, "cpuset.cpus"), 0, cpus, strlen(cpus));
			put(group(h, "cpuset.mems"), 0, mems, strlen(mems));
		}
		if (is_controller(h, "pids") || (!has_v1 && access(group(h, "pids.max"), F_OK) == 0))
			put(group(h, "pids.max"), 0, "2048", 4);
		if (!is_controller(h, "devices"))
			continue;
		put(group(h, "devices.deny"), 0, "a", 1);
		for (size_t k = 0; k < sizeof(devices) / sizeof(*devices); k++)
			put(group(h, "devices.allow"), 0, devices[k], strlen(devices[k]));
	}
}

static void join_groups(void)
{
	for (int i = 0; i < hierarchy_count; i++)
		if (hierarchies[i].version == 1)
			put(group(&hierarchies[i], "tasks"), 0, "0", 1);
}

static void remove_groups(void)
{
	for (int i = 0; i < hierarchy_count; i++)
		MUST(rmdir(group(&hierarchies[i], "")));
}

static void loopback_up(void)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg info;
	} request = {{sizeof(request), RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0},
		     {.ifi_index = 1, .ifi_flags = IFF_UP, .ifi_change = IFF_UP}};
	char answer[256];
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	MUST(fd);
	MUST(send(fd, &request, sizeof(request), 0));
	MUST(recv(fd, answer, sizeof(answer), 0));
	close(fd);
}

static void attach(const char *type, const char *target, unsigned long flags, const char *data)
{
	must(mount(type, target, type, flags, data), target);
}

static void make_devices(void)
{
	static const struct {
		const char *name;
		int major, minor;
	} nodes[] = {{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
	static const char *const links[][2] = {{"/proc/self/fd", "fd"},		{"/proc/self/fd/0", "stdin"},
					       {"/proc/self/fd/1", "stdout"},	{"/proc/self/fd/2", "stderr"},
					       {"pts/ptmx", "ptmx"},		{"/proc/kcore", "core"}};

	for (size_t i = 0; i < sizeof(nodes) / sizeof(*nodes); i++)
		MUST(mknod(path("dev/%s%s", nodes[i].name, ""), S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
	for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++)
		MUST(symlink(links[i][0], path("dev/%s%s", links[i][1], "")));
}

static void attach_groups(void)
{
	const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY;

	if (!has_v1) {
		attach("cgroup2", "sys/fs/cgroup", flags, 0);
		return;
	}
	attach("tmpfs", "sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755");
	for (int i = 0; i < hierarchy_count; i++) {
		const struct hierarchy *h = &hierarchies[i];
		const char *target = path("sys/fs/cgroup/%s%s", strrchr(h->mount, '/') + 1, "");

		MUST(mkdir(target, 0755));
		attach(h->version == 1 ? "cgroup" : "cgroup2", target, flags, h->version == 1 ? h->options : 0);
	}
	MUST(mount(0, "sys/fs/cgroup", 0, MS_REMOUNT | MS_BIND | MS_RDONLY, 0));
}

static void attach_all(void)
{
	static const char *const files[] = {"resolv.conf", "hostname", "hosts"};
	static const char *const masked[] = {"proc/acpi", "proc/interrupts", "proc/keys", "proc/timer_list", "proc/kcore",
					     "sys/firmware"};
	static const char *const readonly[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
	const unsigned long safe = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	char options[2048];
	struct stat found;

	MUST(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0));
	snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s/c/upper,workdir=%s/c/work,volatile", root, state, state);
	MUST(mount("overlay", path("%s/c/rootfs%s", state, ""), "overlay", 0, options));
	MUST(chdir(path("%s/c/rootfs%s", state, "")));
	attach("proc", "proc", safe, 0);
	attach("tmpfs", "dev", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
	make_devices();
	MUST(mkdir("dev/pts", 0755));
	attach("devpts", "dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
	attach("sysfs", "sys", safe | MS_RDONLY, 0);
	attach_groups();
	MUST(mkdir("dev/mqueue", 0755));
	attach("mqueue", "dev/mqueue", safe, 0);
	MUST(mkdir("dev/shm", 0755));
	attach("tmpfs", "dev/shm", safe, "mode=1777,size=67108864");
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		MUST(mount(path("%s/c/%s", state, files[i]), path("etc/%s%s", files[i], ""), 0, MS_BIND, 0));
	MUST(mount("tmpfs", path("%s/c/%s", state, "upper"), "tmpfs", safe | MS_RDONLY, "nr_blocks=1,nr_inodes=2"));
	for (size_t i = 0; i < sizeof(masked) / sizeof(*masked); i++) {
		if (stat(masked[i], &found) < 0)
			continue;
		if (S_ISDIR(found.st_mode))
			MUST(mount(path("%s/c/%s", state, "upper"), masked[i], 0, MS_BIND, 0));
		else
			MUST(mount("/dev/null", masked[i], 0, MS_BIND, 0));
	}
	for (size_t i = 0; i < sizeof(readonly) / sizeof(*readonly); i++) {
		if (mount(readonly[i], readonly[i], 0, MS_BIND | MS_REC, 0) == 0)
			MUST(mount(0, readonly[i], 0, MS_REMOUNT | MS_BIND | MS_RDONLY, 0));
	}
	MUST(syscall(SYS_pivot_root, ".", "."));
	MUST(umount2(".", MNT_DETACH));
	MUST(chdir("/"));
}

/* Looks at the call's number as often as a real filter might, and lets all pass. */
static void filter_calls(void)
{
	static struct sock_filter filter[FILTER_LENGTH];
	const struct sock_fprog program = {FILTER_LENGTH, filter};

	filter[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0);
	for (int i = 1; i < FILTER_LENGTH - 1; i++)
		filter[i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x10000u + i, 0, 0);
	filter[FILTER_LENGTH - 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program));
}

__attribute__((noreturn)) static void become_container(int out, int err)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{.effective = CAPABILITIES, .permitted = CAPABILITIES}};
	const struct rlimit limit = {1024, 20000};
	char *const argv[] = {(char *)command, 0}, *const environment[] = {"PATH=/bin", "HOME=/root", 0};
	int null;

	if (has_v1) {
		join_groups();
		MUST(unshare(CLONE_NEWCGROUP));
	}
	loopback_up();
	put("/proc/sys/net/ipv4/ip_unprivileged_port_start", 0, "0", 1);
	put("/proc/sys/net/ipv4/ping_group_range", 0, "0 2147483647", 12);
	put("/proc/self/oom_score_adj", 0, "0", 1);
	setrlimit(RLIMIT_NOFILE, &limit);
	attach_all();
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	dup3(null, 0, 0);
	dup3(out, 1, 0);
	dup3(err, 2, 0);
	MUST(sethostname("floor", 5));
	setsid();
	syscall(SYS_keyctl, 1, 0, 0, 0, 0);
	for (int i = 0; i <= LAST_CAPABILITY; i++)
		if (i >= 32 || !(CAPABILITIES >> i & 1))
			prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
	filter_calls();
	MUST(syscall(SYS_setgroups, 0, 0));
	MUST(syscall(SYS_capset, &header, data));
	syscall(SYS_close_range, 3, ~0u, 4);
	execve(command, argv, environment);
	must(-1, command);
	_exit(1);
}

static void make_directories(void)
{
	static const char *const names[] = {"", "/rootfs", "/upper", "/work"};
	static char config[4096];

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		MUST(mkdir(path("%s/c%s", state, names[i]), 0755));
	MUST(mkdir(path("%s/r%s", state, ""), 0700));
	memset(config, ' ', sizeof(config));
	put(path("%s/c/%s", state, "config.json"), O_CREAT, config, sizeof(config));
	put(path("%s/c/%s", state, "hostname"), O_CREAT, "floor\n", 6);
	put(path("%s/c/%s", state, "hosts"), O_CREAT, "127.0.0.1\tlocalhost\n", 20);
	put(path("%s/c/%s", state, "resolv.conf"), O_CREAT, "nameserver 127.0.0.1\n", 21);
}

static void remove_directories(void)
{
	static const char *const files[] = {"config.json", "hostname", "hosts", "resolv.conf"};
	static const char *const directories[] = {"/work/work/incompat/volatile/dirty",
						  "/work/work/incompat/volatile",
						  "/work/work/incompat",
						  "/work/work",
						  "/work",
						  "/upper",
						  "/rootfs",
						  ""};

	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		unlink(path("%s/c/%s", state, files[i]));
	for (size_t i = 0; i < sizeof(directories) / sizeof(*directories); i++)
		if (rmdir(path("%s/c%s", state, directories[i])) < 0)
			unlink(path("%s/c%s", state, directories[i]));
	MUST(rmdir(path("%s/r%s", state, "")));
}

static void run(void)
{
	int out[2], err[2], pidfd = -1, status;
	struct clone_args args = {0};
	char text[4096];
	long pid;

	make_directories();
	make_groups();
	MUST(pipe2(out, O_CLOEXEC));
	MUST(pipe2(err, O_CLOEXEC));
	args.flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWTIME | CLONE_PIDFD;
	args.pidfd = (uintptr_t)&pidfd;
	args.exit_signal = SIGCHLD;
	for (int i = 0; i < hierarchy_count; i++) {
		if (hierarchies[i].version == 1)
			continue;
		args.flags |= CLONE_INTO_CGROUP | (has_v1 ? 0 : CLONE_NEWCGROUP);
		args.cgroup = (uint64_t)open(group(&hierarchies[i], ""), O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	pid = syscall(SYS_clone3, &args, sizeof(args));
	MUST(pid);
	if (pid == 0)
		become_container(out[1], err[1]);
	close(out[1]);
	close(err[1]);
	while (read(out[0], text, sizeof(text)) > 0)
		;
	while (read(err[0], text, sizeof(text)) > 0)
		;
	MUST(waitpid((pid_t)pid, &status, 0));
	if (status)
		fprintf(stderr, "floor: the command ended with status %d\n", status);
	close(out[0]);
	close(err[0]);
	close(pidfd);
	if (args.flags & CLONE_INTO_CGROUP)
		close((int)args.cgroup);
	remove_groups();
}

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

int main(int argc, char **argv)
{
	char line[64];
	int left = argc > 4 ? atoi(argv[4]) : -1;

	if (argc < 4) {
		fputs("usage: floor ROOT STATE COMMAND [REPEAT]\n", stderr);
		return 125;
	}
	root = argv[1];
	state = argv[2];
	command = argv[3];
	umask(0);
	find_hierarchies();
	for (int i = 0; i < hierarchy_count; i++) {
		const struct hierarchy *h = &hierarchies[i];

		mkdir(path("%s/%s", h->mount, "bantubox-floor"), 0755);
		if (!is_controller(h, "cpuset"))
			continue;
		get(path("%s/%s", h->mount, "cpuset.cpus"), cpus, sizeof(cpus));
		get(path("%s/%s", h->mount, "cpuset.mems"), mems, sizeof(mems));
		put(path("%s/%s", h->mount, "bantubox-floor/cpuset.cpus"), 0, cpus, strlen(cpus));
		put(path("%s/%s", h->mount, "bantubox-floor/cpuset.mems"), 0, mems, strlen(mems));
	}
	while (left < 0 ? fgets(line, sizeof(line), stdin) != 0 : left-- > 0) {
		uint64_t before = now();

		run();
		printf("%llu\n", (unsigned long long)(now() - before));
		fflush(stdout);
		/* Nobody waits for the removal of a container's files. */
		remove_directories();
	}
	for (int i = 0; i < hierarchy_count; i++)
		rmdir(path("%s/%s", hierarchies[i].mount, "bantubox-floor"));
	return 0;
}
