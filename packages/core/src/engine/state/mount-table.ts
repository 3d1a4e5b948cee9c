import { readFileSync, realpathSync } from "node:fs";

/** What a path lies on. */
export interface MountPoint {
  /** Absolute: where it is mounted. */
  readonly target: string;
  /** `ext4`, `btrfs`… */
  readonly type: string;
  /** A device or whatever the file system calls itself by. */
  readonly source: string;
  /** The file behind a loop device. */
  readonly file: string | undefined;
}

/** The mount that `path` lies on, of those that this process sees. */
export function mountOf(path: string): MountPoint | undefined {
  const real = realpathSync(path);
  let found: MountPoint | undefined;
  for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
    // proc(5): ID, parent, device, root, mount point, options, fields of their own, "-", type, source, options
    const [left = "", right = ""] = line.split(" - ");
    const [, , , , point = ""] = left.split(" ");
    const target = fromOctal(point);
    const [type = "", source = ""] = right.split(" ");
    const covers = target === "/" || real === target || real.startsWith(`${target}/`);
    // Of two at one place the later one is on top.
    if (covers && target.length >= (found?.target.length ?? 0))
      found = { target, type, source: fromOctal(source), file: backingFile(fromOctal(source)) };
  }
  return found;
}

/** Spaces and the like are octal there. */
function fromOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

function backingFile(source: string): string | undefined {
  const name = /^\/dev\/(loop[0-9]+)$/.exec(source)?.[1];
  if (name === undefined) return undefined;
  try {
    return readFileSync(`/sys/block/${name}/loop/backing_file`, "utf8").trimEnd();
  } catch {
    return undefined;
  }
}
