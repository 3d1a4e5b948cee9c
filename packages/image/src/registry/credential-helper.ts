import { accessSync, constants } from "node:fs";
import { isAbsolute, join } from "node:path";
import { BoxError } from "@bantubox/ffi";
import { errnoOf, quote } from "../document/digest.ts";
import type { Credentials } from "./auth.ts";

const ANSWER_MAX = 1 << 20;
/** Some ask their user for something. */
const HELPER_MS = 120_000;
/** What all helpers answer when they know nothing of a registry. */
const NOT_FOUND = "credentials not found in native keychain";

/** A helper gets these and no other variables: none that would make a loader or an interpreter run something else. */
const PASSED_ON =
  /^(?:PATH|HOME|USER|LOGNAME|LANG|LC_ALL|TERM|TZ|DISPLAY|WAYLAND_DISPLAY|XDG_[A-Z_]+|DBUS_SESSION_BUS_ADDRESS|GPG_TTY|GNUPGHOME|PASSWORD_STORE_[A-Z_]+|DOCKER_CONFIG|(?:HTTPS?|NO)_PROXY|(?:https?|no)_proxy|(?:AWS|AZURE|GOOGLE|CLOUDSDK|ACR|ECR|GCR|VAULT)_[A-Z0-9_]+)$/;

/**
 * Asks `docker-credential-NAME` for what it knows of a registry.
 *
 * @param server As Docker names it: `https://index.docker.io/v1/`, `registry.example.org:5000`.
 * @returns undefined when it knows nothing.
 * @throws {BoxError} `credential-helper` Also when there is no such program: to go on without would be to guess.
 * @see https://github.com/docker/docker-credential-helpers
 */
export async function getFromHelper(helper: string, server: string): Promise<Credentials | undefined> {
  const { code, output } = await call(helper, "get", server);
  if (code !== 0) {
    if (output.trim() === NOT_FOUND) return undefined;
    throw failed(helper, `it says ${quote(output.trim())}`);
  }
  let answer: unknown;
  try {
    answer = JSON.parse(output);
  } catch {
    throw failed(helper, "its answer is not JSON");
  }
  const { Username, Secret } = (typeof answer === "object" && answer !== null ? answer : {}) as Record<string, unknown>;
  if (typeof Username !== "string" || typeof Secret !== "string" || Secret === "") {
    throw failed(helper, "its answer has no name or no secret");
  }
  return Username === "<token>" ? { identityToken: Secret } : { username: Username, password: Secret };
}

/** Gives a helper something to keep. @throws {BoxError} `credential-helper` */
export async function storeInHelper(helper: string, server: string, credentials: Credentials): Promise<void> {
  const { username, password } =
    "identityToken" in credentials ? { username: "<token>", password: credentials.identityToken } : credentials;
  await must(helper, "store", JSON.stringify({ ServerURL: server, Username: username, Secret: password }));
}

/** Makes a helper forget a registry, whether or not it knew it. @throws {BoxError} `credential-helper` */
export async function eraseFromHelper(helper: string, server: string): Promise<void> {
  await must(helper, "erase", server);
}

async function must(helper: string, verb: "store" | "erase", input: string): Promise<void> {
  const { code, output } = await call(helper, verb, input);
  if (code === 0 || (verb === "erase" && output.trim() === NOT_FOUND)) return;
  throw failed(helper, `it says ${quote(output.trim())}`);
}

async function call(helper: string, verb: string, input: string): Promise<{ code: number; output: string }> {
  const program = findProgram(helper);
  const child = Bun.spawn([program, verb], {
    stdin: new TextEncoder().encode(input),
    stdout: "pipe",
    stderr: "inherit",
    env: Object.fromEntries(Object.entries(process.env).filter(([name]) => PASSED_ON.test(name))),
    cwd: "/",
    timeout: HELPER_MS,
    killSignal: "SIGKILL",
  });
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of child.stdout) {
    length += chunk.length;
    if (length > ANSWER_MAX) {
      child.kill("SIGKILL");
      throw failed(helper, `it answers with more than ${ANSWER_MAX} bytes`);
    }
    parts.push(chunk);
  }
  const code = await child.exited;
  if (child.signalCode !== null) throw failed(helper, `it was ended by ${child.signalCode}`);
  return { code, output: Buffer.concat(parts).toString() };
}

/** The first in PATH; a relative directory there would let whoever owns the current one choose the program. */
function findProgram(helper: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(helper)) throw failed(helper, "that is no helper's name");
  const name = `docker-credential-${helper}`;
  let why = "there is no such program in PATH";
  for (const directory of (process.env["PATH"] ?? "").split(":")) {
    if (!isAbsolute(directory)) continue;
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch (error) {
      if (errnoOf(error) === "EACCES") why = `${quote(path)} cannot be executed`;
    }
  }
  throw failed(helper, why);
}

function failed(helper: string, why: string): BoxError {
  return new BoxError("credential-helper", `Cannot ask docker-credential-${quote(helper).slice(1, -1)}: ${why}`, {
    hint: "Install it, or take it out of credHelpers and credsStore in Docker's config.json",
  });
}
