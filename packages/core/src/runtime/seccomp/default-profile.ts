/** The default profile: what a container may call, decided as Docker's default profile decides it. */
import { type CapabilitySet, capabilitySet, hasCapability } from "../capabilities.ts";
import type { LinuxSeccomp, LinuxSyscall, SeccompArch } from "./profile.ts";

// A word `name+x` stands for both `name` and `namex`: the second is the same call
// with wider numbers, on 32-bit architectures.
const ALLOWED = `
  access chdir chmod chown+32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
  fadvise64+_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown+32 fchownat fcntl+64 fdatasync flock fstat+64
  fstatat64 fstatfs+64 fsync ftruncate+64 futimesat getcwd getdents+64 ioctl lchown+32 link linkat listmount
  _llseek lseek lstat+64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pipe pipe2
  pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv rename renameat
  renameat2 rmdir sendfile+64 splice stat+64 statfs+64 statmount statx symlink symlinkat sync sync_file_range
  syncfs tee truncate+64 umask unlink unlinkat utime utimensat+_time64 utimes vmsplice write writev

  fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr
  lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat

  epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
  eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch _newselect poll
  ppoll+_time64 pselect6+_time64 select
  io_cancel io_destroy io_getevents io_pgetevents+_time64 io_setup io_submit

  accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg+_time64 recvmsg send
  sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair

  brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap
  mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease
  remap_file_pages

  futex+_time64 futex_requeue futex_wait futex_waitv futex_wake get_robust_list set_robust_list
  ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop+_time64 shmat shmctl shmdt shmget
  mq_getsetattr mq_notify mq_open mq_timedreceive+_time64 mq_timedsend+_time64 mq_unlink

  execve execveat exit exit_group fork vfork wait4 waitid waitpid
  getcpu getpgid getpgrp getpid getppid getpriority getrlimit getrusage getsid gettid ioprio_get ioprio_set
  landlock_add_rule landlock_create_ruleset landlock_restrict_self prctl prlimit64 process_vm_readv
  process_vm_writev ptrace rseq seccomp setpgid setpriority setrlimit setsid set_tid_address ugetrlimit uretprobe
  get_thread_area set_thread_area
  sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler
  sched_rr_get_interval+_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield

  alarm kill pause pidfd_open pidfd_send_signal restart_syscall rt_sigaction rt_sigpending rt_sigprocmask
  rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait+_time64 rt_tgsigqueueinfo sigaltstack signalfd
  signalfd4 sigprocmask sigreturn tgkill tkill

  adjtimex clock_adjtime+64 clock_getres+_time64 clock_gettime+64 clock_nanosleep+_time64 getitimer gettimeofday
  nanosleep setitimer time timer_create timer_delete timer_getoverrun timer_gettime+64 timer_settime+64
  timerfd_create timerfd_gettime+64 timerfd_settime+64 times

  capget capset getegid+32 geteuid+32 getgid+32 getgroups+32 getresgid+32 getresuid+32 getuid+32 setfsgid+32
  setfsuid+32 setgid+32 setgroups+32 setregid+32 setresgid+32 setresuid+32 setreuid+32 setuid+32
  getrandom sysinfo uname
`;

const ALLOWED_ON: Readonly<Record<SeccompArch, string>> = {
  x64: "arch_prctl modify_ldt",
  arm64: "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
};

/** Calls that a capability opens. */
const ALLOWED_WITH: Readonly<Record<string, string>> = {
  CAP_BPF: "bpf",
  CAP_DAC_READ_SEARCH: "open_by_handle_at",
  CAP_PERFMON: "perf_event_open",
  CAP_SYSLOG: "syslog",
  CAP_SYS_ADMIN: `
    bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules
    lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname
    sethostname setns syslog umount umount2 unshare`,
  CAP_SYS_BOOT: "reboot",
  CAP_SYS_CHROOT: "chroot",
  CAP_SYS_MODULE: "delete_module finit_module init_module",
  CAP_SYS_NICE: "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
  CAP_SYS_PACCT: "acct",
  CAP_SYS_PTRACE: "kcmp pidfd_getfd process_madvise",
  CAP_SYS_RAWIO: "ioperm iopl",
  CAP_SYS_TIME: "clock_settime+64 settimeofday stime",
  CAP_SYS_TTY_CONFIG: "vhangup",
};

const AF_ALG = 38; // the kernel's crypto API, a way in time and again
const AF_VSOCK = 40; // talks to the hypervisor

// PER_LINUX, PER_LINUX32, each with UNAME26, and the one that only asks.
const PERSONALITIES = [0x0, 0x0008, 0x20000, 0x20008, 0xffff_ffff];

/** CLONE_NEW* except NEWTIME, which clone(2) does not take. */
const CLONE_NAMESPACES = 0x7e02_0000;

const ENOSYS = 38;

const ARCHITECTURES: Readonly<Record<SeccompArch, readonly string[]>> = {
  x64: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
  arm64: ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
};

/** What the default profile depends on. */
export interface ProfileSubject {
  readonly arch: SeccompArch;
  /** The bounding set of the container. */
  readonly capabilities: CapabilitySet;
}

/** The capabilities that change the profile; all others make no difference to it. */
export function decisiveCapabilities(): CapabilitySet {
  return capabilitySet(Object.keys(ALLOWED_WITH));
}

/** Gives the default profile as config.json has it. */
export function defaultSeccompProfile({ arch, capabilities }: ProfileSubject): LinuxSeccomp {
  const names = [...expand(ALLOWED), ...expand(ALLOWED_ON[arch])];
  for (const [capability, list] of Object.entries(ALLOWED_WITH))
    if (hasCapability(capabilities, capability)) names.push(...expand(list));
  return {
    defaultAction: "SCMP_ACT_ERRNO",
    defaultErrnoRet: 1,
    architectures: ARCHITECTURES[arch],
    syscalls: [
      { names, action: "SCMP_ACT_ALLOW" },
      allowSocket("SCMP_CMP_LT", AF_ALG),
      allowSocket("SCMP_CMP_EQ", AF_ALG + 1),
      allowSocket("SCMP_CMP_GT", AF_VSOCK),
      ...PERSONALITIES.map((value) => allowIf("personality", { index: 0, op: "SCMP_CMP_EQ", value })),
      ...(hasCapability(capabilities, "CAP_SYS_ADMIN") ? [] : CLONE_WITHOUT_NAMESPACES),
    ],
  };
}

// clone3 has its flags in memory, where no filter sees them: ENOSYS sends libc to clone.
const CLONE_WITHOUT_NAMESPACES: readonly LinuxSyscall[] = [
  allowIf("clone", { index: 0, op: "SCMP_CMP_MASKED_EQ", value: CLONE_NAMESPACES, valueTwo: 0 }),
  { names: ["clone3"], action: "SCMP_ACT_ERRNO", errnoRet: ENOSYS },
];

function allowSocket(op: string, family: number): LinuxSyscall {
  return allowIf("socket", { index: 0, op, value: family });
}

function allowIf(name: string, arg: NonNullable<LinuxSyscall["args"]>[number]): LinuxSyscall {
  return { names: [name], action: "SCMP_ACT_ALLOW", args: [arg] };
}

function expand(list: string): string[] {
  return list
    .trim()
    .split(/\s+/)
    .flatMap((word) => {
      const [name = "", suffix] = word.split("+");
      return suffix === undefined ? [name] : [name, name + suffix];
    });
}
