import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { getCACertificates, rootCertificates } from "node:tls";
import { BoxError, isErrno } from "@bantubox/ffi";
import { errnoOf, quote } from "../document/digest.ts";
import type { Certificates } from "./http.ts";

/** Each has a directory HOST or HOST:PORT for a registry, laid out as Docker has it. */
const DIRECTORIES = ["/etc/bantubox/certs.d", "/etc/docker/certs.d", "/etc/containers/certs.d"];

/**
 * The certificates that are meant for one registry: `*.crt` are authorities to trust besides the usual ones, a
 * `NAME.cert` with its `NAME.key` is what we show of ourselves.
 *
 * @param options.directory Looked into instead of the usual places.
 * @param options.ca A file of further authorities.
 * @returns undefined when there are none.
 * @throws {BoxError} `certificates-invalid`
 */
export function readCertificates(
  domain: string,
  options: { readonly directory?: string | undefined; readonly ca?: string | undefined } = {},
): Certificates | undefined {
  const directories =
    options.directory === undefined ? DIRECTORIES.map((parent) => join(parent, domain)) : [options.directory];
  const authorities = options.ca === undefined ? [] : [read(options.ca)];
  let pair: { readonly cert: string; readonly key: string } | undefined;
  for (const directory of directories) {
    for (const name of list(directory, options.directory !== undefined)) {
      const path = join(directory, name);
      if (name.endsWith(".crt")) authorities.push(read(path));
      else if (name.endsWith(".cert"))
        pair ??= { cert: read(path), key: read(`${path.slice(0, -".cert".length)}.key`) };
    }
  }
  if (authorities.length === 0 && pair === undefined) return undefined;
  return {
    // What is named here replaces the usual ones.
    ca: authorities.length === 0 ? undefined : [...rootCertificates, ...getCACertificates("system"), ...authorities],
    ...pair,
  };
}

function list(directory: string, isRequired: boolean): string[] {
  try {
    return readdirSync(directory).sort();
  } catch (error) {
    if (!isRequired && isErrno(error, "ENOENT", "ENOTDIR")) return [];
    throw unreadable(directory, error);
  }
}

function read(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw unreadable(path, error);
  }
  if (text.includes("-----BEGIN ")) return text;
  throw new BoxError("certificates-invalid", `Cannot use ${quote(path)}: it holds nothing in the PEM format`);
}

function unreadable(path: string, error: unknown): BoxError {
  return new BoxError("certificates-invalid", `Cannot read ${quote(path)}: ${errnoOf(error)}`, {
    hint: path.endsWith(".key") ? "A client certificate NAME.cert needs its key beside it, NAME.key" : undefined,
  });
}
