import { BoxError, readIfThere } from "@bantubox/ffi";

/** A CRIU that works on this host. */
export interface Criu {
  /** Absolute. */
  readonly path: string;
  /** As it says it itself: `3.17.1`. */
  readonly version: string;
}

/** It looks at the kernel, which takes less than a second. */
const CHECK_MS = 60_000;
const INSTALL = 'Install it ("apt-get install criu" on Debian), or see https://criu.org/Packages';

/**
 * Finds CRIU and asks it whether it can work here (`criu check`): before anything is changed.
 *
 * @param named A path, or a name to look for in PATH.
 * @throws {BoxError} `no-criu`, `criu-cannot`
 */
export function findCriu(named: string | undefined, what: string): Criu {
  const path = Bun.which(named || "criu", { PATH: searchPath() });
  if (path === null) {
    throw new BoxError("no-criu", `Cannot ${what}: CRIU is not on this host${named ? ` as "${named}"` : ""}`, {
      hint: INSTALL,
    });
  }
  const { stdout } = run(path, ["--version"]);
  const version = /^Version: (\S+)/m.exec(stdout)?.[1];
  if (version === undefined) {
    throw new BoxError("criu-cannot", `Cannot ${what}: "${path}" does not say which version of CRIU it is`, {
      hint: INSTALL,
    });
  }
  const check = run(path, ["check", "--no-default-config"]);
  if (check.status === 0) return { path, version };
  throw new BoxError(
    "criu-cannot",
    `Cannot ${what}: CRIU ${version} cannot work on this host (kernel ${kernel()}): ${reason(check.stdout)}`,
    {
      hint: `"${path} check" says so; a newer CRIU may know this kernel, and only root in the host's namespaces may do it`,
    },
  );
}

/** The environment that CRIU is run in: it executes tar, ip and iptables-restore. */
export function criuEnvironment(): Record<string, string> {
  return { PATH: searchPath() };
}

/** An engine may have started us with less. */
function searchPath(): string {
  return `${process.env["PATH"] ?? ""}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;
}

function run(path: string, args: readonly string[]): { status: number; stdout: string } {
  const command = { env: criuEnvironment(), cwd: "/", timeout: CHECK_MS } as const;
  const { exitCode, exitedDueToTimeout, stdout, stderr } = Bun.spawnSync([path, ...args], command);
  const late = exitedDueToTimeout ? `it did not answer in ${CHECK_MS / 1000} seconds` : "";
  return { status: exitCode ?? -1, stdout: `${stdout}${stderr}${late}` };
}

/** `Error (file:line): sentence` each. */
function reason(text: string): string {
  const errors = [...text.matchAll(/^Error \([^)]*\): (.*)$/gm)].map(([, sentence = ""]) => sentence.trim());
  return errors.length === 0 ? text.trim() || "it does not say why" : errors.join("; ");
}

function kernel(): string {
  return (readIfThere("/proc/sys/kernel/osrelease") ?? "unknown").trim();
}
