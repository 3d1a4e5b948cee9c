import type { Mount } from "@bantubox/core/runtime";
import { ownCommand } from "@bantubox/core/runtime/become";
import { AT, allocate, attempt, call, cstr, Fd, nodeFs, O } from "@bantubox/ffi";
import { type Container, findContainer, openProcess } from "./container.ts";
import type { Globals } from "./globals.ts";
import { socketAddress, tellReady } from "./tell-caller.ts";

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const POLLIN = 1;
/** Below the container's directory of state: its directory is what the container sees. */
const DIRECTORY = "notify";
const SOCKET = "notify.sock";
const INSIDE = "/run/notify";

/**
 * What a container gets when whoever called waits to hear that it is ready (sd_notify(3)): a socket of its own,
 * as systemd would not believe a message of another cgroup. Undefined when nobody waits.
 */
export function notifySetup(directory: string): { mount: Mount; environment: string } | undefined {
  if (!process.env["NOTIFY_SOCKET"]) return undefined;
  return {
    mount: {
      destination: INSIDE,
      type: "bind",
      source: `${directory}/${DIRECTORY}`,
      options: ["bind", "nosuid", "noexec", "nodev", "ro"],
    },
    environment: `NOTIFY_SOCKET=${INSIDE}/${SOCKET}`,
  };
}

/** Makes the directory that `notifySetup` mounts. */
export function makeNotifyDirectory(directory: string): void {
  nodeFs().mkdirSync(`${directory}/${DIRECTORY}`, { mode: 0o755 });
}

/** Opens the container's socket, before its command can look for it. Undefined when it has none, or nobody waits. */
export function openNotify({ directory }: Pick<Container, "directory">): Fd | undefined {
  const flags = O.PATH | O.DIRECTORY | O.CLOEXEC;
  const raw = process.env["NOTIFY_SOCKET"] ? attempt("openat", AT.FDCWD, cstr(`${directory}/${DIRECTORY}`), flags) : -1;
  if (raw < 0) return undefined;
  using place = new Fd(raw);
  const socket = new Fd(call("socket", undefined, AF_UNIX, SOCK_DGRAM_CLOEXEC, 0));
  // A path may be longer than the 108 bytes of struct sockaddr_un.
  const path = `/proc/self/fd/${place.raw}/${SOCKET}`;
  const address = socketAddress(path);
  call("bind", `"${SOCKET}"`, socket.raw, address, address.length);
  call("fchmodat", `"${SOCKET}"`, AT.FDCWD, cstr(path), 0o777);
  return socket;
}

/** A process that waits for a container's message. */
export interface Waiting {
  /** What ends when there is nothing to wait for any more. */
  readonly until: Fd;
  /** What whoever called shall watch. */
  readonly mainPid: number;
  /** Who says so, if that is another process than this. */
  readonly sender?: number;
}

/** Waits until the container says that it is ready, and passes it on to whoever called; or until there is nothing to wait for. */
export function passOnReady(socket: Fd, { until, mainPid, sender }: Waiting): void {
  while (waitFor(socket.raw, until.raw)) {
    const message = allocate(4096);
    const n = attempt("recvfrom", socket.raw, message, message.length);
    const lines = new TextDecoder().decode(message.subarray(0, Math.max(n, 0))).split("\n");
    const ready = lines.find((line) => line.startsWith("READY="));
    if (ready === undefined) continue;
    tellReady(ready, mainPid, sender);
    return;
  }
}

/** This program again, with the container's socket at `fd`, to wait in the place of one that has become the trampoline. */
export function waiterOf({ program, root }: Globals, id: string, fd: number): string[] {
  return [...ownCommand(), ...program.words, "--root", root, "internal", "ready", String(fd), id];
}

/**
 * `internal ready FD ID [PID]`: waits in place of the `run` that has become the container's (PID is not given), or
 * beside it, which goes on under its pid and is what whoever called knows.
 */
export function waitReady(globals: Globals, [fd, id = "", beside]: readonly string[]): number {
  using socket = new Fd(Number(fd));
  if (beside !== undefined) {
    const pid = Number(beside);
    using until = new Fd(call("pidfd_open", `process ${pid}`, pid, 0));
    // The number may be somebody else's by now.
    if (process.ppid === pid) passOnReady(socket, { until, mainPid: pid, sender: pid });
    return 0;
  }
  const container = findContainer(globals, id);
  const running = container && openProcess(container);
  if (running === undefined) return 0;
  using until = running.pidfd;
  passOnReady(socket, { until, mainPid: running.pid });
  return 0;
}

/** Whether a message came first. */
function waitFor(socket: number, pidfd: number): boolean {
  // Two of struct pollfd.
  const memory = allocate(16);
  const view = new DataView(memory.buffer);
  [socket, pidfd].forEach((fd, i) => {
    view.setInt32(i * 8, fd, true);
    view.setInt16(i * 8 + 4, POLLIN, true);
  });
  call("ppoll", "the container's messages", memory, 2, null, null, 0);
  return view.getInt16(6, true) !== 0;
}
