import { BoxError, isDirectory, statIfThere } from "@bantubox/ffi";
import { isBind } from "../binds.ts";
import { FILE_OPTION, type MountOptions, parseMountOptions } from "../mount-options.ts";
import type { IdMapping, Mount, Spec } from "../spec.ts";

/**
 * Looks at each mount, and at what the host has for a bind mount's source.
 *
 * @returns The mounts, with a word about which sources are no directories.
 * @throws {BoxError} `bad-mount`
 */
export function checkMounts({ mounts, linux }: Spec): Mount[] {
  const hasUsers = linux.namespaces.some(({ type }) => type === "user");
  return mounts.map((mount) => {
    checkMount(mount, hasUsers);
    const { source, options = [] } = mount;
    if (!isBind(mount) || options.includes("remount") || source === undefined) return mount;
    const stat = statIfThere(source);
    if (stat === undefined) throw badMount(mount, `no such file or directory: "${source}"`);
    return isDirectory(stat) ? mount : { ...mount, options: [...options, FILE_OPTION] };
  });
}

function checkMount(mount: Mount, hasUsers: boolean): void {
  const options = parseMountOptions(mount.options ?? []);
  const binds = isBind(mount);
  if (binds && !options.isRemount && !mount.source) throw badMount(mount, "a bind mount needs a source");
  if (mount.destination.split("/").includes("..")) throw badMount(mount, '".." leads out of it');
  if (options.copiesUp && mount.type !== "tmpfs")
    throw badMount(mount, '"tmpcopyup" is for file systems of type tmpfs');
  checkMappings(mount, options, binds, hasUsers);
}

function checkMappings(mount: Mount, { idmap }: MountOptions, binds: boolean, hasUsers: boolean): void {
  const { uidMappings, gidMappings } = mount;
  const isMapped = uidMappings !== undefined || gidMappings !== undefined;
  if (!isMapped && idmap === undefined) return;
  if (!binds) throw badMount(mount, "only bind mounts can map users");
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
