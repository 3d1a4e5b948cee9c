/** Debian's docker-registry on a loopback port, for tests and benchmarks. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { patience } from "./patience.ts";

export interface Registry extends AsyncDisposable {
  /** `127.0.0.1:PORT` */
  readonly host: string;
}

export interface RegistryGuards {
  /** Lines of an htpasswd file, with bcrypt: then everybody needs a password. */
  readonly htpasswd?: string;
  /** Files of the certificate and its key: then it speaks https. */
  readonly tls?: { readonly cert: string; readonly key: string };
}

/** Starts a registry with an empty store of its own. */
export async function startRegistry({ htpasswd, tls }: RegistryGuards = {}): Promise<Registry> {
  const directory = mkdtempSync(join(tmpdir(), "bb-registry-"));
  const port = await freePort();
  const config = `version: 0.1
storage: { filesystem: { rootdirectory: ${directory}/data }, delete: { enabled: true } }
http: { addr: "127.0.0.1:${port}"${tls === undefined ? "" : `, tls: { certificate: ${tls.cert}, key: ${tls.key} }`} }
${htpasswd === undefined ? "" : `auth: { htpasswd: { realm: test, path: ${directory}/htpasswd } }`}
log: { level: error }
`;
  if (htpasswd !== undefined) await Bun.write(join(directory, "htpasswd"), htpasswd);
  await Bun.write(join(directory, "config.yml"), config);
  const child = Bun.spawn(["docker-registry", "serve", join(directory, "config.yml")], {
    stdio: ["ignore", "ignore", "ignore"],
  });
  const host = `127.0.0.1:${port}`;
  const deadline = performance.now() + patience(10_000);
  while (!(await answers(`${tls === undefined ? "http" : "https"}://${host}/v2/`))) {
    if (performance.now() > deadline) throw new Error("docker-registry does not answer");
    await Bun.sleep(20);
  }
  return {
    host,
    async [Symbol.asyncDispose]() {
      child.kill();
      await child.exited;
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Whether there is a registry, be it one that wants to know who asks. */
async function answers(url: string): Promise<boolean> {
  try {
    return [200, 401].includes((await fetch(url, { tls: { rejectUnauthorized: false } })).status);
  } catch {
    return false;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("No port");
  return address.port;
}
