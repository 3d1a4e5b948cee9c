import { S, type Stat } from "../tree/tree.ts";

const BLOCK = 512;
/** Largest values of the header's octal fields. */
const OCTAL_7 = 0o7777777;
const OCTAL_11 = 0o77777777777;

export interface TarEntry {
  readonly path: Buffer;
  readonly stat: Pick<Stat, "mode" | "uid" | "gid" | "size" | "mtime" | "rdevMajor" | "rdevMinor">;
  readonly symlink?: Buffer | undefined;
  readonly hardLink?: Buffer | undefined;
  readonly xattrs?: readonly { readonly name: string; readonly value: Uint8Array }[] | undefined;
  /** Of a file that is written with holes: how many bytes follow the header, its map included. */
  readonly sparseBytes?: number | undefined;
}

/** One entry's header, with a pax header before it when the plain one is too small. */
export function tarHeader({ path, stat, symlink, hardLink, xattrs = [], sparseBytes }: TarEntry): Buffer {
  const type = hardLink === undefined ? typeFlag(stat.mode) : "1";
  const link = hardLink ?? symlink ?? Buffer.alloc(0);
  const size = type === "0" ? (sparseBytes ?? stat.size) : 0;
  const records: Buffer[] = [];
  const record = (key: string, value: Uint8Array | string) => records.push(paxRecord(key, Buffer.from(value)));
  if (path.length > 100) record("path", path);
  if (link.length > 100) record("linkpath", link);
  if (size > OCTAL_11) record("size", String(size));
  if (stat.uid > OCTAL_7) record("uid", String(stat.uid));
  if (stat.gid > OCTAL_7) record("gid", String(stat.gid));
  if (stat.mtime < 0 || stat.mtime > OCTAL_11) record("mtime", String(stat.mtime));
  for (const { name, value } of xattrs) record(`SCHILY.xattr.${name}`, value);
  if (sparseBytes !== undefined) {
    record("GNU.sparse.major", "1");
    record("GNU.sparse.minor", "0");
    record("GNU.sparse.name", path);
    record("GNU.sparse.realsize", String(stat.size));
  }
  const main = plainHeader({
    path: path.subarray(0, 100),
    link: link.subarray(0, 100),
    type,
    mode: stat.mode & 0o7777,
    uid: stat.uid > OCTAL_7 ? 0 : stat.uid,
    gid: stat.gid > OCTAL_7 ? 0 : stat.gid,
    size: size > OCTAL_11 ? 0 : size,
    mtime: stat.mtime < 0 || stat.mtime > OCTAL_11 ? 0 : stat.mtime,
    major: type === "3" || type === "4" ? stat.rdevMajor : 0,
    minor: type === "3" || type === "4" ? stat.rdevMinor : 0,
  });
  if (records.length === 0) return main;
  const body = Buffer.concat(records);
  const before = plainHeader({
    path: Buffer.from("PaxHeaders/entry"),
    link: Buffer.alloc(0),
    type: "x",
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: body.length,
    mtime: 0,
    major: 0,
    minor: 0,
  });
  return Buffer.concat([before, body, Buffer.alloc((BLOCK - (body.length % BLOCK)) % BLOCK), main]);
}

function typeFlag(mode: number): string {
  switch (mode & S.FMT) {
    case S.DIR:
      return "5";
    case S.LNK:
      return "2";
    case S.CHR:
      return "3";
    case S.BLK:
      return "4";
    case S.FIFO:
      return "6";
    default:
      return "0";
  }
}

interface PlainHeader {
  readonly path: Uint8Array;
  readonly link: Uint8Array;
  readonly type: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime: number;
  readonly major: number;
  readonly minor: number;
}

/** struct posix_header, <tar.h>. */
function plainHeader(fields: PlainHeader): Buffer {
  const header = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, digits: number) =>
    header.write(value.toString(8).padStart(digits, "0"), at, digits, "latin1");
  header.set(fields.path, 0);
  octal(fields.mode, 100, 7);
  octal(fields.uid, 108, 7);
  octal(fields.gid, 116, 7);
  octal(fields.size, 124, 11);
  octal(fields.mtime, 136, 11);
  header.write("        ", 148, "latin1");
  header.write(fields.type, 156, "latin1");
  header.set(fields.link, 157);
  header.write("ustar\x0000", 257, "latin1");
  octal(fields.major, 329, 7);
  octal(fields.minor, 337, 7);
  let sum = 0;
  // By index: an iterator takes several times as long.
  for (let at = 0; at < BLOCK; at++) sum += header[at] as number;
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return header;
}

/** `length key=value\n`, where the length counts its own digits. */
function paxRecord(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from("\n")]);
  let length = rest.length + String(rest.length).length;
  if (String(length).length !== String(rest.length).length) length = rest.length + String(length).length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}
