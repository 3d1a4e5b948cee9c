import { MOVE_MOUNT, MS, O, type Place, Plan, RESOLVE, type Reg, type Steps } from "@bantubox/ffi";

/** A plan while its parts are written, and the registers that they share. */
export interface Build {
  readonly plan: Plan;
  /** The steps of the container's process: CHILD, or INNER when CHILD is only a stage on the way to it. */
  readonly child: Steps;
  /** O_PATH descriptor of the container's root, in the child: every mount's target is looked up below it. */
  readonly root: Reg;
  /** For whatever a few steps in a row need; never across functions. */
  readonly scratch: Reg;
  readonly tree: Reg;
  /** As `scratch`, for numbers. */
  readonly value: Reg;
}

/** @param isStaged As namespaces.ts has it. */
export function startBuild(isStaged = false): Build {
  const plan = new Plan();
  return {
    plan,
    child: isStaged ? plan.inner : plan.child,
    root: plan.register(),
    scratch: plan.register(),
    tree: plan.register(),
    value: plan.register(),
  };
}

/** struct mount_attr for mount_setattr(2). @param propagation MS.PRIVATE and so on; 0 leaves it. */
export function mountAttributes(plan: Plan, set: number, clear = 0, propagation = 0): Place {
  const words = new Uint32Array(new ArrayBuffer(32));
  words[0] = set;
  words[2] = clear;
  words[4] = propagation;
  return plan.bytes(new Uint8Array(words.buffer));
}

/** Moves the mount in `tree` onto `scratch`, and closes both. */
export function attach({ child, scratch, tree }: Build, tag: number): void {
  const flags = MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_EMPTY_PATH;
  child.sys("move_mount", tree, "", scratch, "", flags).tag(tag);
  child.sys("close", tree);
  child.sys("close", scratch);
}

/** struct open_how for openat2(2) below a container's root: O_PATH, whatever links there are lead inside. */
export function inRoot(plan: Plan): Place {
  const words = new Uint32Array(new ArrayBuffer(24));
  words[0] = O.PATH | O.CLOEXEC;
  words[4] = RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS;
  return plan.bytes(new Uint8Array(words.buffer));
}

/** Makes every mount of this namespace private or slave: nothing that follows reaches the host. */
export function isolateMounts(steps: Steps, isSlave: boolean): void {
  steps.sys("mount", null, "/", null, MS.REC | (isSlave ? MS.SLAVE : MS.PRIVATE), null);
}
