import { BoxError } from "@bantubox/ffi";
import { quote } from "../document/digest.ts";

export function archiveInvalid(why: string, hint?: string): BoxError {
  return new BoxError("archive-invalid", `Cannot load the archive: ${why}`, { hint });
}

/**
 * A name within an archive without `./`, double slashes and a slash at its end. Such names are only ever looked up
 * among the archive's own: none becomes a name of a file here.
 *
 * @returns undefined for one that is absolute or leads outside.
 */
export function cleanName(name: string): string | undefined {
  if (name.startsWith("/")) return undefined;
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  return parts.includes("..") ? undefined : parts.join("/");
}

/** What a link in the archive leads to, by names alone; undefined when that is outside. */
export function linkTarget(from: string, target: string): string | undefined {
  if (target.startsWith("/")) return undefined;
  const parts = from.split("/").slice(0, -1);
  for (const part of target.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") parts.push(part);
    else if (parts.pop() === undefined) return undefined;
  }
  return parts.join("/");
}

/** A name that somebody's JSON says. @throws {BoxError} `archive-invalid` for one that leads outside. */
export function namedInside(name: string): string {
  const clean = cleanName(name);
  if (clean === undefined || clean === "" || name.includes("\0")) {
    throw archiveInvalid(`it names ${quote(name)}, which is not within it`);
  }
  return clean;
}
