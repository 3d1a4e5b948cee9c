import { BoxError } from "@bantubox/ffi";
import { type MountOptions, parseMountOptions } from "../mount-options.ts";
import type { IdMapping, Mount, Spec } from "../spec.ts";

/** @throws {BoxError} `bad-mount` */
export function checkMounts({ mounts, linux }: Spec): void {
  const hasUsers = linux.namespaces.some(({ type }) => type === "user");
  for (const mount of mounts) checkMount(mount, hasUsers);
}

function checkMount(mount: Mount, hasUsers: boolean): void {
  const options = parseMountOptions(mount.options ?? []);
  const isBind = options.bind !== undefined || mount.type === "bind";
  if (isBind && !options.isRemount && !mount.source) throw badMount(mount, "a bind mount needs a source");
  if (mount.destination.split("/").includes("..")) throw badMount(mount, '".." leads out of it');
  if (options.copiesUp && mount.type !== "tmpfs")
    throw badMount(mount, '"tmpcopyup" is for file systems of type tmpfs');
  checkMappings(mount, options, isBind, hasUsers);
}

function checkMappings(mount: Mount, { idmap }: MountOptions, isBind: boolean, hasUsers: boolean): void {
  const { uidMappings, gidMappings } = mount;
  const isMapped = uidMappings !== undefined || gidMappings !== undefined;
  if (!isMapped && idmap === undefined) return;
  if (!isBind) throw badMount(mount, "only bind mounts can map users");
  if (isMapped && (!uidMappings?.length || !gidMappings?.length)) {
    throw badMount(mount, '"uidMappings" and "gidMappings" come together');
  }
  if (!isMapped && !hasUsers) {
    throw badMount(mount, `"${idmap}" needs mappings: the mount has none, and the container no user namespace`);
  }
  for (const mapping of [...(uidMappings ?? []), ...(gidMappings ?? [])]) {
    if (!isMapping(mapping)) throw badMount(mount, "a mapping must have a size, and end before 4294967295");
  }
}

/** Whether the kernel could take it: not empty, and within 32 bits. */
export function isMapping({ containerID, hostID, size }: IdMapping): boolean {
  return size > 0 && containerID + size <= 0xffff_ffff && hostID + size <= 0xffff_ffff;
}

function badMount({ destination }: Mount, state: string): BoxError {
  return new BoxError("bad-mount", `Cannot mount on "${destination}": ${state}`);
}
