import type { Place, Reg, Steps } from "@bantubox/ffi";
import type { Build } from "./build.ts";
import type { Hook, Hooks } from "./spec.ts";
import { TAG } from "./tags.ts";

/** What hooks are told of their container on stdin, but for its pid, which nobody knows yet. */
export interface HookState {
  readonly ociVersion: string;
  readonly id: string;
  readonly bundle: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Hooks of one kind. */
export interface HookRun {
  readonly kind: keyof Hooks;
  readonly hooks: readonly Hook[];
  readonly state: HookState;
  readonly status: HookStatus;
  /** The container's process as the process that runs them sees it. */
  readonly pid: Reg | number;
  /** Of those that name none, as envp; without it they have the runtime's own. */
  readonly environment?: Place;
}

type HookStatus = "created" | "running" | "stopped";

/** So many digits no pid has: 2^22 is the kernel's highest. */
const PID_WIDTH = 10;

/** Adds steps that run hooks one after the other. The first that fails ends the start, if that is still under way. */
export function runHooks(build: Build, steps: Steps, { kind, hooks, state, status, pid, environment }: HookRun): void {
  if (hooks.length === 0) return;
  const { plan } = build;
  const { text, at } = stateText(state, status);
  const place: Place = plan.bytes(text);
  steps.builtin("storePid", plan.within(place, at), PID_WIDTH, pid);
  hooks.forEach(({ path, args = [path], env, timeout = 0 }, i) => {
    const envp = env === undefined && environment !== undefined ? environment : plan.strings(env ?? ownEnvironment());
    // The last is for whoever explains a failure.
    steps.builtin("hook", path, plan.strings(args), envp, place, timeout * 1000, `${kind} hook #${i}`).tag(TAG.HOOK);
    if (kind === "poststart" || kind === "poststop") steps.ignore();
  });
}

/** The state as JSON that ends with a zero byte, and where in it the pid's digits go. */
function stateText(state: HookState, status: HookStatus): { text: Uint8Array; at: number } {
  const { ociVersion, id, bundle, annotations } = state;
  const before = `${JSON.stringify({ ociVersion, id, status }).slice(0, -1)},"pid":`;
  const after = JSON.stringify(annotations === undefined ? { bundle } : { bundle, annotations }).slice(1);
  return {
    text: new TextEncoder().encode(`${before}${" ".repeat(PID_WIDTH)},${after}\0`),
    at: Buffer.byteLength(before),
  };
}

function ownEnvironment(): string[] {
  return Object.entries(process.env).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]));
}
