import { killCgroup, removeCgroup } from "@bantubox/cgroup";
import { allocate, attempt, BoxError, errnoName, type ReadStep, readStep } from "@bantubox/ffi";
import { cgroupHost } from "./cgroup-host.ts";
import { getContainer } from "./container.ts";
import { explainCommand, explainHeld, explainHook } from "./explain.ts";
import { fail } from "./fail.ts";
import type { Globals } from "./globals.ts";

/**
 * `internal failed VERB OUTPUTFD SECTION STEP ERRNO PLANFD`: the trampoline becomes it when a step failed,
 * after it has undone everything. `internal ready …`: see notify.ts. `internal held ID TAG ERRNO`: the front, when a
 * container that it has started could not go on. `internal groups PATH`: the trampoline, when the first process of a
 * container has ended and no PID namespace with it.
 */
export async function runInternal(globals: Globals, words: readonly string[]): Promise<number> {
  if (words[0] === "ready") return (await import("./notify.ts")).waitReady(globals, words.slice(1));
  if (words[0] === "held") return failHeld(globals, words.slice(1));
  if (words[0] === "groups") return endGroups(words[1] ?? "");
  const [kind, verb = "", output = "", section, step, errno, plan] = words;
  if (kind !== "failed" || plan === undefined) return fail(globals, "internal commands are for the trampoline");
  const bytes = readAll(Number(plan));
  const failure = { section: Number(section), step: Number(step), errno: Number(errno) };
  const isExec = verb === "exec";
  const error = await explain(bytes, failure, Number(output), isExec);
  const sentence = error.hint === undefined ? error.message : `${error.message} (${error.hint})`;
  const what = isExec ? "exec failed" : `${globals.program.name} ${verb} failed`;
  return fail(globals, `${what}: unable to start container process: ${sentence}`, isExec ? 255 : 1);
}

/** What cannot be ended is nobody's to hear of: the container is over. */
function endGroups(path: string): number {
  const host = cgroupHost();
  killCgroup(host, path);
  try {
    removeCgroup(host, path);
  } catch (error) {
    if (!(error instanceof BoxError)) throw error;
  }
  return 0;
}

function failHeld(globals: Globals, [id = "", tag, errno]: readonly string[]): number {
  return fail(globals, explainHeld(getContainer(globals, id), { tag: Number(tag), errno: Number(errno) }));
}

interface Failure {
  readonly section: number;
  readonly step: number;
  readonly errno: number;
}

async function explain(plan: Uint8Array, failure: Failure, output: number, isExec: boolean): Promise<BoxError> {
  const { TAG, explainFailure } = await import("@bantubox/core/runtime");
  const step = readStep(plan, failure.step);
  const error = errnoName(failure.errno);
  if (step.tag === TAG.EXEC) return explainCommand(commandOf(step), error);
  if (step.tag === TAG.CWD && step.name === "chdir") {
    const state: Record<string, string> = {
      ENOENT: "no such file or directory",
      ENOTDIR: "not a directory",
      EACCES: "permission denied",
    };
    return new BoxError(
      "bad-cwd",
      `chdir to cwd (${JSON.stringify(step.args[0])}) set in config.json failed: ${state[error] ?? error}`,
    );
  }
  if (step.tag === TAG.HOOK && step.name === "hook") {
    return explainHook(String(step.args[5]), failure.errno, readOutput(output));
  }
  if (step.name === "fork" && error === "EBUSY") {
    const file = `${groupOf(plan, failure.step, TAG.CGROUP)}/cgroup.procs`;
    return new BoxError(
      "cgroup-busy",
      `error adding pid of a new process to cgroups: write ${file}: device or resource busy`,
      {
        hint: `The group has handed its controllers on: name one below it with ${isExec ? "--cgroup" : "cgroupsPath"}`,
      },
    );
  }
  if (step.tag === TAG.CONSOLE) {
    return new BoxError("console-failed", `Cannot connect to the console's or pidfd's socket (${step.name}): ${error}`);
  }
  return explainFailure(plan, failure, undefined);
}

/** The directory that was opened last before a process was to be born there. */
function groupOf(plan: Uint8Array, fork: number, tag: number): string {
  for (let i = fork - 1; i >= 0; i--) {
    const step = readStep(plan, i);
    if (step.tag === tag && step.name === "openat") return String(step.args[1]);
  }
  return "";
}

function commandOf({ args: [, argv] }: ReadStep): string {
  return Array.isArray(argv) ? (argv[0] ?? "") : "";
}

/** What hooks printed, if that was asked for. */
function readOutput(fd: number): string {
  return new TextDecoder().decode(readAll(fd)).trim();
}

/** A memfd from its beginning. Empty when there is none. */
function readAll(fd: number): Uint8Array {
  const chunks: Uint8Array[] = [];
  for (let at = 0; ; ) {
    const chunk = allocate(1 << 16);
    const n = attempt("pread64", fd, chunk, chunk.length, at);
    if (n <= 0) return Buffer.concat(chunks);
    chunks.push(chunk.subarray(0, n));
    at += n;
  }
}
