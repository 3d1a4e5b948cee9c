import { type CgroupHost, detectCgroups } from "@bantubox/cgroup";

let host: CgroupHost | undefined;

/** The cgroups of this host, asked once a command. */
export function cgroupHost(): CgroupHost {
  host ??= detectCgroups();
  return host;
}
