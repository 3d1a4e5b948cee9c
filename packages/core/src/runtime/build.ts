import { MS, type Place, Plan, type Reg, type Steps } from "@bantubox/ffi";

/** A plan while its parts are written, and the registers that they share. */
export interface Build {
  readonly plan: Plan;
  /** O_PATH descriptor of the container's root, in the child: every mount's target is looked up below it. */
  readonly root: Reg;
  /** For whatever a few steps in a row need; never across functions. */
  readonly scratch: Reg;
  readonly tree: Reg;
}

export function startBuild(): Build {
  const plan = new Plan();
  return { plan, root: plan.register(), scratch: plan.register(), tree: plan.register() };
}

/** struct mount_attr for mount_setattr(2). @param propagation MS.PRIVATE and so on; 0 leaves it. */
export function mountAttributes(plan: Plan, set: number, clear = 0, propagation = 0): Place {
  const words = new Uint32Array(new ArrayBuffer(32));
  words[0] = set;
  words[2] = clear;
  words[4] = propagation;
  return plan.bytes(new Uint8Array(words.buffer));
}

/** Makes every mount of this namespace private (or slave): nothing that follows reaches the host. */
export function isolateMounts(steps: Steps, propagation: string): void {
  const flag = propagation === "slave" || propagation === "shared" ? MS.SLAVE : MS.PRIVATE;
  steps.sys("mount", null, "/", null, MS.REC | flag, null);
}
