/** Whoever answers SCMP_ACT_NOTIFY gets the filter's descriptor, and is told whose it is. */
import { AT, type Place, type Reg, type Steps } from "@bantubox/ffi";
import type { Build } from "../build.ts";
import type { HookState } from "../hooks.ts";
import { TAG } from "../tags.ts";
import { connectSocket } from "../unix-socket.ts";
import { type LinuxSeccomp, notifies } from "./profile.ts";

/** A connection to the socket of `listenerPath`, and what goes over it. */
export interface SeccompListener {
  readonly socket: Reg;
  readonly text: Place;
  readonly length: number;
  /** Where in the text the process's pid goes. */
  readonly pids: readonly Place[];
}

/** As many digits as a pid can have; blanks around a number are JSON too. */
const PID_WIDTH = 10;

/**
 * Connects to the listener, in PREPARE: its path is one of the host.
 *
 * @returns undefined when no rule notifies. The working directory is another one afterwards.
 */
export function connectListener(
  build: Build,
  seccomp: LinuxSeccomp | undefined,
  state: HookState,
): SeccompListener | undefined {
  const path = seccomp?.listenerPath;
  if (seccomp === undefined || path === undefined || !notifies(seccomp)) return undefined;
  const { plan } = build;
  const socket = connectSocket(build, plan.prepare, path, TAG.LISTENER);
  const { text, holes } = processState(seccomp, state);
  const place = plan.bytes(text);
  return { socket, text: place, length: text.length, pids: holes.map((at) => plan.within(place, at)) };
}

/** Learns the process's pid as the host sees it, while the host's /proc is still there. */
export function learnPid(steps: Steps, { pids }: SeccompListener): void {
  for (const place of pids) {
    steps.sys("readlinkat", AT.FDCWD, "/proc/self", place, PID_WIDTH).tag(TAG.LISTENER);
  }
}

/** Hands over the descriptor of the filter that was just installed. */
export function sendListener(steps: Steps, { socket, text, length }: SeccompListener, fd: Reg): void {
  steps.builtin("passFd", socket, fd, text, length).tag(TAG.LISTENER);
  steps.sys("close", fd);
  steps.sys("close", socket);
}

/** The container process state of the specification, with holes for both pids. */
function processState(
  { listenerMetadata }: LinuxSeccomp,
  { ociVersion, id, bundle, annotations }: HookState,
): { text: Uint8Array; holes: number[] } {
  const hole = " ".repeat(PID_WIDTH);
  const head = `{"ociVersion":${JSON.stringify(ociVersion)},"fds":["seccompFd"],"pid":`;
  const metadata = listenerMetadata === undefined ? "" : `"metadata":${JSON.stringify(listenerMetadata)},`;
  const state = JSON.stringify({ ociVersion, id, status: "creating", bundle, ...(annotations && { annotations }) });
  const middle = `,${metadata}"state":${state.slice(0, -1)},"pid":`;
  const encoder = new TextEncoder();
  const first = encoder.encode(head).length;
  return {
    text: encoder.encode(`${head}${hole}${middle}${hole}}}`),
    holes: [first, first + PID_WIDTH + encoder.encode(middle).length],
  };
}
