import { BoxError } from "@bantubox/ffi";
import { FILE_OPTION } from "../../runtime/mount-options.ts";
import type { Mount } from "../../runtime/spec.ts";
import type { Engine } from "../state/engine.ts";
import type { MountOption } from "./options.ts";
import { bindSource, nameVolume, type VolumeMount, volumeDirectory } from "./volumes.ts";

export interface UserMounts {
  readonly mounts: readonly Mount[];
  readonly volumes: readonly VolumeMount[];
}

/** The mount itself, and those that lie below it. */
const READ_ONLY = ["ro", "rro"];

/**
 * Turns `-v`, `--mount`, `--tmpfs` and the image's VOLUMEs into mounts of
 * config.json, outer ones before what lies in them. Volumes are named, not made.
 *
 * @throws {BoxError} `bad-mount`, `no-such-path`, `bad-name`
 */
export function resolveMounts(
  engine: Engine,
  options: readonly MountOption[],
  imageVolumes: readonly string[],
): UserMounts {
  const byTarget = new Map<string, MountOption>();
  for (const option of options) {
    const target = checkTarget(option.target);
    if (byTarget.has(target)) {
      throw new BoxError("bad-mount", `Cannot mount on "${target}" twice`, { hint: "Leave one of the two out" });
    }
    byTarget.set(target, option);
  }
  for (const volume of imageVolumes) {
    const target = checkTarget(volume);
    if (!byTarget.has(target)) byTarget.set(target, { type: "volume", source: "", target });
  }
  const mounts: Mount[] = [];
  const volumes: VolumeMount[] = [];
  const sorted = [...byTarget].sort(([a], [b]) => depth(a) - depth(b));
  for (const [target, option] of sorted) {
    if (option.type === "tmpfs") mounts.push(tmpfsMount(target, option));
    else if (option.type === "bind") mounts.push(bindMount(target, option));
    else {
      const { source = "" } = option;
      const name = nameVolume(source);
      volumes.push({ name, isAnonymous: source === "", target });
      const access = option.readOnly ? READ_ONLY : [];
      mounts.push({
        destination: target,
        type: "bind",
        source: volumeDirectory(engine, name),
        options: ["rbind", ...access],
      });
    }
  }
  return { mounts, volumes };
}

function depth(path: string): number {
  return path.split("/").length;
}

/** What must stay what it is: a mount on these would stand for the container's own view of itself. */
function checkTarget(target: string): string {
  if (!target.startsWith("/")) {
    throw new BoxError("bad-mount", `Cannot mount on ${JSON.stringify(target)}: it is not an absolute path`);
  }
  const path = process
    .getBuiltinModule("node:path")
    .normalize(target)
    .replace(/(?<=.)\/+$/, "");
  if (path === "/") throw new BoxError("bad-mount", 'Cannot mount on "/": that is the container\'s root');
  if (path === "/proc" || path.startsWith("/proc/")) {
    throw new BoxError("bad-mount", `Cannot mount on "${path}": /proc is the kernel's view of the container`);
  }
  return path;
}

function tmpfsMount(destination: string, { tmpfs = [], readOnly }: MountOption): Mount {
  const defaults = ["nosuid", "nodev", "noexec"].filter((option) => !tmpfs.includes(option.slice(2)));
  return { destination, type: "tmpfs", source: "tmpfs", options: [...defaults, ...tmpfs, ...(readOnly ? ["ro"] : [])] };
}

function bindMount(destination: string, { source = "", readOnly, propagation, createSource }: MountOption): Mount {
  if (!source.startsWith("/")) {
    throw new BoxError("bad-mount", `Cannot mount ${JSON.stringify(source)}: it is not an absolute path`);
  }
  const options = ["rbind", propagation ?? "rprivate"];
  if (readOnly) options.push(...READ_ONLY);
  if (bindSource(source, createSource === true) === "file") options.push(FILE_OPTION);
  return { destination, type: "bind", source, options };
}
