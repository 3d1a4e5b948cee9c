import { allocate } from "@bantubox/ffi";
import { isDirectory, type Merged, type MergedEntry, mergedEntries, openBoth, openRoots } from "./merged.ts";
import { display, openRegular, readInto, readLink, readXattrs, S, type Stat } from "./tree.ts";
import type { Change, Passed } from "./upper-changes.ts";

const CHUNK = 1 << 20;

/** Something of the new tree, or a deletion; without a kind while nothing says that it changed. */
interface Met {
  readonly path: Buffer;
  kind: Change["kind"] | undefined;
  /** Index of the directory that it lies in; -1 for the root. */
  readonly parent: number;
}

/** A name of a file that has others, in the new tree or in the old one. */
interface Linked {
  readonly met: Met;
  readonly now: string;
  readonly before: string | undefined;
}

/**
 * What a complete tree has otherwise than another, in the order and shape of `upperChanges`. Files are compared to the
 * last byte, unless one tree is a snapshot of the other and nobody has touched them since.
 *
 * The names of one file change together: who takes the list for a layer finds all of them in it, or none.
 *
 * @param lower @param upper Descriptors of their roots.
 */
export function treeChanges(lower: number, upper: number, passed: Passed = () => false): Change[] {
  const all: Met[] = [];
  const linked: Linked[] = [];

  function visit(directory: Merged, prefix: Buffer, parent: number): void {
    for (const entry of mergedEntries(directory, prefix)) {
      const path = Buffer.concat([prefix, entry.name.subarray(0, -1)]);
      if (entry.parent === directory.lower) {
        all.push({ path, kind: "deleted", parent });
        continue;
      }
      const { below, stat } = entry;
      if ((stat.mode & S.FMT) === S.SOCK || (below === undefined && passed(path, stat))) continue;
      const met: Met = { path, kind: kindOf(directory, entry), parent };
      const index = all.push(met) - 1;
      if (isDirectory(stat)) {
        using child = openBoth(directory, entry);
        visit(child, Buffer.concat([path, Buffer.from("/")]), index);
      } else if (stat.links > 1 || (below !== undefined && below.links > 1)) {
        linked.push({ met, now: stat.identity, before: below?.identity });
      }
    }
  }

  using roots = openRoots(lower, upper);
  visit(roots, Buffer.alloc(0), -1);
  changeTogether(linked);
  for (const { kind, parent } of all.toReversed()) {
    const directory = all[parent];
    if (kind !== undefined && directory !== undefined) directory.kind ??= "modified";
  }
  return all.flatMap(({ path, kind }) => (kind === undefined ? [] : { path, kind }));
}

function kindOf({ lower }: Merged, entry: MergedEntry): Change["kind"] | undefined {
  const { below, stat, name, parent } = entry;
  if (below === undefined || lower === undefined) return "added";
  const type = stat.mode & S.FMT;
  if (stat.mode !== below.mode || stat.uid !== below.uid || stat.gid !== below.gid) return "modified";
  if (type !== S.DIR && isUntouched(stat, below)) return undefined;
  if (stat.mtime !== below.mtime || stat.mtimeNs !== below.mtimeNs) return "modified";
  const isSame =
    Bun.deepEquals(readXattrs(parent, name), readXattrs(lower, name)) && hasSameContent(lower, entry, below, type);
  return isSame ? undefined : "modified";
}

/** A snapshot's files have the numbers of those that they were taken of, and their times as long as nobody touches them. */
function isUntouched(now: Stat, before: Stat): boolean {
  const number = ({ identity }: Stat): string => identity.slice(identity.indexOf(":", identity.indexOf(":") + 1));
  return now.ctime === before.ctime && now.ctimeNs === before.ctimeNs && number(now) === number(before);
}

function hasSameContent(lower: number, { parent, name, stat }: MergedEntry, below: Stat, type: number): boolean {
  const subject = display(name);
  if (type === S.LNK) return Buffer.compare(readLink(parent, name, subject), readLink(lower, name, subject)) === 0;
  if (type === S.CHR || type === S.BLK) return stat.rdevMajor === below.rdevMajor && stat.rdevMinor === below.rdevMinor;
  if (type !== S.REG) return true;
  if (stat.size !== below.size) return false;
  using now = openRegular(parent, name, subject);
  using before = openRegular(lower, name, subject);
  return now !== undefined && before !== undefined && hasSameBytes(now.fd, before.fd);
}

function hasSameBytes(a: number, b: number): boolean {
  const [left, right] = [allocate(CHUNK), allocate(CHUNK)];
  for (;;) {
    const count = readInto(a, left, 0, CHUNK);
    let got = 0;
    while (got < count) {
      const more = readInto(b, right, got, count - got);
      if (more === 0) return false;
      got += more;
    }
    if (count === 0) return readInto(b, right, 0, 1) === 0;
    if (Buffer.compare(left.subarray(0, count), right.subarray(0, count)) !== 0) return false;
  }
}

/**
 * Names that were one file and are several, or the other way round, have changed although none of the files has; and
 * where one name of a file changes, all do.
 */
function changeTogether(linked: readonly Linked[]): void {
  const same = linked.filter(({ met }) => met.kind === undefined);
  for (const [by, of] of [
    ["now", "before"],
    ["before", "now"],
  ] as const) {
    const partners = new Map<string, Set<string>>();
    for (const each of same) {
      const key = each[by] ?? "";
      partners.set(key, (partners.get(key) ?? new Set()).add(each[of] ?? ""));
    }
    for (const each of same) if ((partners.get(each[by] ?? "")?.size ?? 0) > 1) each.met.kind = "modified";
  }
  const changed = new Set(linked.filter(({ met }) => met.kind !== undefined).map(({ now }) => now));
  for (const { met, now } of linked) if (changed.has(now)) met.kind ??= "modified";
}
