/* SPDX-License-Identifier: MIT */
/* The part of the kernel's interface whose declarations its headers leave to a C library. */
#ifndef BB_ABI_H
#define BB_ABI_H

#include <stddef.h>
#include <stdint.h>

#define AF_UNIX 1
#define SOCK_SEQPACKET 5
#define SOCK_NONBLOCK 04000
#define SOCK_CLOEXEC 02000000
#define SOL_SOCKET 1
#define SCM_RIGHTS 1
#define MSG_PEEK 0x2
#define MSG_CTRUNC 0x8
#define MSG_DONTWAIT 0x40
#define MSG_NOSIGNAL 0x4000
#define MSG_CMSG_CLOEXEC 0x40000000

#define SIG_BLOCK 0
#define SIG_SETMASK 2
#define SIGNALS 64

#define SIGHUP 1
#define SIGINT 2
#define SIGQUIT 3
#define SIGILL 4
#define SIGTRAP 5
#define SIGBUS 7
#define SIGFPE 8
#define SIGKILL 9
#define SIGSEGV 11
#define SIGPIPE 13
#define SIGTERM 15
#define SIGCHLD 17
#define SIGCONT 18
#define SIGSTOP 19
#define SIGTSTP 20
#define SIGTTIN 21
#define SIGTTOU 22
#define SIGURG 23
#define SIGWINCH 28
#define SIGSYS 31
#define SA_RESTORER 0x04000000

#define P_PID 1
#define F_SETFD 2
#define F_GETFL 3
#define F_SETFL 4

/* A set of signals is one word on x64 and arm64. */
typedef uint64_t signal_set;
#define SIGNAL_BIT(number) (1ull << ((number) - 1))

/* struct ucred */
struct credentials {
	int32_t pid;
	uint32_t uid, gid;
};

/* struct iovec, <linux/uio.h>, under a name of its own */
struct span {
	void *base;
	size_t length;
};

/* struct user_msghdr */
struct message_header {
	void *name;
	int name_length;
	struct span *spans;
	size_t span_count;
	void *control;
	size_t control_length;
	unsigned int flags;
};

/* struct cmsghdr; its payload follows */
struct control_header {
	size_t length;
	int level, type;
};

static inline int wait_signal(int status) { return status & 0x7f; }
static inline int wait_code(int status) { return status >> 8 & 0xff; }

/* The status of a shell's convention: a code, or 128 + the signal. */
static inline int shell_status(int status)
{
	return wait_signal(status) ? 128 + wait_signal(status) : wait_code(status);
}

#endif
