/** The programs that we are measured against, as far as this host has them. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { time } from "./measure.ts";

/** An OCI runtime that runs `root` as it is. */
export interface Runtime {
  readonly name: string;
  run(id: string): readonly string[];
  /** Starts a container that stays. */
  start(id: string): void;
  exec(id: string): readonly string[];
  remove(id: string): void;
}

/** An engine with images. */
export interface Engine {
  readonly run: readonly string[];
  remove(): void;
}

const IMAGE = "localhost/bantubox-bench:latest";

/** @returns Undefined when `name` is not installed. */
export function findRuntime(name: "runc" | "crun", root: string, directory: string): Runtime | undefined {
  const program = Bun.which(name);
  if (program === null) return undefined;
  const runtime = [program, "--root", join(directory, `${name}-state`)];
  const bundles = { true: join(directory, `${name}-true`), sleep: join(directory, `${name}-sleep`) };
  writeBundle(program, bundles.true, root, ["/bin/true"]);
  writeBundle(program, bundles.sleep, root, ["/bin/sleep", "100000"]);
  return {
    name,
    run: (id: string) => [...runtime, "run", "--bundle", bundles.true, id],
    start: (id) => void time([...runtime, "run", "--detach", "--bundle", bundles.sleep, id]),
    exec: (id) => [...runtime, "exec", id, "/bin/true"],
    remove: (id) => void time([...runtime, "delete", "--force", id]),
  };
}

/** The runtime's own defaults, but for what it runs. */
function writeBundle(program: string, bundle: string, root: string, args: readonly string[]): void {
  mkdirSync(bundle, { recursive: true });
  time([program, "spec"], bundle);
  const path = join(bundle, "config.json");
  const config = require(path);
  config.process.terminal = false;
  config.process.args = args;
  config.root = { path: root, readonly: false };
  writeFileSync(path, JSON.stringify(config));
}

/** bubblewrap, which isolates without images, networks or limits. */
export function findBwrap(root: string): readonly string[] | undefined {
  const program = Bun.which("bwrap");
  if (program === null) return undefined;
  return [program, "--bind", root, "/", "--proc", "/proc", "--dev", "/dev", "--unshare-all", "/bin/true"];
}

/** @returns Why it cannot be measured, as a string. */
export function findPodman(root: string): Engine | string {
  const program = Bun.which("podman");
  if (program === null) return "not installed";
  const { exitCode } = Bun.spawnSync([program, "info"], { stdout: "ignore", stderr: "ignore", timeout: 10_000 });
  if (exitCode !== 0) return "installed, but it does not run here";
  const { stdout } = Bun.spawnSync(["tar", "-C", root, "-c", "."]);
  const imported = Bun.spawnSync([program, "import", "-", IMAGE], {
    stdin: stdout,
    stdout: "ignore",
    stderr: "ignore",
  });
  if (imported.exitCode !== 0) return "installed, but it cannot import an image";
  const engine = {
    run: [program, "run", "--rm", IMAGE, "/bin/true"],
    remove: () => void time([program, "rmi", "--force", IMAGE]),
  };
  if (Bun.spawnSync(engine.run, { stdout: "ignore", stderr: "ignore" }).exitCode === 0) return engine;
  engine.remove();
  return "installed, but it cannot run a container here";
}
