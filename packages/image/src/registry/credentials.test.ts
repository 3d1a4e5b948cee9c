import { afterAll, beforeEach, expect, test } from "bun:test";
import {
  chmodSync,
  constants,
  lstatSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tryLock } from "../store/lock.ts";
import { readCredentials, removeCredentials, writeCredentials } from "./credentials.ts";

const directory = mkdtempSync(join(tmpdir(), "bantubox-auth-"));
const file = join(directory, "docker/config.json");
const auth = btoa("me:pass:word");
const me = { username: "me", password: "pass:word" };
const { PATH } = process.env;

/** A credential helper that keeps everything in a file and notes how it was called. */
const HELPER = `#!/bin/sh
store=${directory}/store
env > ${directory}/environment
case "$1" in
  get) read -r server; [ "$server" != broken.example.org ] || { echo boom; exit 1; }
    line=$(grep "\\"ServerURL\\":\\"$server\\"" "$store" 2>/dev/null) || { echo "credentials not found in native keychain"; exit 1; }
    echo "$line" ;;
  store) cat >> "$store"; echo >> "$store" ;;
  erase) read -r server; grep -v "\\"ServerURL\\":\\"$server\\"" "$store" > "$store.new"; mv "$store.new" "$store" ;;
esac
`;

afterAll(() => {
  process.env["PATH"] = PATH;
  rmSync(directory, { recursive: true });
});
beforeEach(() => {
  rmSync(join(directory, "docker"), { recursive: true, force: true });
  rmSync(join(directory, "store"), { force: true });
  writeFileSync(join(directory, "docker-credential-test"), HELPER);
  chmodSync(join(directory, "docker-credential-test"), 0o755);
  process.env["PATH"] = `relative:${directory}:${PATH}`;
});

async function write(document: unknown): Promise<void> {
  await Bun.write(file, typeof document === "string" ? document : JSON.stringify(document));
}

function document(): Record<string, unknown> {
  return JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
}

test("readCredentials() reads what Docker wrote", async () => {
  expect(await readCredentials("docker.io", file)).toBeUndefined();
  const auths = {
    "https://index.docker.io/v1/": { auth },
    "r.example.org:5000": { auth },
    "https://old.example.org/v2/": { auth },
    "token.example.org": { auth: btoa("me:"), identitytoken: "refresh" },
    "empty.example.org": {},
  };
  await write({ auths });
  for (const domain of ["docker.io", "r.example.org:5000", "old.example.org"]) {
    expect([domain, await readCredentials(domain, file)]).toEqual([domain, me]);
  }
  expect(await readCredentials("token.example.org", file)).toEqual({ identityToken: "refresh" });
  for (const domain of ["r.example.org", "empty.example.org", "example.org"]) {
    expect([domain, await readCredentials(domain, file)]).toEqual([domain, undefined]);
  }
  for (const strange of ["{}", '{"auths":3}', '{"auths":{"docker.io":null}}', '{"auths":{"docker.io":{"auth":5}}}']) {
    await write(strange);
    expect(await readCredentials("docker.io", file)).toBeUndefined();
  }
});

test.each(["", "null", "[]", "{"])("a config.json of %j is an error, and is never written over", async (text) => {
  await write(text);
  for (const attempt of [readCredentials("docker.io", file), writeCredentials("docker.io", me, file)]) {
    expect(attempt).rejects.toMatchObject({ code: "docker-config-invalid" });
    await attempt.catch(() => undefined);
  }
  expect(readFileSync(file, "utf8")).toBe(text);
});

test("REG-06: writeCredentials() makes a file of the owner's alone, as Docker writes it, and keeps the rest of it", async () => {
  expect(await writeCredentials("docker.io", me, file)).toBe(file);
  expect(document()).toEqual({ auths: { "https://index.docker.io/v1/": { auth } } });
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(statSync(join(directory, "docker")).mode & 0o777).toBe(0o700);

  const rest = { HttpHeaders: { a: "b" }, proxies: { default: {} }, detachKeys: "ctrl-x", credHelpers: {} };
  await write({ ...rest, auths: { "https://r.example.org": { auth: "old" }, "other.example.org": { auth, more: 1 } } });
  chmodSync(file, 0o644);
  await writeCredentials("r.example.org", me, file);
  expect(document()).toEqual({ ...rest, auths: { "other.example.org": { auth, more: 1 }, "r.example.org": { auth } } });
  expect(statSync(file).mode & 0o777).toBe(0o600);

  expect(await removeCredentials("r.example.org", file)).toBe(true);
  expect(await removeCredentials("r.example.org", file)).toBe(false);
  expect(document()).toEqual({ ...rest, auths: { "other.example.org": { auth, more: 1 } } });
});

test("a symbolic link to the file stays one", async () => {
  await write({});
  const target = join(directory, "docker/target.json");
  writeFileSync(target, "{}");
  rmSync(file);
  symlinkSync("target.json", file);
  await writeCredentials("r.example.org", me, file);
  expect(lstatSync(file).isSymbolicLink()).toBe(true);
  expect(JSON.parse(readFileSync(target, "utf8"))).toEqual({ auths: { "r.example.org": { auth } } });
});

test("a helper keeps what config.json only lists", async () => {
  await write({ credsStore: "test" });
  expect(await readCredentials("r.example.org", file)).toBeUndefined();
  expect(await writeCredentials("r.example.org", me, file)).toBeUndefined();
  expect(document()).toEqual({ credsStore: "test", auths: { "r.example.org": {} } });
  expect(readFileSync(join(directory, "store"), "utf8")).toContain('"ServerURL":"r.example.org"');
  expect(await readCredentials("r.example.org", file)).toEqual(me);
  expect(await removeCredentials("r.example.org", file)).toBe(true);
  expect(await readCredentials("r.example.org", file)).toBeUndefined();
  expect(document()).toEqual({ credsStore: "test", auths: {} });

  await write({ credHelpers: { "docker.io": "test" } });
  await writeCredentials("docker.io", { identityToken: "refresh" }, file);
  expect(readFileSync(join(directory, "store"), "utf8")).toContain(
    '{"ServerURL":"https://index.docker.io/v1/","Username":"<token>","Secret":"refresh"}',
  );
  expect(await readCredentials("docker.io", file)).toEqual({ identityToken: "refresh" });
  expect(await readCredentials("r.example.org", file)).toBeUndefined();
});

test("a helper gets a small environment, in which nothing can steer a loader", async () => {
  await write({ credsStore: "test" });
  Object.assign(process.env, { LD_PRELOAD_TEST: "x", PYTHONPATH: "/evil", AWS_PROFILE: "mine" });
  await readCredentials("r.example.org", file);
  const names = readFileSync(join(directory, "environment"), "utf8")
    .split("\n")
    .map((line) => line.split("=")[0]);
  expect(names).toContain("AWS_PROFILE");
  expect(names).toContain("PATH");
  for (const name of ["LD_PRELOAD_TEST", "PYTHONPATH"]) expect(names).not.toContain(name);
});

test.each([
  ["is not there", { credHelpers: { "r.example.org": "absent" } }, "r.example.org"],
  ["has a path for a name", { credsStore: "../evil" }, "r.example.org"],
  ["fails", { credsStore: "test" }, "broken.example.org"],
])("REG-03: a helper that %s is an error, not a reason to be nobody", async (_, config, domain) => {
  await write({ ...config, auths: { [domain]: { auth } } });
  const asked = readCredentials(domain, file);
  expect(asked).rejects.toMatchObject({ code: "credential-helper" });
  await asked.catch(() => undefined);
});

test("a helper that answers without an end is stopped", async () => {
  writeFileSync(join(directory, "docker-credential-test"), "#!/bin/sh\nexec cat /dev/zero\n");
  await write({ credsStore: "test" });
  const asked = readCredentials("r.example.org", file);
  expect(asked).rejects.toMatchObject({ code: "credential-helper" });
  await asked.catch(() => undefined);
});

test("writeCredentials() waits for whoever is changing the file, and keeps what they wrote", async () => {
  await write({ auths: {} });
  const held = tryLock(join(directory, "docker"), "exclusive", constants.O_RDONLY | constants.O_DIRECTORY);
  expect(held).toBeDefined();
  const writing = writeCredentials("second.example.org", me, file);
  await Bun.sleep(100);
  expect(document()).toEqual({ auths: {} });
  await write({ auths: { "first.example.org": { auth } } });
  held?.[Symbol.dispose]();
  await writing;
  expect(document()).toEqual({ auths: { "first.example.org": { auth }, "second.example.org": { auth } } });
});
