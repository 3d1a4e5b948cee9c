import { BoxError, errnoName, HOOK_STATUS, readIfThere } from "@bantubox/ffi";
import { CONFIG, type Container, openProcess } from "./container.ts";
import { waitEnd } from "./wait-end.ts";

/** TAG of core's runtime/tags.ts, as far as a held process can fail. */
const TAG_EXEC = 5;
const TAG_HOOK = 18;

/** How long a process that has said why it cannot go on may take to end. */
const END_MS = 10_000;

/**
 * What a process that was held could not do, in the words that engines look for. It has ended by then: who reads them
 * may delete the container at once.
 */
export function explainHeld(
  container: Container,
  { tag, errno, printed = "" }: { tag: number; errno: number; printed?: string },
): BoxError {
  awaitEnd(container);
  if (tag === TAG_EXEC) {
    const config = JSON.parse(readIfThere(`${container.directory}/${CONFIG}`) ?? "{}") as {
      process?: { args?: string[] };
    };
    return explainCommand(config.process?.args?.[0] ?? "", errnoName(errno));
  }
  if (tag === TAG_HOOK) return explainHook("startContainer hook", errno, printed);
  return new BoxError("start-failed", `Cannot start the container: ${errnoName(errno)}`);
}

function awaitEnd(container: Container): void {
  using pidfd = openProcess(container)?.pidfd;
  if (pidfd !== undefined) waitEnd(pidfd, END_MS);
}

/** Engines make an exit status of these words: 127 for a command that is not there, 126 for one that cannot be executed. */
export function explainCommand(command: string, error: string): BoxError {
  const name = JSON.stringify(command);
  if (error === "ENOENT" || error === "ENOTDIR") {
    const message = command.includes("/")
      ? `exec: ${name}: stat ${command}: no such file or directory`
      : `exec: ${name}: executable file not found in $PATH`;
    return new BoxError("command-not-found", message);
  }
  if (error === "ELIBACC")
    return new BoxError(
      "command-not-found",
      `exec ${command}: no such file or directory: its interpreter or loader is missing`,
    );
  return new BoxError("command-not-executable", `exec: ${name}: ${STATES[error] ?? error}`);
}

/** In the words of Go's runtimes. */
const FATAL_SIGNALS = { 6: "aborted", 9: "killed", 11: "segmentation fault", 15: "terminated", 31: "bad system call" };

/** @param printed By it, or nothing. */
export function explainHook(which: string, errno: number, printed: string): BoxError {
  const end = printed === "" ? "" : `, it printed: ${printed}`;
  return new BoxError("hook-failed", `error running hook: ${which}: ${hookState(errno)}${end}`);
}

/** In the words of Go's runtimes, which engines look for. */
const STATES: Readonly<Record<string, string>> = {
  ENOENT: "no such file or directory",
  EACCES: "permission denied",
  ENOEXEC: "exec format error",
  E2BIG: "argument list too long",
};

/** How a hook ended, or why it never began. */
function hookState(errno: number): string {
  if (errno > HOOK_STATUS) {
    const status = errno - HOOK_STATUS;
    // As a shell has it, and a hook often is one: 128 and a signal's number.
    const signal = Object.entries(FATAL_SIGNALS).find(([number]) => status === 128 + Number(number))?.[1];
    return `exit status ${status}${signal === undefined ? "" : ` (signal: ${signal})`}`;
  }
  const name = errnoName(errno);
  if (name === "ETIMEDOUT") return "context deadline exceeded: it was killed after its timeout";
  return STATES[name] ?? name;
}
