import { BoxError, isErrno } from "@bantubox/core";
import { escapeText } from "./escape.ts";

export interface Failure {
  /** The status that the command has for failures of its own; 1 for most. */
  readonly status?: number | undefined;
  readonly debug?: boolean | undefined;
}

/** Killed by SIGPIPE, as a program that leaves that signal alone. */
const PIPE_CLOSED = 141;

/** Statuses of our own, by an error's code; whatever is not here is the command's. */
const STATUSES: Readonly<Record<string, number>> = {
  usage: 125,
  "command-not-executable": 126,
  "command-not-found": 127,
};

/** Says on standard error what went wrong. Returns the exit status. */
export async function report(error: unknown, { status = 1, debug = false }: Failure = {}): Promise<number> {
  const errors = unwrap(error);
  const result = statusOf(errors[0], status);
  if (result === PIPE_CLOSED) return result;
  const { say } = await import("./message.ts");
  try {
    for (const each of errors) {
      const { text, hint } = describe(each);
      say("error", text, hint && escapeText(hint));
      if (debug && each instanceof Error) say("info", stackOf(each));
    }
  } catch (unsaid) {
    // Standard error is closed: nobody listens, and the status still tells.
    if (!isErrno(unsaid, "EPIPE", "EBADF", "EIO")) throw unsaid;
  }
  return result;
}

/** The exit status for an error, in a command whose own failures are `status`. */
export function statusOf(error: unknown, status: number): number {
  if (error instanceof BoxError) return Object.hasOwn(STATUSES, error.code) ? (STATUSES[error.code] ?? status) : status;
  return isErrno(error, "EPIPE") ? PIPE_CLOSED : status;
}

/** What is said about one error. */
export function describe(error: unknown): { text: string; hint: string | undefined } {
  if (error instanceof BoxError)
    return { text: escapeText(withCauses(error)), hint: error.hint ?? shortageHint(error) };
  const name = error instanceof Error ? error.name : typeof error;
  const message = error instanceof Error ? error.message : String(error);
  // The kernel's errors from node:fs read "ENOENT: no such file or directory, open 'x'": a sentence, if not ours.
  const text = isErrno(error, "EACCES", "EPERM", "ENOSPC", "EROFS", "EMFILE", "ENFILE", "ENOMEM", "EDQUOT", "EIO")
    ? message
    : `Unexpected ${name}: ${message}`;
  const hint = 'This should have been explained better: "bb --debug …" shows where it happened';
  if (isSqlite(error, "SQLITE_BUSY")) {
    return {
      text: "Cannot use the database: other commands have kept it for a minute",
      hint: "Try again when fewer of them run at once",
    };
  }
  return {
    text: escapeText(
      isSqlite(error, "SQLITE_FULL") ? "Cannot write the database: no space is left on the device" : text,
    ),
    hint: shortageHint(error) ?? hint,
  };
}

/** What to do when something is used up. */
function shortageHint(error: unknown): string | undefined {
  if (isErrno(error, "EMFILE")) return "Too many open files: raise the limit (ulimit -n)";
  if (isErrno(error, "EDQUOT")) return "The quota of the file system is used up";
  if (!isErrno(error, "ENOSPC") && !isSqlite(error, "SQLITE_FULL")) return undefined;
  return 'No space is left on the device: "bb rm" and "bb rmi" free some; "bb storage info" shows how much there is';
}

/** @param code Extended ones begin with it: SQLITE_BUSY_SNAPSHOT. */
function isSqlite(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && String(error.code).startsWith(code);
}

/**
 * The errors in one, the one that came first in front: JavaScript hides it in a SuppressedError's `suppressed`
 * when a clean-up failed as well, and an AggregateError holds several.
 */
export function unwrap(error: unknown): unknown[] {
  const found: unknown[] = [];
  const visit = (each: unknown): void => {
    if (found.length >= 100) return;
    if (each instanceof SuppressedError) {
      visit(each.suppressed);
      visit(each.error);
    } else if (each instanceof AggregateError && each.errors.length > 0) {
      for (const inner of each.errors) visit(inner);
    } else if (!found.includes(each)) {
      found.push(each);
    }
  };
  visit(error);
  return found;
}

/** The message, and those of its causes that it does not repeat. */
function withCauses(error: Error): string {
  let text = error.message;
  let { cause } = error;
  for (let depth = 0; depth < 5 && cause instanceof Error; depth++) {
    if (!text.includes(cause.message)) text += ` (${cause.message})`;
    cause = cause.cause;
  }
  return text;
}

function stackOf(error: Error): string {
  const stack = error.stack ?? String(error);
  const frames = stack.split("\n").map(escapeText).join("\n");
  return error.cause instanceof Error ? `${frames}\ncaused by ${stackOf(error.cause)}` : frames;
}
