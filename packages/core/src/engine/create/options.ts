/** One `-v`, `--mount` or `--tmpfs`. */
export interface MountOption {
  readonly type: "bind" | "volume" | "tmpfs";
  /** Absolute host path of a bind; name of a volume ("" for an anonymous one); absent for tmpfs. */
  readonly source?: string;
  /** Absolute path in the container. */
  readonly target: string;
  readonly readOnly?: boolean;
  readonly propagation?: "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave";
  /** The bind's source is made when it is missing (`-v` does, `--mount` does not). */
  readonly createSource?: boolean;
  /** tmpfs: size in bytes and mode; further mount options as tmpfs(5) has them (`noexec`, `uid=1000`). */
  readonly tmpfs?: readonly string[];
}

/** `--ulimit`: name without RLIMIT_ and in lower case; -1 is unlimited. */
export interface UlimitOption {
  readonly name: string;
  readonly soft: number;
  readonly hard: number;
}

/** Limits; what is unset is left to the kernel. */
export interface ResourceOptions {
  readonly memoryBytes?: number;
  /** Memory and swap together; -1: unlimited swap. */
  readonly memorySwapBytes?: number;
  readonly memoryReservationBytes?: number;
  /** CPUs as a decimal number, such as 1.5. */
  readonly cpus?: number;
  readonly cpuShares?: number;
  readonly cpusetCpus?: string;
  readonly cpusetMems?: string;
  /** -1: unlimited; the default is 2048. */
  readonly pidsLimit?: number;
}

/** What `bb run` and `bb create` take; every field is checked by the engine again, whoever calls it. */
export interface ContainerOptions {
  /** An image's name, ID or digest; `host`; or a root directory that starts with `/`, `./` or `../`. */
  readonly image: string;
  /** What follows the image: replaces its Cmd. */
  readonly command: readonly string[];
  readonly name?: string;
  readonly hostname?: string;
  /** `NAME=value` each, in order; the last one wins. */
  readonly env?: readonly string[];
  readonly workdir?: string;
  /** `uid`, `name`, `uid:gid`, `name:group`. */
  readonly user?: string;
  /** Replaces the image's Entrypoint and drops its Cmd; `[]` clears it. */
  readonly entrypoint?: readonly string[];
  readonly tty?: boolean;
  /** Keep stdin open. */
  readonly interactive?: boolean;
  readonly autoRemove?: boolean;
  readonly mounts?: readonly MountOption[];
  readonly readOnly?: boolean;
  /** Write through to a root directory instead of a layer above it. */
  readonly rootfsRw?: boolean;
  /** `none`, `host`, `bridge`, `container:ID`. */
  readonly network?: string;
  readonly resources?: ResourceOptions;
  readonly capAdd?: readonly string[];
  readonly capDrop?: readonly string[];
  /** `no-new-privileges[=true|false]`, `seccomp=FILE|unconfined`, `apparmor=NAME|unconfined`, as Docker has them. */
  readonly securityOpt?: readonly string[];
  readonly privileged?: boolean;
  readonly init?: boolean;
  readonly ulimits?: readonly UlimitOption[];
  readonly labels?: Readonly<Record<string, string>>;
  readonly pull?: "missing" | "always" | "never";
  /** `linux/arm64/v8` and the like, for a pull. */
  readonly platform?: string;
  /** A name (`SIGTERM`, `TERM`) or a number. */
  readonly stopSignal?: string;
  readonly stopTimeoutSec?: number;
  readonly shmSizeBytes?: number;
  /** By how much the container's root can grow; an error where the storage driver cannot limit it. */
  readonly storageSizeBytes?: number;
  /** Absolute path: the container's ID is written there; it must not exist. */
  readonly cidfile?: string;
  /** `ctrl-p,ctrl-q` by default; the keys that detach a client from the container. */
  readonly detachKeys?: string;
}

/** What `bb exec` takes. */
export interface ExecOptions {
  readonly command: readonly string[];
  readonly env?: readonly string[];
  readonly workdir?: string;
  readonly user?: string;
  readonly tty?: boolean;
  readonly interactive?: boolean;
  readonly privileged?: boolean;
  readonly detachKeys?: string;
}
