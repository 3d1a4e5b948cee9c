import type { Mount } from "@bantubox/core/runtime";
import { AT, allocate, attempt, call, cstr, Fd, nodeFs, O } from "@bantubox/ffi";
import type { Container } from "./container.ts";

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
export function openNotify({ directory }: Container): Fd | undefined {
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

/** Waits until the container says that it is ready, or has ended, and tells whoever called of it and of its pid. */
export function passOnReady(socket: Fd, { pidfd, pid }: { pidfd: Fd; pid: number }): void {
  for (;;) {
    if (!waitFor(socket.raw, pidfd.raw)) return;
    const message = allocate(4096);
    const n = attempt("recvfrom", socket.raw, message, message.length);
    const lines = new TextDecoder().decode(message.subarray(0, Math.max(n, 0))).split("\n");
    const ready = lines.find((line) => line.startsWith("READY="));
    if (ready === undefined) continue;
    tellCaller(ready);
    tellCaller(`MAINPID=${pid}`);
    return;
  }
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

function tellCaller(line: string): void {
  using socket = new Fd(call("socket", undefined, AF_UNIX, SOCK_DGRAM_CLOEXEC, 0));
  const address = socketAddress(process.env["NOTIFY_SOCKET"] ?? "");
  const text = new TextEncoder().encode(`${line}\n`);
  call("sendto", "NOTIFY_SOCKET", socket.raw, text, text.length, 0, address, address.length);
}

/** struct sockaddr_un; a name that begins with @ is an abstract one. */
function socketAddress(path: string): Uint8Array {
  const name = path.startsWith("@") ? `\0${path.slice(1)}` : `${path}\0`;
  return new TextEncoder().encode(`\u0001\u0000${name}`);
}
