import { readControl, writeControl } from "../file.ts";
import { parseKeyed } from "../keyed.ts";

/** Asks for the state of `dir` and all below. */
export function setFrozen(dir: string, frozen: boolean): void {
  writeControl({ path: `${dir}/cgroup.freeze`, value: frozen ? "1" : "0" });
}

/** cgroup.freeze says what was asked for; this, what has come of it. */
export function isFrozen(dir: string): boolean {
  return parseKeyed(readControl(`${dir}/cgroup.events`) ?? "").get("frozen") === 1;
}

/** What was asked for: a process that gets a signal leaves its standstill for a moment, and `frozen` is 0. */
export function isAskedToFreeze(dir: string): boolean {
  return readControl(`${dir}/cgroup.freeze`) === "1";
}
