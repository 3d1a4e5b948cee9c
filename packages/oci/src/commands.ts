import type { Command } from "./command.ts";

/** [what it does, its file]: a command loads nothing of the others. */
// biome-ignore lint/suspicious/noExplicitAny: each command has options of its own, which only it reads
type Entry = readonly [string, () => Promise<{ default: Command<any> }>];

export const COMMANDS: Readonly<Record<string, Entry>> = {
  checkpoint: ["Write what a container's processes are into files", () => import("./commands/checkpoint.ts")],
  create: ["Create a container, held before its command", () => import("./commands/create.ts")],
  delete: ["Delete what a container has left", () => import("./commands/delete.ts")],
  events: ["Show a container's statistics, and its lack of memory", () => import("./commands/events.ts")],
  exec: ["Run another process in a container", () => import("./commands/exec.ts")],
  features: ["Show what this runtime can do", () => import("./commands/features.ts")],
  kill: ["Send a signal to a container", () => import("./commands/kill.ts")],
  list: ["List the containers of the root", () => import("./commands/list.ts")],
  pause: ["Stop a container's processes where they are", () => import("./commands/pause.ts")],
  ps: ["Show a container's processes", () => import("./commands/ps.ts")],
  restore: ["Make a container of a checkpoint, which goes on", () => import("./commands/restore.ts")],
  resume: ["Let a paused container go on", () => import("./commands/resume.ts")],
  run: ["Create and start a container", () => import("./commands/run.ts")],
  spec: ["Write a config.json to begin with", () => import("./commands/spec.ts")],
  start: ["Let a created container run its command", () => import("./commands/start.ts")],
  state: ["Show the state of a container", () => import("./commands/state.ts")],
  update: ["Change a container's limits", () => import("./commands/update.ts")],
};
