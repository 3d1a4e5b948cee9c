import type { CgroupPlan } from "@bantubox/cgroup";
import { AT, CLONE, ERRNO, O, type Reg, type Steps } from "@bantubox/ffi";
import type { Build } from "./build.ts";
import { TAG } from "./tags.ts";

const BPF_PROG_LOAD = 5;
const BPF_PROG_ATTACH = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE = 15;
const BPF_CGROUP_DEVICE = 6;
/** Others, such as systemd, may have a program there too; a device has to pass all of them. */
const BPF_F_ALLOW_MULTI = 2;
/** Size of union bpf_attr as far as we fill it. */
const LOAD_BYTES = 48;
const ATTACH_BYTES = 16;

/**
 * Makes the container's groups and their limits, in PREPARE.
 *
 * @returns The descriptor of v2's directory, where there is one: the child is born inside.
 */
export function makeCgroups(build: Build, cgroup: CgroupPlan): Reg | undefined {
  const { plan } = build;
  const steps = plan.prepare;
  for (const path of cgroup.directories) {
    steps.sys("mkdirat", AT.FDCWD, path, 0o755).tolerate(ERRNO.EEXIST).tag(TAG.CGROUP);
  }
  for (const { path, value, isOptional, isWish } of cgroup.writes) {
    steps.builtin("writeFile", AT.FDCWD, path, value, value.length, O.WRONLY, 0).tag(TAG.CGROUP);
    if (isWish) steps.ignore();
    else if (isOptional) steps.tolerate(ERRNO.ENOENT);
  }
  if (cgroup.intoDirectory === undefined) return undefined;
  if (cgroup.deviceProgram !== undefined) attachDevicePolicy(build, cgroup.intoDirectory, cgroup.deviceProgram);
  return openUnified(build, cgroup.intoDirectory);
}

/** v2's group, for CLONE_INTO_CGROUP: to be born inside costs less than to move there. */
export function openUnified({ plan }: Build, directory: string): Reg {
  const reg = plan.register();
  plan.prepare
    .sys("openat", AT.FDCWD, directory, O.PATH | O.DIRECTORY | O.CLOEXEC)
    .into(reg)
    .tag(TAG.CGROUP);
  return reg;
}

/** Loads the device program of v2 and hangs it on the group: bpf(2) takes no path, and no O_PATH descriptor. */
function attachDevicePolicy({ plan, scratch, tree }: Build, directory: string, program: Uint8Array): void {
  const steps = plan.prepare;
  const load = plan.space(LOAD_BYTES);
  plan.write32(load, 0, BPF_PROG_TYPE_CGROUP_DEVICE);
  plan.write32(load, 4, program.length / 8);
  plan.pointer(load, 8, plan.bytes(program));
  plan.pointer(load, 16, plan.text("MIT"));
  const attach = plan.space(ATTACH_BYTES);
  plan.write32(attach, 8, BPF_CGROUP_DEVICE);
  plan.write32(attach, 12, BPF_F_ALLOW_MULTI);
  steps.sys("bpf", BPF_PROG_LOAD, load, LOAD_BYTES).into(scratch).tag(TAG.CGROUP);
  steps
    .sys("openat", AT.FDCWD, directory, O.RDONLY | O.DIRECTORY | O.CLOEXEC)
    .into(tree)
    .tag(TAG.CGROUP);
  steps.builtin("store32", attach, tree);
  steps.builtin("store32", plan.within(attach, 4), scratch);
  steps.sys("bpf", BPF_PROG_ATTACH, attach, ATTACH_BYTES).tag(TAG.CGROUP);
  steps.sys("close", scratch);
  steps.sys("close", tree);
}

/** Makes the namespace that begins at the groups that the process has joined. */
export function leaveCgroupNamespace(steps: Steps): void {
  steps.sys("unshare", CLONE.NEWCGROUP).tag(TAG.CGROUP);
}

/** Every hierarchy but v2's, in which the process was born. */
export function joinV1(steps: Steps, { joins, intoDirectory }: Pick<CgroupPlan, "joins" | "intoDirectory">): void {
  for (const path of joins) {
    if (intoDirectory !== undefined && path.startsWith(`${intoDirectory}/`)) continue;
    steps.builtin("writeFile", AT.FDCWD, path, "0", 1, O.WRONLY, 0).tag(TAG.CGROUP);
  }
}

/**
 * Empty by now: PID 1 took everybody with it. What the container has made below them goes, too. What cannot be removed
 * is collected by the next command.
 */
export function removeCgroups(steps: Steps, cgroup: CgroupPlan): void {
  for (const path of cgroup.remove) steps.builtin("removeGroup", path).ignore();
}

/** For a start that failed: what lies below groups that it did not make is somebody else's. */
export function undoCgroups(steps: Steps, cgroup: CgroupPlan): void {
  for (const path of cgroup.remove) steps.sys("unlinkat", AT.FDCWD, path, AT.REMOVEDIR).ignore();
}
