import { addressOf, allocate, attempt, call, Fd, O, struct } from "@bantubox/ffi";

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const SCM_CREDENTIALS = 2;
/** As long as systemd may take to answer; it is no failure if it does not. */
const BARRIER_SECONDS = 30;

const msghdr = struct({
  name: "u64",
  nameLength: "u32",
  _pad: "u32",
  iov: "u64",
  iovCount: "u64",
  control: "u64",
  controlLength: "u64",
  flags: "i32",
  _end: "u32",
});
const iovec = struct({ base: "u64", length: "u64" });
const cmsghdr = struct({ length: "u64", level: "i32", type: "i32" });
const timespec = struct({ seconds: "i64", nanoseconds: "i64" });

/**
 * Tells whoever waits at NOTIFY_SOCKET that the container is ready, and that `pid` is what to watch; returns when it was read.
 *
 * @param sender Who says it, if that is another process than this: systemd asks whether it is the service's first one.
 * @see https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
 */
export function tellReady(line: string, pid: number, sender?: number): void {
  using socket = new Fd(call("socket", undefined, AF_UNIX, SOCK_DGRAM_CLOEXEC, 0));
  const address = socketAddress(process.env["NOTIFY_SOCKET"] ?? "");
  const own = sender === undefined ? undefined : credentials(sender);
  for (const text of [line, `MAINPID=${pid}`]) send(socket, address, `${text}\n`, own);
  awaitBarrier(socket, address);
}

/** struct sockaddr_un; a name that begins with @ is an abstract one. */
export function socketAddress(path: string): Uint8Array {
  const name = path.startsWith("@") ? `\0${path.slice(1)}` : `${path}\0`;
  return new TextEncoder().encode(`\u0001\u0000${name}`);
}

/** Waits until all that was sent before has been taken: whoever reads the message closes the pipe that comes with it. */
function awaitBarrier(socket: Fd, address: Uint8Array): void {
  const pair = allocate(8);
  call("pipe2", "the barrier", pair, O.CLOEXEC);
  const view = new DataView(pair.buffer);
  using read = new Fd(view.getInt32(0, true));
  {
    using write = new Fd(view.getInt32(4, true));
    const rights = new Uint32Array(new ArrayBuffer(4));
    rights[0] = write.raw;
    send(socket, address, "BARRIER=1", ancillary(SCM_RIGHTS, rights));
  }
  // struct pollfd: the other end's closing needs no asking for.
  const poll = allocate(8);
  new DataView(poll.buffer).setInt32(0, read.raw, true);
  attempt("ppoll", poll, 1, timespec.encode({ seconds: BigInt(BARRIER_SECONDS) }), null, 0);
}

/** One message; all that it points to lies in one piece of memory. */
function send(socket: Fd, address: Uint8Array, text: string, control = allocate(0)): void {
  const bytes = new TextEncoder().encode(text);
  const iov = msghdr.size;
  const controlAt = iov + iovec.size;
  const addressAt = controlAt + control.length;
  const textAt = addressAt + address.length;
  const memory = allocate(textAt + bytes.length);
  const base = addressOf(memory);
  msghdr.encodeInto(memory, 0, {
    name: BigInt(base + addressAt),
    nameLength: address.length,
    iov: BigInt(base + iov),
    iovCount: 1n,
    control: control.length === 0 ? 0n : BigInt(base + controlAt),
    controlLength: BigInt(control.length),
  });
  iovec.encodeInto(memory, iov, { base: BigInt(base + textAt), length: BigInt(bytes.length) });
  memory.set(control, controlAt);
  memory.set(address, addressAt);
  memory.set(bytes, textAt);
  call("sendmsg", "NOTIFY_SOCKET", socket.raw, memory, 0);
}

/** struct ucred: root may name another process than itself. */
function credentials(pid: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(new ArrayBuffer(12));
  words.set([pid, process.getuid?.() ?? 0, process.getgid?.() ?? 0]);
  return ancillary(SCM_CREDENTIALS, words);
}

function ancillary(type: number, words: Uint32Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const length = cmsghdr.size + words.byteLength;
  const memory = allocate((length + 7) & ~7);
  cmsghdr.encodeInto(memory, 0, { length: BigInt(length), level: SOL_SOCKET, type });
  memory.set(new Uint8Array(words.buffer), cmsghdr.size);
  return memory;
}
