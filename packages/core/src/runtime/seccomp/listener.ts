/** Whoever answers SCMP_ACT_NOTIFY gets the filter's descriptor, and is told whose it is. */
import { AT, type Place, type Reg, type Steps } from "@bantubox/ffi";
import type { Build } from "../build.ts";
import type { HookState } from "../hooks.ts";
import { TAG } from "../tags.ts";
import { connectSocket } from "../unix-socket.ts";
import { type LinuxSeccomp, notifies } from "./profile.ts";

/** The container whose process it is, as the listener is told of it. */
export interface FilteredContainer extends HookState {
  readonly status: "creating" | "created" | "running" | "paused";
  /** Of its first process. Undefined while that is the one which is filtered. */
  readonly pid?: number;
}

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
  state: FilteredContainer,
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

/** Waits for its pid, where the process cannot ask for the host's: who forked it writes that into a pipe. */
export function awaitPid(steps: Steps, { pids }: SeccompListener, pipe: Reg): void {
  for (const place of pids) steps.sys("read", pipe, place, PID_WIDTH).tag(TAG.LISTENER);
}

/** The other side of `awaitPid`. @param pid As the host sees it. */
export function tellPid({ plan }: Build, steps: Steps, pipe: Reg, pid: Reg): void {
  const digits = plan.space(PID_WIDTH);
  steps.builtin("storePid", digits, PID_WIDTH, pid);
  steps.sys("write", pipe, digits, PID_WIDTH).tag(TAG.LISTENER);
}

/** Hands over the descriptor of the filter that was just installed. */
export function sendListener(steps: Steps, { socket, text, length }: SeccompListener, fd: Reg): void {
  steps.builtin("passFd", socket, fd, text, length).tag(TAG.LISTENER);
  steps.sys("close", fd);
  steps.sys("close", socket);
}

/** The container process state of the specification, with holes for the pids that are not known yet. */
function processState(
  { listenerMetadata }: LinuxSeccomp,
  { ociVersion, id, bundle, annotations, status, pid }: FilteredContainer,
): { text: Uint8Array; holes: number[] } {
  const hole = " ".repeat(PID_WIDTH);
  const head = `{"ociVersion":${JSON.stringify(ociVersion)},"fds":["seccompFd"],"pid":`;
  const metadata = listenerMetadata === undefined ? "" : `"metadata":${JSON.stringify(listenerMetadata)},`;
  const state = JSON.stringify({ ociVersion, id, status, bundle, ...(annotations && { annotations }) });
  const middle = `,${metadata}"state":${state.slice(0, -1)},"pid":`;
  const first = Buffer.byteLength(head);
  const second = first + PID_WIDTH + Buffer.byteLength(middle);
  return {
    text: new TextEncoder().encode(`${head}${hole}${middle}${pid ?? hole}}}`),
    holes: pid === undefined ? [first, second] : [first],
  };
}
