/** Which kernel parameters a container may be given: those of a namespace of its own. */
import { BoxError } from "@bantubox/ffi";
import type { NamespaceType } from "./spec.ts";

/** System V IPC's, which the IPC namespace has; POSIX queues' are all of fs.mqueue. */
const IPC = new Set(
  ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"].map(
    (name) => `kernel/${name}`,
  ),
);

/**
 * The file of a parameter below /proc/sys. As in sysctl(8), the first separator decides:
 * `net.ipv4.conf.eth0/1.forwarding` and `net/ipv4/conf/eth0.1/forwarding` are the same.
 *
 * @throws {BoxError} `bad-sysctl` for a name that leads elsewhere.
 */
export function sysctlFile(name: string): string {
  const first = name.search(/[./]/);
  const swap: Readonly<Record<string, string>> = { ".": "/", "/": "." };
  const file = first !== -1 && name[first] === "." ? name.replace(/[./]/g, (c) => swap[c] ?? c) : name;
  if (file.split("/").some((part) => part === "" || part === "." || part === "..")) {
    throw new BoxError(
      "bad-sysctl",
      `Cannot set the kernel parameter ${JSON.stringify(name)}: it is not a name of one`,
    );
  }
  return file;
}

/** The namespace that a parameter belongs to, by its file; undefined for one that the whole machine shares. */
export function sysctlNamespace(file: string): NamespaceType | undefined {
  if (IPC.has(file) || file.startsWith("fs/mqueue/")) return "ipc";
  if (file.startsWith("net/")) return "network";
  if (file === "kernel/domainname" || file === "kernel/hostname") return "uts";
  if (file.startsWith("user/")) return "user";
  return undefined;
}

/**
 * Refuses parameters that reach beyond the container.
 *
 * @param isOwn Whether the container has a namespace of a type that is not the caller's.
 * @throws {BoxError} `bad-sysctl`
 */
export function checkSysctls(
  sysctls: Readonly<Record<string, string>>,
  isOwn: (type: NamespaceType) => boolean,
  hasHostname: boolean,
): void {
  for (const name of Object.keys(sysctls)) {
    const file = sysctlFile(name);
    const type = sysctlNamespace(file);
    const what = `Cannot set the kernel parameter "${name}"`;
    if (type === undefined)
      throw new BoxError("bad-sysctl", `${what}: it belongs to no namespace, but to the whole machine`);
    if (!isOwn(type)) {
      throw new BoxError("bad-sysctl", `${what}: the container has no ${type} namespace of its own`, {
        hint: `Add one of type "${type}" to linux.namespaces, or leave the parameter out`,
      });
    }
    if (file === "kernel/hostname" && hasHostname) {
      throw new BoxError("bad-sysctl", `${what}: the configuration's "hostname" says the same`);
    }
  }
}
