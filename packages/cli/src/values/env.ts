import { BoxError } from "@bantubox/core";
import { callerVariable } from "../environment.ts";
import { escapeText } from "../escape.ts";
import { invalid } from "../usage.ts";

/** A line of a file of variables or labels. */
interface FileLine {
  readonly name: string;
  /** Absent where the line is a name alone. */
  readonly value: string | undefined;
}

/**
 * `NAME=value`; a name alone takes the caller's value. Whether there is one is only known when all are put
 * together, by `environmentOf`.
 */
export function parseEnv(text: string, label: string): string {
  if (text === "" || text.startsWith("="))
    throw invalid(text, label, "its name is empty", 'Write "NAME=value", or "NAME" for your own value');
  return text;
}

/** The variables of the files, then those of the flags, each as `NAME=value`. */
export function environmentOf(files: readonly string[] = [], variables: readonly string[] = []): string[] {
  const env: string[] = [];
  for (const file of files) {
    for (const { name, value = callerVariable(name) } of readLines(file))
      if (value !== undefined) env.push(`${name}=${value}`);
  }
  for (const variable of variables) {
    if (variable.includes("=")) {
      env.push(variable);
    } else {
      const value = callerVariable(variable);
      if (value !== undefined) env.push(`${variable}=${value}`);
    }
  }
  return env;
}

/** `key=value`, or `key` alone with an empty value. */
export function parseLabel(text: string, label: string): readonly [string, string] {
  const equals = text.indexOf("=");
  const key = equals < 0 ? text : text.slice(0, equals);
  if (key.trim() === "") throw invalid(text, label, "its name is empty");
  return [key, equals < 0 ? "" : text.slice(equals + 1)];
}

/** The labels of the files, then those of the flags; the last one wins. */
export function labelsOf(
  files: readonly string[] = [],
  labels: readonly (readonly [string, string])[] = [],
): Record<string, string> {
  const all: (readonly [string, string])[] = [];
  for (const file of files) for (const { name, value = "" } of readLines(file)) all.push([name, value]);
  // fromEntries defines "__proto__" as a property like any other.
  return Object.fromEntries([...all, ...labels]);
}

/** Reads a file of `NAME=value` lines as Docker does: nothing is expanded, unquoted or trimmed behind the `=`. */
function readLines(file: string): FileLine[] {
  let bytes: Uint8Array;
  try {
    // Not imported: loading it takes over a millisecond, and most commands name no file.
    bytes = process.getBuiltinModule("node:fs").readFileSync(file);
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : "it cannot be read";
    throw new BoxError("file-unreadable", `Cannot read ${JSON.stringify(file)}: ${code}`, { cause });
  }
  return parseLines(bytes, file);
}

/** As `readLines`, of what the file contains. */
export function parseLines(bytes: Uint8Array, file: string): FileLine[] {
  let text: string;
  try {
    // Takes a byte order mark off.
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new BoxError("file-invalid", `Cannot read ${JSON.stringify(file)}: it is not UTF-8`, { cause });
  }
  const lines: FileLine[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    const content = line.replace(/\r$/, "").trimStart();
    if (content === "" || content.startsWith("#")) continue;
    const equals = content.indexOf("=");
    const name = equals < 0 ? content : content.slice(0, equals);
    let why: string | undefined;
    if (name === "") why = "its name is empty";
    else if (/\s/.test(name)) why = `"${escapeText(name)}" contains a space`;
    else if (content.includes("\0")) why = "it contains a NUL character";
    if (why !== undefined)
      throw new BoxError("file-invalid", `Cannot read ${JSON.stringify(file)}: line ${index + 1}: ${why}`);
    lines.push({ name, value: equals < 0 ? undefined : content.slice(equals + 1) });
  }
  return lines;
}
