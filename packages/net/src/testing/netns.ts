/** Network namespaces that tests make, look into and connect; each vanishes with its descriptor. */
import { closeSync, openSync } from "node:fs";
import { allocate, attempt, call, ERRNO, Fd } from "@bantubox/ffi";
import { formatIpv4, parseIpv4 } from "../cidr.ts";
import { addressKey } from "../nft.ts";

const CLONE_NEWNET = 0x40000000;
const OWN = "/proc/thread-self/ns/net";
const AF_INET = 2;
const SOCK_STREAM_CLOEXEC = 1 | 0o2000000;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SO_SNDTIMEO = 21;
const TIMEOUT_S = 2;

export const missingRoot = process.getuid?.() !== 0;

/** A namespace of this test, in which synchronous functions can be run: nothing may await within. */
export class Netns implements Disposable {
  readonly fd: number;

  constructor() {
    const own = openSync(OWN, "r");
    try {
      call("unshare", undefined, CLONE_NEWNET);
      this.fd = openSync(OWN, "r");
      call("setns", undefined, own, CLONE_NEWNET);
    } finally {
      closeSync(own);
    }
  }

  /** Path by which other programs of this host reach it. */
  get path(): string {
    return `/proc/${process.pid}/fd/${this.fd}`;
  }

  run<T>(inside: () => T): T {
    const own = openSync(OWN, "r");
    try {
      call("setns", undefined, this.fd, CLONE_NEWNET);
      return inside();
    } finally {
      call("setns", undefined, own, CLONE_NEWNET);
      closeSync(own);
    }
  }

  /** Runs a program there and returns its output. */
  output(...command: string[]): string {
    const { exitCode, stdout, stderr } = this.run(() => Bun.spawnSync(command));
    if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr.toString()}`);
    return stdout.toString();
  }

  json(...command: string[]): unknown {
    return JSON.parse(this.output(...command));
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }
}

/** A TCP server on every address of the namespace. */
export class Listener implements Disposable {
  readonly #fd: Fd;

  constructor(netns: Netns, port: number) {
    this.#fd = netns.run(() => new Fd(call("socket", undefined, AF_INET, SOCK_STREAM_CLOEXEC)));
    limitWaiting(this.#fd);
    call("bind", undefined, this.#fd.raw, socketAddress("0.0.0.0", port), 16);
    call("listen", undefined, this.#fd.raw, 8);
  }

  /** Who connected: the address that the server sees. */
  acceptFrom(): string {
    const peer = allocate(16);
    const length = allocate(4);
    length[0] = peer.length;
    using connection = new Fd(call("accept4", undefined, this.#fd.raw, peer, length));
    void connection;
    return formatIpv4(new DataView(peer.buffer).getUint32(4, false));
  }

  [Symbol.dispose](): void {
    this.#fd.close();
  }
}

/** Tries to connect for seconds: where links come and go by the hundred, a new one works only after a while. */
export function connects(netns: Netns, address: string, port: number): boolean {
  using fd = netns.run(() => new Fd(call("socket", undefined, AF_INET, SOCK_STREAM_CLOEXEC)));
  limitWaiting(fd);
  const result = attempt("connect", fd.raw, socketAddress(address, port), 16);
  if (result === 0) return true;
  const EINPROGRESS = 115;
  const EHOSTUNREACH = 113;
  const ENETUNREACH = 101;
  if ([EINPROGRESS, EHOSTUNREACH, ENETUNREACH, ERRNO.ECONNREFUSED].includes(-result)) return false;
  throw new Error(`connect: errno ${-result}`);
}

/** struct timeval, for connecting and accepting alike. */
function limitWaiting(fd: Fd): void {
  const timeout = allocate(16);
  new DataView(timeout.buffer).setUint32(0, TIMEOUT_S, true);
  for (const option of [SO_RCVTIMEO, SO_SNDTIMEO])
    call("setsockopt", undefined, fd.raw, SOL_SOCKET, option, timeout, 16);
}

/** struct sockaddr_in */
function socketAddress(address: string, port: number): Uint8Array {
  const bytes = allocate(16);
  bytes[0] = AF_INET;
  bytes.set(addressKey(parseIpv4(address)), 4);
  new DataView(bytes.buffer).setUint16(2, port, false);
  return bytes;
}
