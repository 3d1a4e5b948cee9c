/**
 * Builds the trampoline and the single executables, dist/bb, which begins with the front, and dist/bb-oci.
 *
 * Autoloading is off: an executable that reads bunfig.toml and .env of the
 * directory it is called in runs other people's code as root.
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { graft } from "./graft.ts";

const root = join(import.meta.dir, "..");

run(["make", "-s", "-C", join(root, "ffi")]);
for (const arch of ["x64", "arm64"]) {
  const path = join(root, "ffi/build", `trampoline-${arch}`);
  // Without its cross compiler the other architecture's is left empty; packing for npm refuses that.
  if (!existsSync(path)) writeFileSync(path, "");
}
mkdirSync(join(root, "dist"), { recursive: true });
const commit = `--define=COMMIT=${JSON.stringify(currentCommit())}`;
// All but the first are Workers'.
compile(
  ["packages/cli/src/main.ts", "packages/image/src/layer/layer-worker.ts", "packages/image/src/layer/gzip-worker.ts"],
  "dist/bb",
  "--define=HAS_FRONT=true",
  commit,
);
graft(join(root, "dist/bb"), join(root, "ffi/build", `front-${process.arch}`));
compile(["packages/oci/src/bb-oci.ts"], "dist/bb-oci", "--compile-jit-policy=100", "--define=HAS_FRONT=true", commit);
graft(join(root, "dist/bb-oci"), join(root, "ffi/build", `front-oci-${process.arch}`));

/** With "-dirty" where files differ from it; "unknown" where this is no checkout, as in a source archive. */
function currentCommit(): string {
  // Below somebody else's checkout git would name theirs.
  if (!existsSync(join(root, ".git")) || Bun.which("git") === null) return "unknown";
  const git = (...words: string[]): string | undefined => {
    const { exitCode, stdout } = Bun.spawnSync(["git", ...words], { cwd: root, stderr: "ignore" });
    return exitCode === 0 ? stdout.toString().trim() : undefined;
  };
  const head = git("rev-parse", "HEAD");
  if (head === undefined) return "unknown";
  return git("status", "--porcelain", "--untracked-files=no") === "" ? head : `${head}-dirty`;
}

function compile(entries: readonly string[], outfile: string, ...more: string[]): void {
  run([
    process.execPath,
    "build",
    "--compile",
    "--minify",
    "--bytecode",
    "--format=esm",
    "--splitting",
    "--no-compile-autoload-dotenv",
    "--no-compile-autoload-bunfig",
    "--no-compile-autoload-tsconfig",
    "--no-compile-autoload-package-json",
    ...more,
    // By their bare names: a Worker's file is looked for beside the code that starts it.
    "--entry-naming=[name].[ext]",
    ...entries.map((entry) => join(root, entry)),
    "--outfile",
    join(root, outfile),
  ]);
}

function run(command: string[]): void {
  const { exitCode } = Bun.spawnSync(command, { stdio: ["ignore", "inherit", "inherit"], cwd: root });
  if (exitCode === 0) return;
  console.error(`build: "${command[0]}" failed with status ${exitCode}`);
  process.exit(1);
}
