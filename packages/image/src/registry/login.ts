import { BoxError } from "@bantubox/ffi";
import { quote } from "../document/digest.ts";
import { DOCUMENT_MAX } from "../document/manifest.ts";
import { parseReference } from "../document/reference.ts";
import { type Credentials, WITHHELD } from "./auth.ts";
import { readCredentials, removeCredentials, writeCredentials } from "./credentials.ts";
import { registryOfKey } from "./docker-config.ts";
import { ownEndpoint, type RegistryOptions } from "./endpoint.ts";
import { sendAndRead } from "./http.ts";
import { openSession } from "./session.ts";

export interface LoginResult {
  /** `docker.io`, `registry.example.org:5000`. */
  readonly registry: string;
  /** The file that holds the password now; undefined when a credential helper does. */
  readonly file: string | undefined;
}

/**
 * Shows a registry who we are, and keeps that for later if it agrees.
 *
 * @param server As Docker's users write it: a host, maybe with a port, or an address; Docker Hub when absent.
 * @throws {BoxError} `registry-unauthorized`, `registry-name-invalid`, `docker-config-invalid`, `credential-helper`
 */
export async function login(
  server: string | undefined,
  credentials: Credentials,
  options: RegistryOptions = {},
): Promise<LoginResult> {
  const registry = parseServer(server);
  await checkLogin(registry, credentials, options);
  return { registry, file: await writeCredentials(registry, credentials) };
}

/** As `login`, with what was kept by an earlier one. @returns undefined when there is nothing. */
export async function loginAgain(
  server: string | undefined,
  options: RegistryOptions = {},
): Promise<{ readonly registry: string; readonly username: string } | undefined> {
  const registry = parseServer(server);
  const credentials = await readCredentials(registry);
  if (credentials === undefined) return undefined;
  await checkLogin(registry, credentials, options);
  return { registry, username: "username" in credentials ? credentials.username : "" };
}

/** Forgets who we are at a registry. @throws {BoxError} As `login`. */
export async function logout(server: string | undefined): Promise<{ registry: string; wasKnown: boolean }> {
  const registry = parseServer(server);
  return { registry, wasKnown: await removeCredentials(registry) };
}

/** @throws {BoxError} `registry-name-invalid` */
function parseServer(server: string | undefined): string {
  const host = registryOfKey(server ?? "docker.io");
  try {
    const { domain } = parseReference(`${host}/x/y`);
    if (domain === host) return domain;
  } catch {
    // Said below in words that fit.
  }
  throw new BoxError(
    "registry-name-invalid",
    `Cannot use ${quote(server ?? "")}: it is not the address of a registry`,
    {
      hint: "Write it as HOST or HOST:PORT, such as registry.example.org",
    },
  );
}

async function checkLogin(registry: string, credentials: Credentials, options: RegistryOptions): Promise<void> {
  const endpoint = ownEndpoint(registry, options);
  const session = openSession(endpoint, { ...options, credentials: () => credentials });
  const { status } = await session.ask("", [], (url, authorization) =>
    sendAndRead({ url, authorization }, DOCUMENT_MAX, endpoint.settings),
  );
  const refuse = (why: string, hint?: string) =>
    new BoxError("registry-unauthorized", `Cannot log in to ${quote(registry)}: ${why}`, { hint });
  if (session.hasWithheld) throw refuse("it does not see the password", WITHHELD);
  if (status === 401 || status === 403) throw refuse("it does not accept the name or the password");
  if (status !== 200) throw refuse(`it answers ${status}`, "Check the address");
}
