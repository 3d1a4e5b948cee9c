/** Other engines that hold images: what each does with archives, registries and containers, in a store of its own. */
import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startContainerd, startDocker as startDockerd } from "./daemons.ts";
import { time } from "./measure.ts";

/** An engine with a store of its own; every function gives milliseconds. */
export interface Engine extends AsyncDisposable {
  readonly name: string;
  load(archive: string): number;
  save(image: string, archive: string): number;
  /** To a registry without TLS. */
  push(image: string, destination: string): number;
  /** Makes an image of one layer of a tar archive. */
  import?(archive: string, name: string): number;
  /** Makes a container of `image` with what the tar archive `changes` holds, and an image of that. The time of the latter. */
  commit?(image: string, changes: string, name: string): number;
}

export interface ArchivePeer {
  readonly name: string;
  readonly needs: readonly string[];
  /** Whether it loads OCI archives, too: Docker does so since 25. */
  readonly readsOci: boolean;
  /** @param directory Exists, is empty, and has a short path, for sockets. */
  start(directory: string): Promise<Engine>;
}

/** Our own, from `program`. @param onEnd Is told of the resources of each command that was measured. */
export function ours(program: string, directory: string, onEnd: (usage: Bun.ResourceUsage) => void = () => {}): Engine {
  const store = ["--root", join(directory, "lib"), "--run-root", join(directory, "run")];
  const bb = (...words: readonly string[]): number => {
    const before = Bun.nanoseconds();
    const { exitCode, stderr, resourceUsage } = Bun.spawnSync([program, ...store, ...words], { stdout: "ignore" });
    const ms = (Bun.nanoseconds() - before) / 1e6;
    if (exitCode !== 0) throw new Error(`bb ${words.join(" ")}: status ${exitCode}\n${stderr}`);
    onEnd(resourceUsage);
    return ms;
  };
  let containers = 0;
  return {
    name: "bb",
    load: (archive) => bb("load", "-q", "-i", archive),
    save: (image, archive) => bb("save", "-o", archive, image),
    push: (image, destination) => bb("push", "-q", "--tls-verify=false", image, destination),
    import: (archive, name) => bb("import", archive, name),
    commit: (image, changes, name) => {
      const container = `c${containers++}`;
      bb("create", "--network", "none", "--name", container, image, "true");
      time(["sh", "-c", `exec "$@" < '${changes}'`, "sh", program, ...store, "cp", "-", `${container}:/`]);
      time([program, ...store, "cp", unique(), `${container}:/unique`]);
      return bb("commit", container, name);
    },
    async [Symbol.asyncDispose]() {},
  };
}

export const ARCHIVE_PEERS: readonly ArchivePeer[] = [
  { name: "docker", needs: ["docker", "dockerd", "containerd"], readsOci: false, start: startDocker },
  { name: "podman", needs: ["podman"], readsOci: true, start: startPodman },
  { name: "ctr", needs: ["ctr", "containerd"], readsOci: true, start: startCtr },
];

async function startDocker(directory: string): Promise<Engine> {
  const { docker, stop } = await startDockerd(directory);
  return {
    ...likeDocker("docker", docker, []),
    load: (archive) => time([...docker, "load", "-q", "-i", archive]),
    [Symbol.asyncDispose]: stop,
  };
}

async function startPodman(directory: string): Promise<Engine> {
  const roots = ["--root", join(directory, "lib"), "--runroot", join(directory, "run")];
  const podman = ["podman", ...roots, "--storage-driver", "overlay"];
  time([...podman, "images"]);
  return {
    ...likeDocker("podman", podman, ["--tls-verify=false"]),
    load: (archive) => time([...podman, "load", "-q", "-i", archive]),
    save: (image, archive) => time([...podman, "save", "-q", "-o", archive, image]),
    async [Symbol.asyncDispose]() {
      // Its overlay driver keeps its home mounted.
      Bun.spawnSync(["umount", join(directory, "lib/overlay")], { stderr: "ignore" });
    },
  };
}

const uniqueFile = join(tmpdir(), `bb-bench-unique-${process.pid}`);
process.on("exit", () => rmSync(uniqueFile, { force: true }));

/** A file that makes its layer another one than any before: one that is there already need not be kept. */
function unique(): string {
  writeFileSync(uniqueFile, crypto.randomUUID());
  return uniqueFile;
}

function likeDocker(
  name: string,
  program: readonly string[],
  pushFlags: readonly string[],
): Pick<Engine, "name" | "save" | "push" | "import" | "commit"> {
  let containers = 0;
  return {
    name,
    save: (image, archive) => time([...program, "save", "-o", archive, image]),
    push: (image, destination) => {
      time([...program, "tag", image, destination]);
      return time([...program, "push", "-q", ...pushFlags, destination]);
    },
    import: (archive, to) => time([...program, "import", archive, to]),
    commit: (image, changes, to) => {
      const container = `c${containers++}`;
      time([...program, "create", "--network", "none", "--name", container, image, "true"]);
      time(["sh", "-c", `exec "$@" < '${changes}'`, "sh", ...program, "cp", "-", `${container}:/`]);
      time([...program, "cp", unique(), `${container}:/unique`]);
      return time([...program, "commit", container, to]);
    },
  };
}

async function startCtr(directory: string): Promise<Engine> {
  const { ctr, stop } = await startContainerd(directory);
  return {
    name: "ctr",
    load: (archive) => time([...ctr, "image", "import", archive]),
    save: (image, archive) => time([...ctr, "image", "export", archive, `docker.io/library/${image}`]),
    push: (image, destination) => {
      time([...ctr, "image", "tag", `docker.io/library/${image}`, destination]);
      return time([...ctr, "image", "push", "--plain-http", destination]);
    },
    [Symbol.asyncDispose]: stop,
  };
}
