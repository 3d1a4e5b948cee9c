import { ownCommand } from "@bantubox/core/runtime/become";
import type { Globals } from "./globals.ts";

/** This program again, to end whoever is left in a container's groups: see internal.ts. @param path Of the groups. */
export function endGroupsOf({ program }: Globals, path: string): string[] {
  return [...ownCommand(), ...program.words, "internal", "groups", path];
}

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
