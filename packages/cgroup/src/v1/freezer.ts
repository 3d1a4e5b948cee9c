import { readControl, writeControl } from "../file.ts";

/** Asks for the state of `dir` and all below; FREEZING comes before FROZEN, and may need to be asked for again. */
export function setFrozen(dir: string, frozen: boolean): void {
  writeControl({ path: `${dir}/freezer.state`, value: frozen ? "FROZEN" : "THAWED" });
}

export function isFrozen(dir: string): boolean {
  return readControl(`${dir}/freezer.state`) === "FROZEN";
}

/** What was asked for, come of it what may. */
export function isAskedToFreeze(dir: string): boolean {
  return (readControl(`${dir}/freezer.state`) ?? "THAWED") !== "THAWED";
}
