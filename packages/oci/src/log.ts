import { AT, attempt, BoxError, close, cstr, O, SysError } from "@bantubox/ffi";
import type { Globals } from "./globals.ts";

export type Level = "error" | "warning" | "info" | "debug";

/**
 * What `--log-format` says; text without it.
 *
 * @throws {BoxError} `usage`
 */
export function parseLogFormat(text = ""): "text" | "json" {
  if (text === "json") return text;
  if (text === "" || text === "text") return "text";
  throw new BoxError("usage", `invalid log-format: ${text}`);
}

/**
 * Makes the log, so that nobody learns only when something else fails that there is none.
 *
 * @throws {SysError} When it cannot be written to.
 */
export function makeLog(path: string): void {
  const fd = openLog(path);
  if (fd < 0) throw new SysError("open", -fd, `the log ${JSON.stringify(path)}`);
  close(fd);
}

/**
 * Says something where the caller wants it: engines read the last line of level
 * "error" in the log to tell their users why a container failed.
 *
 * Without a log file it goes to stderr in the log's own format; with one, an
 * error's sentence goes there besides.
 */
export function log({ log: path, isJson }: Pick<Globals, "log" | "isJson">, level: Level, message: string): void {
  const time = timestamp(new Date());
  const line = isJson
    ? JSON.stringify({ level, msg: message, time })
    : `time=${JSON.stringify(time)} level=${level} msg=${JSON.stringify(message)}`;
  if (path === undefined) {
    writeAll(2, `${line}\n`);
    return;
  }
  const fd = openLog(path);
  if (fd >= 0) {
    writeAll(fd, `${line}\n`);
    close(fd);
  }
  if (level === "error") writeAll(2, `${message}\n`);
}

/** @returns A descriptor, or -errno. */
function openLog(path: string): number {
  return attempt("openat", AT.FDCWD, cstr(path), O.WRONLY | O.CREAT | O.APPEND | O.CLOEXEC, 0o644);
}

/** What is about to be done, in the words that runc's users look for in a debug log. */
const STAGES = {
  make: ["nsexec container setup", "child process in init()", "init: closing the pipe to signal completion"],
  join: ["nsexec container setup", "child process in init()", "setns_init: about to exec"],
} as const;

/** With --debug: says what the plan will do, as nobody is there to say it while it does. */
export function debugPlan(globals: Globals, kind: keyof typeof STAGES, plan: Uint8Array): void {
  if (!globals.values.debug) return;
  for (const stage of STAGES[kind]) log(globals, "debug", `${stage} (a plan of ${plan.length} bytes)`);
}

/** RFC 3339 in seconds and the local zone, as Go's logrus writes it. */
function timestamp(date: Date): string {
  const offset = -date.getTimezoneOffset();
  const local = new Date(date.getTime() + offset * 60_000).toISOString().slice(0, 19);
  if (offset === 0) return `${local}Z`;
  const two = (value: number): string => String(Math.floor(value)).padStart(2, "0");
  return `${local}${offset < 0 ? "-" : "+"}${two(Math.abs(offset) / 60)}:${two(Math.abs(offset) % 60)}`;
}

/** Everything that is printed is written at once. What nobody reads is let go. */
function writeAll(fd: number, text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length; ) {
    const written = attempt("write", fd, bytes.subarray(at), bytes.length - at);
    if (written < 0) return;
    at += written;
  }
}

/** Prints a result on stdout. */
export function print(text: string): void {
  writeAll(1, `${text}\n`);
}
