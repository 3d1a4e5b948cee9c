/** Other programs that pull images, each with a new and empty store below a directory of the caller's. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { startContainerd, startDocker as startDockerd } from "./daemons.ts";
import { time } from "./measure.ts";

/** A program with an empty store, ready to pull. */
export interface Puller extends AsyncDisposable {
  /** @returns Milliseconds. */
  pull(image: string): number;
}

export interface PullPeer {
  readonly name: string;
  /** Programs that must be installed. */
  readonly needs: readonly string[];
  /** @param directory Exists, is empty, and stays so short that sockets may lie in it. */
  start(directory: string): Promise<Puller>;
}

export const PULL_PEERS: readonly PullPeer[] = [
  { name: "docker", needs: ["docker", "dockerd", "containerd"], start: startDocker },
  { name: "ctr", needs: ["ctr", "containerd"], start: startCtr },
  { name: "podman", needs: ["podman"], start: startPodman },
  { name: "skopeo+umoci", needs: ["skopeo", "umoci"], start: startSkopeo },
];

async function startDocker(directory: string): Promise<Puller> {
  const { docker, stop } = await startDockerd(directory);
  return {
    pull: (image) => time([...docker, "pull", "--quiet", image]),
    [Symbol.asyncDispose]: stop,
  };
}

async function startCtr(directory: string): Promise<Puller> {
  const { ctr, stop } = await startContainerd(directory);
  return {
    pull: (image) => time([...ctr, "image", "pull", "--plain-http", image]),
    [Symbol.asyncDispose]: stop,
  };
}

async function startPodman(directory: string): Promise<Puller> {
  const roots = ["--root", join(directory, "lib"), "--runroot", join(directory, "run")];
  const podman = ["podman", ...roots, "--storage-driver", "overlay"];
  time([...podman, "images"]);
  return {
    pull: (image) => time([...podman, "pull", "--quiet", "--tls-verify=false", image]),
    [Symbol.asyncDispose]: async () => {
      // Its overlay driver keeps its home mounted.
      Bun.spawnSync(["umount", join(directory, "lib/overlay")], { stderr: "ignore" });
    },
  };
}

async function startSkopeo(directory: string): Promise<Puller> {
  mkdirSync(directory, { recursive: true });
  const layout = join(directory, "oci");
  return {
    pull: (image) =>
      time(["skopeo", "copy", "--quiet", "--src-tls-verify=false", `docker://${image}`, `oci:${layout}:latest`]) +
      time(["umoci", "unpack", "--image", `${layout}:latest`, join(directory, "bundle")]),
    [Symbol.asyncDispose]: async () => {},
  };
}
