import { readIfThere } from "@bantubox/ffi";
import { CONFIG, type Container, type Saved } from "./container.ts";
import type { Globals } from "./globals.ts";
import { log } from "./log.ts";

interface Hook {
  readonly path: string;
  readonly args?: readonly string[];
  readonly env?: readonly string[];
  readonly timeout?: number;
}

/** Hooks of one kind, and whose they are. */
export interface HookSource {
  readonly kind: string;
  readonly hooks: readonly Hook[];
  readonly saved: Saved;
}

/** The hooks that the container was made with. */
export function readHooks({ directory, saved }: Container, kind: "poststart" | "poststop"): HookSource | undefined {
  if (saved?.hasHooks !== true) return undefined;
  const config = JSON.parse(readIfThere(`${directory}/${CONFIG}`) ?? "{}") as { hooks?: Record<string, Hook[] | null> };
  const hooks = config.hooks?.[kind] ?? [];
  return hooks.length === 0 ? undefined : { kind, hooks, saved };
}

/** @param pid Of the container's process, which may have ended by now. */
export async function runPoststart(globals: Globals, container: Container, pid: number): Promise<void> {
  const source = readHooks(container, "poststart");
  if (source === undefined) return;
  await runHooksOf(globals, source, { status: "running", pid });
}

/** Runs hooks one after the other. What fails is a warning: the container has begun, or is gone, all the same. */
export async function runHooksOf(
  globals: Globals,
  { kind, hooks, saved }: HookSource,
  { status, pid }: { status: string; pid: number },
): Promise<void> {
  const { ociVersion, id, bundle, annotations } = saved;
  const state = JSON.stringify({ ociVersion, id, status, pid, bundle, ...(annotations && { annotations }) });
  for (const [i, hook] of hooks.entries()) {
    const failure = await runHook(hook, state, bundle);
    if (failure !== undefined) log(globals, "warning", `error running ${kind} hook #${i}: ${failure}`);
  }
}

/** @returns Why it failed. */
async function runHook(
  { path, args = [path], env, timeout = 0 }: Hook,
  state: string,
  cwd: string,
): Promise<string | undefined> {
  try {
    const child = Bun.spawn([path, ...args.slice(1)], {
      argv0: args[0] ?? path,
      cwd,
      env: env === undefined ? process.env : Object.fromEntries(env.map(splitVariable)),
      stdin: new TextEncoder().encode(state),
      stdout: "pipe",
      stderr: "pipe",
      ...(timeout > 0 && { timeout: timeout * 1000, killSignal: "SIGKILL" }),
    });
    const [stdout, stderr] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    const code = await child.exited;
    return code === 0 ? undefined : `exit status ${code}, stdout: ${stdout.trim()}, stderr: ${stderr.trim()}`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function splitVariable(entry: string): [string, string] {
  const separator = entry.indexOf("=");
  return separator === -1 ? [entry, ""] : [entry.slice(0, separator), entry.slice(separator + 1)];
}
