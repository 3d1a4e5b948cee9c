import type { Command } from "./command.ts";

/** [what it does, its file]: a command loads nothing of the others. */
// biome-ignore lint/suspicious/noExplicitAny: each command has options of its own, which only it reads
type Entry = readonly [string, () => Promise<{ default: Command<any> }>];

export const COMMANDS: Readonly<Record<string, Entry>> = {
  create: ["Create a container, held before its command", () => import("./commands/create.ts")],
  delete: ["Delete what a container has left", () => import("./commands/delete.ts")],
  kill: ["Send a signal to a container", () => import("./commands/kill.ts")],
  run: ["Create and start a container", () => import("./commands/run.ts")],
  start: ["Let a created container run its command", () => import("./commands/start.ts")],
  state: ["Show the state of a container", () => import("./commands/state.ts")],
};
