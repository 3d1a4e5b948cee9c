/** The npm package, from a registry on loopback: what `bunx bantubox` does on a machine that never saw it. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { missing, newStore, PROJECT, run } from "./harness.ts";

const cannotPack = missing(
  "packing needs Debian's gcc-aarch64-linux-gnu",
  Bun.which("aarch64-linux-gnu-gcc") === null || Bun.which("x86_64-linux-gnu-gcc") === null,
);
const VERSION: string = JSON.parse(readFileSync(join(PROJECT, "packages/cli/package.json"), "utf8")).version;

const directory = mkdtempSync(join(tmpdir(), "bb-npm-"));
let server: Server | undefined;
let registry = "";

beforeAll(async () => {
  if (cannotPack) return;
  const { runServer } = await import("verdaccio");
  const open = { access: "$all", publish: "$all" };
  const app: { listen(port: number, host: string): Server } = await runServer({
    configPath: join(directory, "verdaccio.yaml"),
    self_path: directory,
    storage: join(directory, "storage"),
    packages: { "**": open },
    log: { type: "stdout", format: "json", level: "fatal" },
    web: { enable: false },
  });
  const listening = app.listen(0, "127.0.0.1");
  server = listening;
  await new Promise((resolve) => listening.once("listening", resolve));
  registry = `http://127.0.0.1:${(listening.address() as AddressInfo).port}/`;

  const packed = await run([process.execPath, join(PROJECT, "scripts/pack.ts"), join(directory, "out")]);
  expect(packed).toMatchObject({ code: 0, stderr: "" });
  const archive = join(directory, `out/bantubox-${VERSION}.tgz`);
  const token = { NPM_CONFIG_TOKEN: "anybody" };
  const published = await bun(["publish", archive], token, emptyHome(), join(directory, "out/package"));
  expect(published).toMatchObject({ code: 0 });
}, 300_000);

afterAll(() => {
  server?.close();
  rmSync(directory, { recursive: true, force: true });
});

test.skipIf(cannotPack)("the package holds both trampolines, compiles nothing and depends on nothing", () => {
  const root = join(directory, "out/package");
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  for (const key of ["scripts", "dependencies", "devDependencies", "optionalDependencies", "peerDependencies"]) {
    expect(manifest).not.toHaveProperty(key);
  }
  const names = readdirSync(join(root, "lib"));
  for (const [arch, machine] of [
    ["x64", 62],
    ["arm64", 183],
  ]) {
    const name = names.find((candidate) => candidate.startsWith(`trampoline-${arch}`)) ?? "none";
    expect(readFileSync(join(root, "lib", name)).readUInt16LE(18)).toBe(Number(machine));
  }
});

test.skipIf(cannotPack)(
  '"bunx bantubox" runs a container from an empty directory',
  async () => {
    const home = emptyHome();
    expect(await bun(["x", "bantubox", "--version"], {}, home)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(VERSION),
    });
    await using store = await newStore();
    const where = ["--root", store.root, "--run-root", store.runRoot];
    const quiet = ["--rm", "--network", "none"];
    const ran = await bun(["x", "bantubox", ...where, "run", ...quiet, "host", "true"], {}, home);
    expect(ran).toEqual({ code: 0, stdout: "", stderr: "" });
    const failed = await bun(["x", "bantubox", ...where, "run", ...quiet, "host", "/no/such"], {}, home);
    expect(failed).toMatchObject({ code: 127, stderr: expect.stringContaining("there is no such file") });
    expect(readdirSync(join(home, "cwd"))).toEqual([]);
  },
  300_000,
);

test.skipIf(cannotPack)(
  "an installed package takes nothing from the directory that it runs in",
  async () => {
    const home = emptyHome();
    const project = join(home, "project");
    mkdirSync(project);
    writeFileSync(join(project, "package.json"), "{}");
    const added = await bun(["add", "bantubox"], {}, home, project);
    expect(added.code).toBe(0);

    const cwd = join(home, "cwd");
    const evil = `require("node:fs").writeFileSync(${JSON.stringify(join(home, "owned"))}, "");`;
    writeFileSync(join(cwd, "evil.ts"), evil);
    writeFileSync(join(cwd, "bunfig.toml"), 'preload = ["./evil.ts"]');
    writeFileSync(join(cwd, ".env"), "BUN_OPTIONS=--preload=./evil.ts\nFROM_ENV_FILE=1\n");
    writeFileSync(join(cwd, "package.json"), '{ "main": "evil.ts", "imports": { "#x": "./evil.ts" } }');
    writeFileSync(join(cwd, "tsconfig.json"), '{ "compilerOptions": { "paths": { "*": ["./evil.ts"] } } }');
    for (const name of readdirSync(join(project, "node_modules/bantubox/lib"))) {
      if (name.startsWith("trampoline")) writeFileSync(join(cwd, name), "#!/bin/sh\necho evil\n", { mode: 0o755 });
    }

    await using store = await newStore();
    const bb = [join(project, "node_modules/.bin/bb"), "--root", store.root, "--run-root", store.runRoot];
    const args = ["run", "--rm", "--network", "none", "-e", "FROM_ENV_FILE", "host"];
    // The failing start has its words from a second process of ours.
    const ok = await run([...bb, ...args, "sh", "-c", "echo fine$FROM_ENV_FILE"], { cwd, env: variables(home) });
    const failed = await run([...bb, ...args, "/no/such"], { cwd, env: variables(home) });
    expect(ok).toEqual({ code: 0, stdout: "fine\n", stderr: "" });
    expect(failed).toMatchObject({ code: 127, stdout: "" });
    expect(existsSync(join(home, "owned"))).toBe(false);
  },
  300_000,
);

test.skipIf(cannotPack)(
  "an installed package is the library that docs/library.md shows",
  async () => {
    const home = emptyHome();
    const cwd = join(home, "cwd");
    writeFileSync(join(cwd, "package.json"), "{}");
    expect((await bun(["add", "bantubox"], {}, home)).code).toBe(0);
    await using store = await newStore();
    const [, program = "", printed = ""] =
      /```ts\n(.*?)```\n\nprints\n\n```\n(.*?)```/s.exec(readFileSync(join(PROJECT, "docs/library.md"), "utf8")) ?? [];
    expect(program).toContain("openEngine()");
    const own = JSON.stringify({ root: store.root, runRoot: store.runRoot });
    writeFileSync(join(cwd, "program.ts"), program.replace("openEngine()", `openEngine(${own})`));
    expect(await bun(["program.ts"], {}, home)).toEqual({ code: 0, stdout: printed, stderr: "" });
  },
  60_000,
);

/** A home without any cache, and an empty working directory in it. */
function emptyHome(): string {
  const home = mkdtempSync(join(directory, "home-"));
  mkdirSync(join(home, "cwd"));
  mkdirSync(join(home, "tmp"));
  return home;
}

function bun(args: readonly string[], env: Record<string, string>, home = emptyHome(), cwd = join(home, "cwd")) {
  return run([process.execPath, ...args], { cwd, env: { ...variables(home), ...env } });
}

/** Bun is first in PATH: a shebang has to find it, whatever its file is called here. */
function variables(home: string): Record<string, string> {
  const bin = join(home, "bin");
  mkdirSync(bin, { recursive: true });
  if (!existsSync(join(bin, "bun"))) symlinkSync(process.execPath, join(bin, "bun"));
  return {
    HOME: home,
    TMPDIR: join(home, "tmp"),
    BUN_TMPDIR: join(home, "tmp"),
    BUN_INSTALL_CACHE_DIR: join(home, "cache"),
    NPM_CONFIG_REGISTRY: registry,
    BUN_CONFIG_REGISTRY: registry,
    PATH: `${bin}:${process.env["PATH"] ?? ""}`,
  };
}
