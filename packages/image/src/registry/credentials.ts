import type { Credentials } from "./auth.ts";
import { eraseFromHelper, getFromHelper, storeInHelper } from "./credential-helper.ts";
import {
  authKey,
  type DockerConfig,
  dockerConfigPath,
  readDockerConfig,
  registryOfKey,
  writeAuth,
} from "./docker-config.ts";

/**
 * Who we are at a registry, as Docker's `config.json` has it: its own helper, or the helper for all, or the file.
 *
 * @param domain As in references: `docker.io`, `localhost:5000`.
 * @throws {BoxError} `docker-config-invalid`, `credential-helper`
 */
export async function readCredentials(domain: string, file = dockerConfigPath()): Promise<Credentials | undefined> {
  const config = readDockerConfig(file);
  if (config === undefined) return undefined;
  const helper = helperOf(config, domain);
  if (helper !== undefined) return await getFromHelper(helper, authKey(domain));
  for (const [key, { auth, identitytoken }] of Object.entries(config.auths)) {
    if (registryOfKey(key) !== domain) continue;
    if (identitytoken !== undefined) return { identityToken: identitytoken };
    const decoded = Buffer.from(auth ?? "", "base64").toString();
    const colon = decoded.indexOf(":");
    if (colon > 0) return { username: decoded.slice(0, colon), password: decoded.slice(colon + 1).replace(/\0+$/, "") };
  }
  return undefined;
}

/**
 * Keeps who we are at a registry: with the helper that `config.json` names for it, or in that file itself.
 *
 * @returns The file, if it holds the password now, readable for whoever may read the file.
 */
export async function writeCredentials(
  domain: string,
  credentials: Credentials,
  file = dockerConfigPath(),
): Promise<string | undefined> {
  const helper = helperOf(readDockerConfig(file), domain);
  if (helper !== undefined) {
    await storeInHelper(helper, authKey(domain), credentials);
    // Docker lists there what a helper knows.
    await writeAuth(domain, {}, file);
    return undefined;
  }
  if ("identityToken" in credentials) await writeAuth(domain, { identitytoken: credentials.identityToken }, file);
  else {
    const { username, password } = credentials;
    await writeAuth(domain, { auth: Buffer.from(`${username}:${password}`).toString("base64") }, file);
  }
  return file;
}

/** Forgets who we are at a registry. @returns Whether anything was known. */
export async function removeCredentials(domain: string, file = dockerConfigPath()): Promise<boolean> {
  const config = readDockerConfig(file);
  const helper = helperOf(config, domain);
  let known = false;
  if (helper !== undefined) {
    known = (await getFromHelper(helper, authKey(domain))) !== undefined;
    if (known) await eraseFromHelper(helper, authKey(domain));
  }
  if (config === undefined || !Object.keys(config.auths).some((key) => registryOfKey(key) === domain)) return known;
  await writeAuth(domain, undefined, file);
  return true;
}

function helperOf(config: DockerConfig | undefined, domain: string): string | undefined {
  if (config === undefined) return undefined;
  for (const [key, helper] of Object.entries(config.credHelpers)) {
    if (registryOfKey(key) === domain && helper !== "") return helper;
  }
  return config.credsStore === "" ? undefined : config.credsStore;
}
