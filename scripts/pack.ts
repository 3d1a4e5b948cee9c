/**
 * Makes the npm package, dist/npm/bantubox-VERSION.tgz (or in the directory that is named): one bundle
 * for Bun and both trampolines, with no dependencies and nothing to compile at install.
 */
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { must, ROOT } from "./step.ts";

/** e_machine of <elf.h>. */
const MACHINE = { x64: 62, arm64: 183 } as const;

const out = process.argv[2] ?? join(ROOT, "dist/npm");
const directory = join(out, "package");

must(["make", "-s", "-C", "ffi"]);
for (const [arch, machine] of Object.entries(MACHINE)) checkTrampoline(arch, machine);

rmSync(out, { recursive: true, force: true });
mkdirSync(join(directory, "lib"), { recursive: true });
await Bun.build({
  entrypoints: [
    join(ROOT, "packages/cli/src/main.ts"),
    join(ROOT, "packages/oci/src/bb-oci.ts"),
    join(ROOT, "packages/core/src/mod.ts"),
    join(ROOT, "packages/image/src/layer/layer-worker.ts"),
    join(ROOT, "packages/image/src/layer/gzip-worker.ts"),
  ],
  outdir: join(directory, "lib"),
  // A Worker's file is looked for beside the code that starts it.
  naming: { entry: "[name].[ext]" },
  target: "bun",
  format: "esm",
  splitting: true,
  minify: true,
});
for (const name of ["main.js", "bb-oci.js"]) {
  const path = join(directory, "lib", name);
  if (!readFileSync(path, "utf8").startsWith("#!/usr/bin/env -S bun --config=/dev/null ")) {
    fail(`${name} has lost the first line that keeps other people's configuration out`);
  }
  chmodSync(path, 0o755);
}
for (const name of ["README.md", "LICENSE"]) copyFileSync(join(ROOT, name), join(directory, name));
writeFileSync(join(directory, "package.json"), `${JSON.stringify(manifest(), null, 2)}\n`);
must(["bun", "pm", "pack", "--quiet", "--cwd", directory, "--destination", out]);

/** What is published: no dependencies, and no scripts that run at install. */
function manifest(): Record<string, unknown> {
  const { name, version, description, license } = JSON.parse(
    readFileSync(join(ROOT, "packages/cli/package.json"), "utf8"),
  ) as Record<string, string>;
  return {
    name,
    version,
    description,
    license,
    keywords: ["containers", "oci", "docker", "linux", "bun"],
    type: "module",
    exports: { ".": "./lib/mod.js", "./package.json": "./package.json" },
    bin: { bantubox: "lib/main.js", bb: "lib/main.js", "bb-oci": "lib/bb-oci.js" },
    files: ["lib"],
    engines: { bun: ">=1.4" },
    os: ["linux"],
    cpu: ["x64", "arm64"],
  };
}

function checkTrampoline(arch: string, machine: number): void {
  const path = join(ROOT, "ffi/build", `trampoline-${arch}`);
  const bytes = existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
  const isElf = bytes.length > 64 && bytes.readUInt32BE(0) === 0x7f454c46;
  if (isElf && bytes.readUInt16LE(18) === machine) return;
  fail(
    `the trampoline for ${arch} is missing; its compiler is in Debian's gcc-aarch64-linux-gnu or gcc-x86-64-linux-gnu`,
  );
}

function fail(why: string): never {
  console.error(`Cannot pack: ${why}`);
  process.exit(1);
}
