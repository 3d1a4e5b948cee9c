/* SPDX-License-Identifier: MIT */
/*
 * plan.h - the plan on the wire: the contract between TypeScript and C.
 *
 * TypeScript compiles what shall happen into raw system calls; this program
 * carries them out in order and answers (section, step, errno). It decides
 * nothing. ffi/src/plan.ts writes what this header describes, and
 * ffi/src/plan.test.ts compares both.
 *
 *   struct plan_header | struct plan_step[steps] | data (ends with a zero byte)
 *
 * An argument marked in `ptrs` is an offset into data and becomes an address;
 * one marked in `regs` is a register's index and becomes its value. Registers
 * carry descriptors and pids from one step to the next, also across a fork.
 */
#ifndef BB_PLAN_H
#define BB_PLAN_H

#include <stddef.h>
#include <stdint.h>

#define PLAN_MAGIC 0x4e4c5042u /* "BPLN" */
#define PLAN_VERSION 1
#define PLAN_REGS 64
#define PLAN_MAX_BYTES (16u << 20)

/* What runs where; docs/architecture.md draws it. */
enum plan_section {
	SECTION_PREPARE, /* the monitor, on the host: directories, cgroups, pipes, sockets, the fork */
	SECTION_CHILD,	 /* PID 1 (or the process of an exec) up to its execve */
	SECTION_PARENT,	 /* the monitor, once the child exists: id maps, the start record */
	SECTION_EXITED,	 /* the monitor, after PID 1: the exit record, what must be gone when clients hear of it */
	SECTION_UNDO,	 /* the monitor, instead, when a step failed: every error is passed over */
	SECTION_INNER,	 /* a process that CHILD forks: the last stage of an exec, the command under --init */
	SECTION_AFTER,	 /* the monitor, last of all, when nobody waits any more: removal of files */
	SECTION_STARTED, /* the monitor, once the command runs: poststart's hooks */
	SECTIONS
};

/* Step flags. The upper six bits are a tag, which only TypeScript reads, for its words. */
#define STEP_IGNORE 0x1 /* any errno is passed over */

struct plan_step {
	uint16_t nr;	  /* a system call, or one of enum plan_builtin */
	uint8_t ptrs;	  /* bit k: a[k] is an offset into data */
	uint8_t regs;	  /* bit k: a[k] is a register */
	uint8_t dst;	  /* 1 + the register that takes the result; 0: none */
	uint8_t flags;
	uint8_t tolerate; /* this errno is no failure: `skip` more steps are passed over */
	uint8_t skip;
	uint64_t a[6];
};

/* What is not one system call. Each returns >= 0 or -errno like one. */
enum plan_builtin {
	BUILTIN_FIRST = 0x8000,
	/* (section, clone flags, cgroup fd or -1): forks; the child carries out `section`. dst: pid, dst + 1: pidfd */
	BUILTIN_FORK = BUILTIN_FIRST,
	BUILTIN_WAIT_GO,     /* (): the child waits until the monitor has recorded it */
	BUILTIN_SEND_FD,     /* (fd): the child hands a descriptor, its pty, to the monitor */
	BUILTIN_LOAD32,	     /* (address): result is the 32-bit value there, for pipe2 and socketpair */
	BUILTIN_STORE32,     /* (address, value) */
	BUILTIN_WRITE_FILE,  /* (dirfd, path, data, length, open flags, mode): opens, writes all, closes */
	BUILTIN_NETLINK,     /* (socket, batch, length, acks): sends, reads the acks; first error of the kernel */
	BUILTIN_EXEC,	     /* (paths, argv, envp): execve of the first path that exists */
	BUILTIN_RECORD_START,/* (dirfd, name): /proc/PID/stat of the child, as it is */
	BUILTIN_RECORD_EXIT, /* (dirfd, name, dirfd, path or 0): wait status, time, and that file's content */
	BUILTIN_REMOVE_TREE, /* (dirfd, name): removes it with all below, following nothing */
	BUILTIN_CHECK_CWD,   /* (): ENOENT unless the working directory lies below the root */
	BUILTIN_CHECK_FS,    /* (fd, magic): EINVAL unless the file is on that kind of file system */
	BUILTIN_REAP,	     /* (pid): PID 1 of --init: forwards signals, reaps, exits as pid does */
	BUILTIN_EXIT,	     /* (status): ends this process: the middle stage of an exec */
	BUILTIN_CHECK_TYPE,  /* (fd, S_IFMT value, major << 32 | minor or 0): ENXIO unless the file is of that type and device */
	/* (root, path, S_IFDIR or S_IFREG, openat2 resolve flags): opens (O_PATH) what a mount goes on, makes it when missing */
	BUILTIN_TARGET,
	BUILTIN_MASK,	     /* (root, path, fd of /dev/null, fd of an empty mount): hides it; absent is fine */
	BUILTIN_DROP_BOUNDING,/* (low word, high word): drops every capability whose bit is not set */
	BUILTIN_SEND_CHILD,  /* (pid, pidfd): tells the monitor that this is the process to wait for */
	BUILTIN_CLOSE_OTHERS,/* (first, fd, fd): closes every descriptor from first on but those and the way to the monitor */
	BUILTIN_PASS_FD,     /* (socket, fd, text, length): sends both to a socket of somebody else's */
	BUILTIN_MEET,	     /* (): child and parent wait here for each other */
	BUILTIN_HOLD,	     /* (fifo, 1 as PID 1 of a namespace): the child is on its own from here, and waits for one byte */
	/* (path, argv, envp, stdin text, timeout in ms or 0): runs it to its end; -HOOK_STATUS - status when that is not 0 */
	BUILTIN_HOOK,
	BUILTIN_STORE_PID,   /* (address, width, pid): its digits, with spaces behind them */
	BUILTIN_WRITE_PID,   /* (aside, path, pid): its digits become that file */
	BUILTIN_LOOKUP,	     /* (paths, argv): the error that BUILTIN_EXEC would meet, as far as it can be told before */
	BUILTIN_USER_NAMESPACE,/* (uid map, length, gid map, length): makes one; result is its descriptor */
	BUILTIN_COPY_UP,     /* (from, to, COPY_*): gives a new directory what another one has */
	/* (uid, to, room): the home that /etc/passwd below the root has for this user, else "/", as a string */
	BUILTIN_HOME,
	/*
	 * (socket, request or 0, pidfd, script or 0, socket or -1): talks to CRIU's service, which that process is, until
	 * its notification of that name, or its end; a request has its length before it, in 32 bits, and without one it
	 * goes on after the last notification. A terminal goes to the second socket, or
	 * to the monitor. The last argument, the path of CRIU's log, is for whoever explains a failure. Result: the pid.
	 */
	BUILTIN_CRIU,
	BUILTIN_REMOVE_GROUP,/* (path): removes a cgroup, and all below it that nobody is in */
	BUILTIN_LAST = BUILTIN_REMOVE_GROUP
};

/* What BUILTIN_HOOK adds to a status of 1 to 255: no errno is as high. */
#define HOOK_STATUS 0x400

/* What BUILTIN_COPY_UP copies: the directory's permissions; all that lies below it, with its owner. */
#define COPY_MODE 0x1
#define COPY_TREE 0x2

struct plan_range {
	uint32_t first, count;
};

/* Monitor flags */
#define MONITOR_TTY 0x1		/* the child sends a pty with BUILTIN_SEND_FD */
#define MONITOR_STDIN 0x2	/* keep stdin open (-i); else the child has /dev/null */
#define MONITOR_ATTACH 0x4	/* the client relays its own stdin, stdout and stderr */
#define MONITOR_DETACH 0x8	/* the client ends once the command has started */
#define MONITOR_LOG 0x10	/* write what the container prints to the log */
#define MONITOR_CLIENT_ONLY 0x20 /* attach: PREPARE runs in the client and connects `connection` */
#define MONITOR_STDIN_ONCE 0x40 /* close the container's stdin when the first client's ends, or the client */
#define MONITOR_EXEC 0x80	/* the child is not PID 1 of a namespace: its children may outlive it */
#define MONITOR_STAGED 0x200	/* CHILD forks INNER, which is the container's process, and ends */
#define MONITOR_RESTORED 0x400	/* the child was restored: it executes nothing */
#define MONITOR_LEAVE 0x100	/* no client and no monitor: this process ends once the child is held or runs */

#define NO_REG 0xff

struct plan_monitor {
	uint32_t flags;
	uint8_t stdin_reg;   /* the monitor's end of the container's stdin, stdout, stderr */
	uint8_t stdout_reg;
	uint8_t stderr_reg;
	uint8_t listen_reg;  /* listening SOCK_SEQPACKET of attach, or NO_REG */
	uint8_t log_dir_reg; /* directory of log, log.1, ...; opened by PREPARE */
	uint8_t pid_reg;     /* the child; its pidfd is the next register */
	uint8_t connection_reg; /* MONITOR_CLIENT_ONLY: the connected socket */
	uint8_t log_files;   /* how many are kept, the current one included */
	int32_t output_fd;   /* where hooks print; -1: to this process's own stdout and stderr */
	uint64_t log_bytes;  /* rotate at this size; 0: never */
	int32_t report_fd;   /* where struct plan_report goes; -1: the client executes `failed` */
	uint16_t rows, columns; /* of a pty nobody is attached to */
	uint64_t failed;     /* argv to execute when a step failed (offset of an array, 0: none) */
	uint64_t exited;     /* argv for the monitor to become after EXITED; 0: none */
	uint64_t environment;/* envp of both */
	uint8_t detach_keys[8]; /* ends with 0; all 0: no detaching */
};

struct plan_header {
	uint32_t magic, version;
	uint32_t bytes;	     /* of the whole plan */
	uint32_t steps;
	uint32_t data;	     /* offset of data from the plan's start */
	uint32_t relocations;/* offset in data of a u32 table: places in data that hold offsets of data */
	uint32_t relocation_count;
	uint32_t _pad;
	struct plan_range sections[SECTIONS];
	struct plan_monitor monitor;
};

/* What the client writes to report_fd, and the arguments that `failed` gets in decimal. */
struct plan_report {
	uint32_t kind; /* REPORT_* */
	uint32_t a, b, c;
};

enum plan_report_kind {
	REPORT_STARTED = 1, /* a: pid */
	REPORT_EXITED,	    /* a: wait status */
	REPORT_FAILED	    /* a: section, b: step within the whole plan, c: errno */
};

/* A plan that was checked: nothing below looks at an offset again. */
struct plan {
	struct plan_header *header;
	struct plan_step *steps;
	uint8_t *data;
};

/*
 * plan_decode - check `bytes` at `at` and turn data's offsets into addresses.
 *
 * Writes only inside the plan. Returns 0, or -EINVAL for anything that could
 * make a later step read outside of it by its own doing.
 */
int plan_decode(void *at, size_t bytes, struct plan *plan);

#endif
