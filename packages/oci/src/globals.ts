import type { Flags, Values } from "./arguments.ts";

/** Options before the command. */
export const GLOBAL_FLAGS = {
  root: { type: "string", help: "directory of the containers' state (default: /run/bb-oci)" },
  log: { type: "string", help: "file for what goes wrong, besides stderr" },
  "log-format": { type: "string", help: '"text" or "json" (default: text)' },
  debug: { type: "boolean", help: "say more" },
  "systemd-cgroup": { type: "boolean", help: 'cgroupsPath is "slice:prefix:name", and systemd makes the groups' },
  rootless: { type: "string", help: "accepted for runc's sake; changes nothing" },
  criu: { type: "string", help: "path of criu (CRIU is looked for in PATH)" },
  help: { type: "boolean", short: "h", help: "show this" },
  version: { type: "boolean", short: "v", help: "show the version" },
} as const satisfies Flags;

/** How this program was called, for its messages and for calling itself again. */
export interface Program {
  readonly name: string;
  /** Words between the executable and the options: `oci` for `bb oci`. */
  readonly words: readonly string[];
  /** Its arguments, where a front may carry out the like of them next time: see remember.ts. */
  readonly line?: readonly string[] | undefined;
}

/** What every command gets. */
export interface Globals {
  readonly program: Program;
  readonly values: Values<typeof GLOBAL_FLAGS>;
  /** Absolute directory of the containers' state. */
  readonly root: string;
  readonly log: string | undefined;
  readonly isJson: boolean;
}

/** Where state lies when nobody says so; a user's own where they may not write below /run. */
export function defaultRoot(): string {
  const own = process.env["XDG_RUNTIME_DIR"];
  return process.getuid?.() === 0 || !own ? "/run/bb-oci" : `${own}/bb-oci`;
}

/** A path as the caller means it, without "." and "..". */
export function absolute(path: string): string {
  const parts: string[] = [];
  for (const part of (path.startsWith("/") ? path : `${process.cwd()}/${path}`).split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}
