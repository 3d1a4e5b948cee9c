import {
  chmodSync,
  closeSync,
  constants,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { BoxError, type Fd, isErrno } from "@bantubox/ffi";
import { errnoOf, quote } from "../document/digest.ts";
import { lock } from "../store/lock.ts";

const FILE_MAX = 1 << 20;
/** What Docker calls its Hub in this file. */
const HUB_KEY = "https://index.docker.io/v1/";

/** One entry of `auths`; what else stands there is kept. */
interface AuthEntry {
  readonly auth?: string | undefined;
  readonly identitytoken?: string | undefined;
}

/** Docker's `config.json`: only what is about registries has types, the rest is carried along. */
export interface DockerConfig {
  readonly auths: Readonly<Record<string, AuthEntry>>;
  /** Registry to helper: `docker-credential-NAME`. */
  readonly credHelpers: Readonly<Record<string, string>>;
  /** The helper for all others; empty when there is none. */
  readonly credsStore: string;
}

/** `$DOCKER_CONFIG/config.json`, or the one in the home directory. */
export function dockerConfigPath(): string {
  const { DOCKER_CONFIG } = process.env;
  return join(DOCKER_CONFIG || join(homedir(), ".docker"), "config.json");
}

/** @returns undefined when there is no such file. @throws {BoxError} `docker-config-invalid` */
export function readDockerConfig(file = dockerConfigPath()): DockerConfig | undefined {
  const document = readDocument(file);
  if (document === undefined) return undefined;
  const auths: Record<string, AuthEntry> = {};
  for (const [key, value] of entriesOf(document["auths"])) {
    const { auth, identitytoken } = (typeof value === "object" && value !== null ? value : {}) as Record<
      string,
      unknown
    >;
    auths[key] = {
      ...(typeof auth === "string" && auth !== "" && { auth }),
      ...(typeof identitytoken === "string" && identitytoken !== "" && { identitytoken }),
    };
  }
  const credHelpers = Object.fromEntries(
    entriesOf(document["credHelpers"]).filter((entry): entry is [string, string] => typeof entry[1] === "string"),
  );
  const store = document["credsStore"];
  return { auths, credHelpers, credsStore: typeof store === "string" ? store : "" };
}

/**
 * Sets or, with undefined, removes a registry's entry of `auths`. All else in the file stays as it is; nobody but its
 * owner can read it, and there is no moment at which it is half written. Two that do this at once wait for each other.
 *
 * @throws {BoxError} `docker-config-invalid` A file that is not understood is not written over.
 */
export async function writeAuth(
  domain: string,
  entry: AuthEntry | undefined,
  file = dockerConfigPath(),
): Promise<void> {
  using _lock = await lockDirectory(file);
  const document = { ...readDocument(file) };
  const kept = entriesOf(document["auths"]).filter(([key]) => registryOfKey(key) !== domain);
  if (entry !== undefined) kept.push([authKey(domain), entry]);
  document["auths"] = Object.fromEntries(kept);
  writeAtomically(file, `${JSON.stringify(document, undefined, "\t")}\n`);
}

/** The name of a registry in `config.json` and towards credential helpers. */
export function authKey(domain: string): string {
  return domain === "docker.io" ? HUB_KEY : domain;
}

/** Docker writes `https://index.docker.io/v1/` for its Hub and bare hosts for the rest; older files have addresses. */
export function registryOfKey(key: string): string {
  const host = key.replace(/^https?:\/\//, "").replace(/\/.*$/, "");
  return host === "index.docker.io" || host === "registry-1.docker.io" ? "docker.io" : host;
}

function readDocument(file: string): Record<string, unknown> | undefined {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    throw invalid(file, `it cannot be read (${errnoOf(error)})`);
  }
  if (bytes.length > FILE_MAX) throw invalid(file, `it is larger than ${FILE_MAX} bytes`);
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw invalid(file, "it is not JSON");
  }
  if (typeof document !== "object" || document === null || Array.isArray(document))
    throw invalid(file, "it is not a JSON object");
  return document as Record<string, unknown>;
}

/** The directory that `file` is in, made where it is missing: so there is no other file to lock, nor to leave behind. */
async function lockDirectory(file: string): Promise<Fd> {
  try {
    const directory = dirname(realPath(file));
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    return await lock(realpathSync(directory), "exclusive", { flags: constants.O_RDONLY | constants.O_DIRECTORY });
  } catch (error) {
    throw unwritable(file, error);
  }
}

/** Through a symbolic link to where it leads, as people keep this file among their others. */
function writeAtomically(file: string, text: string): void {
  const target = realPath(file);
  const aside = `${target}.${process.pid}.tmp`;
  try {
    const fd = openSync(aside, "wx", 0o600);
    try {
      const bytes = new TextEncoder().encode(text);
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    // Whatever the umask took away, others get nothing.
    chmodSync(aside, 0o600);
    renameSync(aside, target);
  } catch (error) {
    rmSync(aside, { force: true });
    throw unwritable(file, error);
  }
}

function unwritable(file: string, cause: unknown): BoxError {
  return new BoxError("docker-config-unwritable", `Cannot write ${quote(file)}: ${errnoOf(cause)}`, { cause });
}

function realPath(file: string): string {
  try {
    return realpathSync(file);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return file;
    throw error;
  }
}

function entriesOf(value: unknown): [string, unknown][] {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? Object.entries(value) : [];
}

function invalid(file: string, why: string): BoxError {
  return new BoxError("docker-config-invalid", `Cannot use ${quote(file)}: ${why}`, {
    hint: "Mend or remove it: it is where Docker keeps who you are at registries",
  });
}
