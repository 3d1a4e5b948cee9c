import { CLONE } from "@bantubox/ffi";
import type { NamespaceType } from "./spec.ts";

/** The flag of clone3(2) and setns(2) for each type of config.json. */
export const NAMESPACE_FLAG: Readonly<Record<NamespaceType, number>> = {
  mount: CLONE.NEWNS,
  pid: CLONE.NEWPID,
  uts: CLONE.NEWUTS,
  ipc: CLONE.NEWIPC,
  network: CLONE.NEWNET,
  cgroup: CLONE.NEWCGROUP,
  time: CLONE.NEWTIME,
  user: CLONE.NEWUSER,
};
