import { ownCommand } from "@bantubox/core/runtime/become";
import type { Globals } from "./globals.ts";

/** This program again, with the same global options, for what failed after it had become the trampoline. */
export function explainWith({ program, log: path, isJson }: Globals, words: readonly string[]): string[] {
  const format = isJson ? ["--log-format", "json"] : [];
  return [
    ...ownCommand(),
    ...program.words,
    ...(path === undefined ? [] : ["--log", path]),
    ...format,
    "internal",
    "failed",
    ...words,
  ];
}
