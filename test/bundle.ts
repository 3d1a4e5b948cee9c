/** Bundles of the OCI runtime specification for tests: a default config.json that they change, run by dist/bb-oci. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { busyboxRoot, cgroupsOf, PROJECT, type Result, run } from "./harness.ts";
import { leftBehind } from "./left-behind.ts";

export const BB_OCI = process.env["BB_OCI"] ?? join(PROJECT, "dist/bb-oci");

/** What tests change of the default. */
export interface Config {
  process: { args: string[]; user: { uid: number; gid: number } } & Record<string, unknown>;
  root: { path: string; readonly: boolean };
  mounts: Record<string, unknown>[];
  linux: Record<string, unknown> & { namespaces: { type: string; path?: string }[]; cgroupsPath?: string };
  [name: string]: unknown;
}

/** A directory of state and of bundles, of one test. */
export interface Bundles extends AsyncDisposable {
  readonly root: string;
  /** For what a test makes itself. */
  readonly directory: string;
  /** Makes a bundle whose container runs `args`. @returns Its path. */
  bundle(args: readonly string[], change?: (config: Config) => void): Promise<string>;
  /** Runs bb-oci to its end; everything it prints is collected. */
  oci(args: readonly string[]): Promise<Result>;
  /** A container's name that nobody else has. */
  id(): string;
}

let next = 0;

/** Makes the directory. At its end no mount, cgroup or state of its containers may be left. */
export function newBundles(): Bundles {
  const directory = mkdtempSync(join(tmpdir(), "bb-bundles-"));
  const root = join(directory, "state");
  const ids: string[] = [];
  return {
    root,
    directory,
    async bundle(args, change) {
      const bundle = mkdtempSync(join(directory, "bundle-"));
      const config = defaultConfig([...args], await busyboxRoot());
      change?.(config);
      writeFileSync(join(bundle, "config.json"), JSON.stringify(config));
      return bundle;
    },
    oci: (args) => run([BB_OCI, "--root", root, ...args]),
    id() {
      const id = `bb-test-${process.pid}-${next++}`;
      ids.push(id);
      return id;
    },
    async [Symbol.asyncDispose]() {
      for (const id of ids) await run([BB_OCI, "--root", root, "delete", "--force", id]);
      const mounts = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
      const leaks = [...mounts.filter((line) => line.includes(directory)), ...ids.flatMap(cgroupsOf)];
      rmSync(directory, { recursive: true, force: true });
      leftBehind(leaks);
    },
  };
}

/** What "runc spec" writes, but for a terminal. */
function defaultConfig(args: string[], path: string): Config {
  const capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_CHOWN", "CAP_DAC_OVERRIDE"];
  const quiet = ["nosuid", "noexec", "nodev"];
  return {
    ociVersion: "1.2.0",
    process: {
      user: { uid: 0, gid: 0 },
      args,
      env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
      cwd: "/",
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      rlimits: [{ type: "RLIMIT_NOFILE", hard: 1024, soft: 1024 }],
      noNewPrivileges: true,
    },
    root: { path, readonly: true },
    hostname: "bundle",
    mounts: [
      { destination: "/proc", type: "proc", source: "proc" },
      { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "strictatime", "mode=755"] },
      {
        destination: "/dev/pts",
        type: "devpts",
        source: "devpts",
        options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
      },
      { destination: "/dev/shm", type: "tmpfs", source: "shm", options: [...quiet, "mode=1777", "size=65536k"] },
      { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: quiet },
      { destination: "/sys", type: "sysfs", source: "sysfs", options: [...quiet, "ro"] },
      { destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: [...quiet, "relatime", "ro"] },
    ],
    linux: {
      resources: { devices: [{ allow: false, access: "rwm" }] },
      namespaces: ["pid", "network", "ipc", "uts", "cgroup", "mount"].map((type) => ({ type })),
      maskedPaths: ["/proc/kcore", "/proc/keys"],
      readonlyPaths: ["/proc/sys"],
    },
  };
}
