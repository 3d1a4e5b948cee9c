import { attempt, cstr } from "@bantubox/ffi";
import { pathBelow, S, type Stat } from "./tree.ts";

const OPAQUE = cstr("trusted.overlay.opaque");

/** Whether overlay takes it for the mark that something of the layers below is deleted: a device 0:0. */
export function isWhiteout({ mode, rdevMajor, rdevMinor }: Stat): boolean {
  return (mode & S.FMT) === S.CHR && rdevMajor === 0 && rdevMinor === 0;
}

/** Makes a directory hide what the layers below have in it. */
export function markOpaque(parent: number, name: Uint8Array): number {
  const value = cstr("y");
  return attempt("lsetxattr", pathBelow(parent, name), OPAQUE, value, 1, 0);
}
