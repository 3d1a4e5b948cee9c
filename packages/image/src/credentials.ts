import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { isErrno } from "@bantubox/ffi";
import type { Credentials } from "./auth.ts";

const FILE_MAX = 1 << 20;

/**
 * What Docker's `config.json` keeps for a registry. Only passwords in the file itself: those of a
 * credential helper are not asked for, and then the registry is spoken to anonymously.
 *
 * @param domain As in references: `docker.io`, `localhost:5000`.
 */
export function readCredentials(domain: string, file = dockerConfigPath()): Credentials | undefined {
  let text: string;
  try {
    const bytes = readFileSync(file);
    if (bytes.length > FILE_MAX) return undefined;
    text = bytes.toString();
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR", "EACCES")) return undefined;
    throw error;
  }
  const auths = readAuths(text);
  if (auths === undefined) return undefined;
  for (const [key, value] of Object.entries(auths)) {
    if (registryOfKey(key) !== domain || typeof value !== "object" || value === null) continue;
    const { auth } = value as Record<string, unknown>;
    if (typeof auth !== "string") continue;
    const decoded = Buffer.from(auth, "base64").toString();
    const colon = decoded.indexOf(":");
    if (colon > 0) return { username: decoded.slice(0, colon), password: decoded.slice(colon + 1).replace(/\0+$/, "") };
  }
  return undefined;
}

function dockerConfigPath(): string {
  const { DOCKER_CONFIG } = process.env;
  return join(
    DOCKER_CONFIG === undefined || DOCKER_CONFIG === "" ? join(homedir(), ".docker") : DOCKER_CONFIG,
    "config.json",
  );
}

function readAuths(text: string): object | undefined {
  try {
    const config: unknown = JSON.parse(text);
    if (typeof config !== "object" || config === null || !("auths" in config)) return undefined;
    return typeof config.auths === "object" && config.auths !== null ? config.auths : undefined;
  } catch {
    // A broken file of another program's makes us anonymous, not unable to pull.
    return undefined;
  }
}

/** Docker writes `https://index.docker.io/v1/` for its Hub and bare hosts for the rest; older files have addresses. */
function registryOfKey(key: string): string {
  const host = key.replace(/^https?:\/\//, "").replace(/\/.*$/, "");
  return host === "index.docker.io" || host === "registry-1.docker.io" ? "docker.io" : host;
}
