import { readFileSync } from "node:fs";
import { BoxError, isErrno } from "@bantubox/ffi";
import * as z from "zod/mini";
import { errnoOf, quote } from "../document/digest.ts";
import { parseReference } from "../document/reference.ts";

/** Where an administrator says how registries are reached, unless BANTUBOX_REGISTRIES names another file. */
const DEFAULT_FILE = "/etc/bantubox/registries.json";
const FILE_MAX = 1 << 20;

/** What the file says of one registry. */
interface RegistrySettings {
  /** Asked before it, in this order, for what is pulled: `https://HOST[:PORT][/PREFIX]`; `http://` is taken at its word. */
  readonly mirrors: readonly URL[];
  /** Plain http, or a certificate that nobody vouches for, will do. */
  readonly insecure: boolean;
  /** A file of authorities to trust besides the usual ones. */
  readonly ca: string | undefined;
  /** Hosts, beside its own, whose token service may be given its password. */
  readonly tokenHosts: readonly string[];
  /** It is never spoken to. */
  readonly blocked: boolean;
}

export type Registries = ReadonlyMap<string, RegistrySettings>;

const domain = z.string().check(z.refine(isDomain, "is not HOST or HOST:PORT"));
const mirror = z.string().check(z.refine(isMirror, "is not an http or https address without a password"));

const registrySchema = z.strictObject({
  mirrors: z.optional(z.array(mirror)),
  insecure: z.optional(z.boolean()),
  ca: z.optional(z.string().check(z.startsWith("/", "is not an absolute path"))),
  tokenHosts: z.optional(z.array(domain)),
  blocked: z.optional(z.boolean()),
});

const fileSchema = z.strictObject({ registries: z.record(domain, registrySchema) });

/**
 * Reads the administrator's settings; there are none without a file.
 *
 * @throws {BoxError} `registries-invalid` A broken file is no reason to do without what it demands.
 */
export function readRegistries(file = process.env["BANTUBOX_REGISTRIES"] || DEFAULT_FILE): Registries {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR") && file === DEFAULT_FILE) return new Map();
    throw invalid(file, `it cannot be read (${errnoOf(error)})`);
  }
  return parseRegistries(bytes, file);
}

/** As `readRegistries`, of the file's bytes. @throws {BoxError} `registries-invalid` */
export function parseRegistries(bytes: Uint8Array, file: string): Registries {
  if (bytes.length > FILE_MAX) throw invalid(file, `it is larger than ${FILE_MAX} bytes`);
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw invalid(file, "it is not JSON");
  }
  const result = z.safeParse(fileSchema, document);
  if (!result.success) throw invalid(file, describe(result.error.issues[0]));
  const registries = new Map<string, RegistrySettings>();
  for (const [name, entry] of Object.entries(result.data.registries)) {
    registries.set(name === "index.docker.io" ? "docker.io" : name, {
      mirrors: (entry.mirrors ?? []).map((address) => new URL(address)),
      insecure: entry.insecure ?? false,
      ca: entry.ca,
      tokenHosts: entry.tokenHosts ?? [],
      blocked: entry.blocked ?? false,
    });
  }
  return registries;
}

function describe(issue: z.core.$ZodIssue | undefined): string {
  const where = issue === undefined || issue.path.length === 0 ? "the document" : issue.path.map(String).join(" → ");
  switch (issue?.code) {
    case "unrecognized_keys":
      return `${quote(where)} has an unknown name, ${quote(issue.keys[0] ?? "")}`;
    case "invalid_key":
      return `${quote(where)} is not HOST or HOST:PORT`;
    case "custom":
    case "invalid_format":
      return `${quote(where)} ${issue.message}`;
    default:
      return `${quote(where)} is missing or of the wrong kind`;
  }
}

function isDomain(text: string): boolean {
  try {
    return parseReference(`${text}/x`).domain === (text === "index.docker.io" ? "docker.io" : text);
  } catch {
    return false;
  }
}

function isMirror(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return /^https?:$/.test(protocol) && `${username}${password}${search}${hash}` === "";
}

function invalid(file: string, why: string): BoxError {
  return new BoxError("registries-invalid", `Cannot use ${quote(file)}: ${why}`, {
    hint: 'It looks like {"registries": {"registry.example.org:5000": {"insecure": true}}}; see docs/registries.md',
  });
}
