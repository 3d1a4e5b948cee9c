import { readSync } from "node:fs";
import { isatty } from "node:tty";
import { BoxError } from "@bantubox/core";
import { writeOut } from "./output.ts";

const LINE_MAX = 64 * 1024;
const [CTRL_C, CTRL_D, BACKSPACE, CTRL_U, DELETE] = [3, 4, 8, 21, 127];

/** Whether there is somebody who can be asked. */
export function canAsk(): boolean {
  return isatty(0) && isatty(2);
}

/** Asks for a line on the terminal. */
export function askLine(question: string): string {
  writeOut(question, 2);
  const bytes: number[] = [];
  for (let byte = readByte(); byte !== undefined && byte !== 10; byte = readByte()) bytes.push(byte);
  return Buffer.from(bytes).toString().trim();
}

/** Asks for something that the terminal does not show. @throws {BoxError} `interrupted` on Ctrl-C. */
export function askHidden(question: string): string {
  // First, since whoever is quick answers as soon as the question is there.
  process.stdin.setRawMode(true);
  try {
    writeOut(question, 2);
    return readHidden();
  } finally {
    process.stdin.setRawMode(false);
    writeOut("\n", 2);
  }
}

/** All of standard input without the line end that `echo` adds. @throws {BoxError} `usage` when it is too much. */
export function readSecret(): string {
  const bytes: number[] = [];
  for (let byte = readByte(); byte !== undefined; byte = readByte()) {
    bytes.push(byte);
    if (bytes.length > LINE_MAX) {
      throw new BoxError("usage", `Cannot use standard input as a password: it is longer than ${LINE_MAX} bytes`);
    }
  }
  return Buffer.from(bytes)
    .toString()
    .replace(/\r?\n$/, "");
}

/** What the terminal itself does for a line in its usual mode. */
function readHidden(): string {
  const bytes: number[] = [];
  for (;;) {
    const byte = readByte();
    if (byte === CTRL_C) throw new BoxError("interrupted", "Cannot go on: interrupted");
    if (byte === undefined || byte === 10 || byte === 13) break;
    if (byte === CTRL_D && bytes.length === 0) break;
    if (byte === CTRL_U) bytes.length = 0;
    else if (byte === BACKSPACE || byte === DELETE) removeLast(bytes);
    else if (bytes.length < LINE_MAX) bytes.push(byte);
  }
  return Buffer.from(bytes).toString();
}

/** A character of UTF-8 is as many bytes as follow its first. */
function removeLast(bytes: number[]): void {
  while (((bytes.pop() ?? 0) & 0xc0) === 0x80);
}

/** The next byte of standard input; undefined at its end. */
function readByte(): number | undefined {
  const byte = new Uint8Array(1);
  for (;;) {
    try {
      return readSync(0, byte) === 0 ? undefined : byte[0];
    } catch (error) {
      // Somebody else made the terminal non-blocking for all who share it.
      if (!(error instanceof Error && "code" in error && error.code === "EAGAIN")) throw error;
      Bun.sleepSync(10);
    }
  }
}
