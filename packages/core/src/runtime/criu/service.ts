import {
  type CgroupHost,
  freezerFiles,
  isFrozen,
  recallMountOptions,
  resetMountOptions,
  thawCgroup,
} from "@bantubox/cgroup";
import { allocate, attempt, BoxError, call, ERRNO, existsSync, Fd, O, SysError } from "@bantubox/ffi";
import { criuErrors } from "./log.ts";
import { type CriuOptions, encodeAnswer, encodeRequest, parseResponse, REQUEST } from "./message.ts";
import { type Criu, criuEnvironment } from "./program.ts";

const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;
const MSG_NOSIGNAL = 0x4000;
const MESSAGE_BYTES = 40_960;

export interface Dump {
  readonly type: typeof REQUEST.DUMP | typeof REQUEST.PRE_DUMP;
  readonly options: Omit<CriuOptions, "freezeCgroup">;
  /** Of the processes: CRIU freezes it while it takes hold of them. */
  readonly group: { readonly host: CgroupHost; readonly path: string };
  /** Absolute: where CRIU writes `logFile`. */
  readonly log: string;
  /** What this is about: `checkpoint "web"`. */
  readonly what: string;
  /** Called for each of CRIU's notifications, such as `post-dump`; CRIU undoes everything when it throws. */
  readonly onNotify?: (script: string) => Promise<void> | void;
}

/**
 * Has CRIU dump processes, and returns when it has.
 *
 * CRIU asks back at every turn, and lets the processes go on when nobody answers any more: whoever kills this
 * process before `post-dump` is answered has changed nothing.
 *
 * @throws {BoxError} `criu-failed`, with what its log says.
 */
export async function dump(criu: Criu, request: Dump): Promise<void> {
  const { host, path } = request.group;
  const wasFrozen = isFrozen(host, path);
  const mounted = host.unified === undefined ? undefined : recallMountOptions(host.unified);
  try {
    await askService(criu, request);
  } catch (error) {
    // CRIU itself may have been killed in between.
    if (!wasFrozen) thawCgroup(host, path);
    throw error;
  } finally {
    if (mounted !== undefined) resetMountOptions(mounted);
  }
}

async function askService(criu: Criu, { type, options, group, log, what, onNotify }: Dump): Promise<void> {
  const pair = allocate(8);
  call("socketpair", "CRIU's service", AF_UNIX, SOCK_SEQPACKET | O.CLOEXEC, 0, pair);
  const [ours = -1, theirs = -1] = new Int32Array(pair.buffer);
  using socket = new Fd(ours);
  const server = new Fd(theirs);
  const child = Bun.spawn([criu.path, "swrk", "3"], {
    cwd: "/",
    env: criuEnvironment(),
    stdio: ["ignore", "ignore", "ignore", server.raw],
    // A Ctrl-C is for us: CRIU hears that we are gone, and takes everything back.
    detached: true,
  });
  server.close();
  let problem: unknown;
  const failed = (): BoxError => {
    const errors = criuErrors(log);
    return new BoxError(
      "criu-failed",
      `Cannot ${what}: CRIU ${criu.version} could not: ${errors || "it did not say why"}`,
      {
        ...(existsSync(log) && { hint: `Its log is "${log}"` }),
        cause: problem,
      },
    );
  };
  const [freezer] = freezerFiles(group.host, group.path);
  const freezeCgroup = freezer?.slice(0, freezer.lastIndexOf("/"));
  send(socket, encodeRequest(type, { ...options, freezeCgroup }));
  for (;;) {
    const message = receive(socket);
    if (message === undefined) throw problem ?? failed();
    const response = parseResponse(message);
    if (response.type !== REQUEST.NOTIFY) {
      // The service waits for the dump itself after a mere look at the memory.
      socket.close();
      await child.exited;
      if (!response.isDone || problem !== undefined) throw problem ?? failed();
      return;
    }
    try {
      await onNotify?.(response.script);
    } catch (error) {
      problem = error;
    }
    send(socket, encodeAnswer(problem === undefined));
  }
}

function send(socket: Fd, message: Uint8Array): void {
  const bytes = allocate(message.length);
  bytes.set(message);
  const sent = attempt("sendto", socket.raw, bytes, bytes.length, MSG_NOSIGNAL, null, 0);
  // One that has ended says nothing any more, which is heard next.
  if (sent < 0 && sent !== -ERRNO.EPIPE) throw new SysError("sendto", -sent, "CRIU's service");
}

/** The next message; undefined when there will be none. */
function receive(socket: Fd): Uint8Array | undefined {
  const bytes = allocate(MESSAGE_BYTES);
  let count: number;
  do count = attempt("recvfrom", socket.raw, bytes, bytes.length, 0, null, null);
  while (count === -ERRNO.EINTR);
  return count > 0 ? bytes.subarray(0, count) : undefined;
}
