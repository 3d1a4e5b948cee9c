import { O, type Reg, type Steps } from "@bantubox/ffi";
import type { Build } from "./build.ts";

export const AF_UNIX = 1;
const SOCK_STREAM = 1;
export const SOCK_SEQPACKET = 5;

/** struct sockaddr_un of a name in the working directory: a path may be longer than its 108 bytes. */
export function socketAddress(name: string): Uint8Array {
  return new TextEncoder().encode(`\u0001\u0000${name}\u0000`);
}

/** Connects to the socket at `path`, which is absolute. The working directory is another one afterwards. */
export function connectSocket({ plan }: Build, steps: Steps, path: string, tag: number): Reg {
  const socket = plan.register();
  const slash = path.lastIndexOf("/");
  const address = socketAddress(path.slice(slash + 1));
  steps
    .sys("socket", AF_UNIX, SOCK_STREAM | O.CLOEXEC, 0)
    .into(socket)
    .tag(tag);
  steps.sys("chdir", path.slice(0, slash) || "/").tag(tag);
  steps.sys("connect", socket, plan.bytes(address), address.length).tag(tag);
  return socket;
}
