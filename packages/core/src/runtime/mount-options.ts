/** The words of a mount's options, and what the kernel's calls know for them. */
import { MOUNT_ATTR, MS } from "@bantubox/ffi";

/** What the options of one mount ask for together. */
export interface MountOptions {
  /** MS_*, of mount(2). */
  flags: number;
  /** MOUNT_ATTR_*, of mount_setattr(2), for the mount itself. */
  set: number;
  clear: number;
  /** The same for it and all that lies below. */
  setAll: number;
  clearAll: number;
  /** MS_SHARED and so on, with MS_REC where it was named so; 0 when none was. */
  propagation: number;
  bind: "bind" | "rbind" | undefined;
  isRemount: boolean;
  idmap: "idmap" | "ridmap" | undefined;
  /** A tmpfs is filled with what it covers. */
  copiesUp: boolean;
  /** What only the file system understands, separated by commas. */
  data: string;
}

/** [flag of mount(2), attribute of mount_setattr(2), cleared instead of set] */
type FlagOption = readonly [number, number, boolean];

const FLAGS: Readonly<Record<string, FlagOption>> = {
  ro: [MS.RDONLY, MOUNT_ATTR.RDONLY, false],
  rw: [MS.RDONLY, MOUNT_ATTR.RDONLY, true],
  nosuid: [MS.NOSUID, MOUNT_ATTR.NOSUID, false],
  suid: [MS.NOSUID, MOUNT_ATTR.NOSUID, true],
  nodev: [MS.NODEV, MOUNT_ATTR.NODEV, false],
  dev: [MS.NODEV, MOUNT_ATTR.NODEV, true],
  noexec: [MS.NOEXEC, MOUNT_ATTR.NOEXEC, false],
  exec: [MS.NOEXEC, MOUNT_ATTR.NOEXEC, true],
  noatime: [MS.NOATIME, MOUNT_ATTR.NOATIME, false],
  atime: [MS.NOATIME, MOUNT_ATTR.NOATIME, true],
  nodiratime: [MS.NODIRATIME, MOUNT_ATTR.NODIRATIME, false],
  diratime: [MS.NODIRATIME, MOUNT_ATTR.NODIRATIME, true],
  relatime: [MS.RELATIME, MOUNT_ATTR.RELATIME, false],
  norelatime: [MS.RELATIME, MOUNT_ATTR.RELATIME, true],
  strictatime: [MS.STRICTATIME, MOUNT_ATTR.STRICTATIME, false],
  nostrictatime: [MS.STRICTATIME, MOUNT_ATTR.STRICTATIME, true],
  nosymfollow: [MS.NOSYMFOLLOW, MOUNT_ATTR.NOSYMFOLLOW, false],
  symfollow: [MS.NOSYMFOLLOW, MOUNT_ATTR.NOSYMFOLLOW, true],
  // These are the file system's, not one mount's: a bind mount has them as they are.
  sync: [MS.SYNCHRONOUS, 0, false],
  async: [MS.SYNCHRONOUS, 0, true],
  dirsync: [MS.DIRSYNC, 0, false],
  acl: [MS.POSIXACL, 0, false],
  noacl: [MS.POSIXACL, 0, true],
  lazytime: [MS.LAZYTIME, 0, false],
  nolazytime: [MS.LAZYTIME, 0, true],
  mand: [MS.MANDLOCK, 0, false],
  nomand: [MS.MANDLOCK, 0, true],
  iversion: [MS.I_VERSION, 0, false],
  noiversion: [MS.I_VERSION, 0, true],
  silent: [MS.SILENT, 0, false],
  loud: [MS.SILENT, 0, true],
};

/** Those of FLAGS that also exist with an "r" in front, for all mounts below. */
const RECURSIVE = new Set([
  ...["ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime", "atime", "nodiratime", "diratime"],
  ...["relatime", "norelatime", "strictatime", "nostrictatime", "nosymfollow", "symfollow"],
]);

export const PROPAGATION: Readonly<Record<string, number>> = {
  private: MS.PRIVATE,
  rprivate: MS.PRIVATE | MS.REC,
  slave: MS.SLAVE,
  rslave: MS.SLAVE | MS.REC,
  shared: MS.SHARED,
  rshared: MS.SHARED | MS.REC,
  unbindable: MS.UNBINDABLE,
  runbindable: MS.UNBINDABLE | MS.REC,
};

/** Says of a bind mount that its source is no directory; whoever looked at it adds it. */
export const FILE_OPTION = "x-bantubox.file";

const OTHERS = ["defaults", "bind", "rbind", "remount", "idmap", "ridmap", "tmpcopyup"];

/** Every option that is understood here, sorted; all others are the file system's. */
export function knownMountOptions(): string[] {
  const recursive = [...RECURSIVE].map((name) => `r${name}`);
  return [...Object.keys(FLAGS), ...recursive, ...Object.keys(PROPAGATION), ...OTHERS].sort();
}

/** Later options win over earlier ones that say the opposite, as in mount(8). */
export function parseMountOptions(texts: readonly string[]): MountOptions {
  const options: MountOptions = {
    flags: 0,
    set: 0,
    clear: 0,
    setAll: 0,
    clearAll: 0,
    propagation: 0,
    bind: undefined,
    isRemount: false,
    idmap: undefined,
    copiesUp: false,
    data: "",
  };
  for (const text of texts) {
    const flag = FLAGS[text];
    if (flag !== undefined) setFlag(options, flag);
    else if (!setWord(options, text)) options.data += options.data === "" ? text : `,${text}`;
  }
  return options;
}

function setFlag(options: MountOptions, [bit, attribute, isCleared]: FlagOption): void {
  options.flags = isCleared ? options.flags & ~bit : options.flags | bit;
  [options.set, options.clear] = withAttribute(options.set, options.clear, attribute, isCleared, bit);
}

/** The access-time modes are one field: to set one, the whole field is cleared first. */
function withAttribute(
  set: number,
  clear: number,
  attribute: number,
  isCleared: boolean,
  bit: number,
): [set: number, clear: number] {
  const isAccessTime = (bit & (MS.NOATIME | MS.RELATIME | MS.STRICTATIME)) !== 0;
  if (isAccessTime && isCleared) {
    // To leave a mode is to return to the kernel's default, relatime; leaving that one says nothing.
    return attribute === MOUNT_ATTR.RELATIME ? [set, clear] : [set & ~attribute, clear | MOUNT_ATTR.ATIME];
  }
  if (isAccessTime) return [(set & ~MOUNT_ATTR.ATIME) | attribute, clear | MOUNT_ATTR.ATIME];
  return isCleared ? [set & ~attribute, clear | attribute] : [set | attribute, clear & ~attribute];
}

/** Whether `text` is no file system's own option. */
function setWord(options: MountOptions, text: string): boolean {
  const propagation = PROPAGATION[text];
  if (propagation !== undefined) options.propagation = propagation;
  else if (text === "bind" || text === "rbind") options.bind = text;
  else if (text === "remount") options.isRemount = true;
  else if (text === "idmap" || text === "ridmap") options.idmap = text;
  else if (text === "tmpcopyup") options.copiesUp = true;
  else if (text.startsWith("r") && RECURSIVE.has(text.slice(1))) {
    const [bit, attribute, isCleared] = FLAGS[text.slice(1)] as FlagOption;
    [options.setAll, options.clearAll] = withAttribute(options.setAll, options.clearAll, attribute, isCleared, bit);
  } else return text === "defaults" || text === FILE_OPTION;
  return true;
}
