import type { CgroupPlan } from "@bantubox/cgroup";
import { AT, ERRNO, MS, readIfThere } from "@bantubox/ffi";
import type { Build } from "./build.ts";
import { parseMountOptions } from "./mount-options.ts";
import { hostId, isNew } from "./namespaces.ts";
import type { Spec } from "./spec.ts";
import { TAG } from "./tags.ts";

/** What the kernel says is safe to give away, and what is where it does not say. */
const DELEGATE = "/sys/kernel/cgroup/delegate";
const FALLBACK = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/**
 * Gives v2's group to the container's user, in PREPARE, where the container sees it as its own top and can write
 * there: so a systemd in it manages its groups. Its limits stay the host's. v1's are never given away.
 */
export function delegateCgroup({ plan }: Build, { intoDirectory }: CgroupPlan, spec: Spec): void {
  const uid = hostId(spec.linux, "uid", spec.process.user.uid);
  if (intoDirectory === undefined || !uid || !isNew(spec.linux, "cgroup") || !isWritable(spec)) return;
  const steps = plan.prepare;
  steps.sys("fchownat", AT.FDCWD, intoDirectory, uid, -1, 0).tag(TAG.CGROUP);
  for (const file of (readIfThere(DELEGATE) ?? FALLBACK).split("\n")) {
    if (file === "") continue;
    steps.sys("fchownat", AT.FDCWD, `${intoDirectory}/${file}`, uid, -1, 0).tolerate(ERRNO.ENOENT).tag(TAG.CGROUP);
  }
}

function isWritable({ mounts }: Spec): boolean {
  return mounts.some(({ destination, source, options = [] }) => {
    if (destination !== "/sys/fs/cgroup" || source !== "cgroup") return false;
    return (parseMountOptions(options).flags & MS.RDONLY) === 0;
  });
}
