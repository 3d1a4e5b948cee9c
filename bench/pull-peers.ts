/** Other programs that pull images, each with a new and empty store below a directory of the caller's. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
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
  { name: "ctr", needs: ["ctr", "containerd"], start: startContainerd },
  { name: "podman", needs: ["podman"], start: startPodman },
  { name: "skopeo+umoci", needs: ["skopeo", "umoci"], start: startSkopeo },
];

async function startDocker(directory: string): Promise<Puller> {
  const host = `unix://${directory}/docker.sock`;
  // No network of its own: pulling needs the caller's only.
  const daemon = await startDaemon(
    [
      "dockerd",
      ...["--data-root", join(directory, "lib"), "--exec-root", join(directory, "run")],
      ...["--pidfile", join(directory, "pid"), "--host", host],
      ...["--bridge=none", "--iptables=false", "--ip6tables=false"],
    ],
    ["docker", "--host", host, "info"],
  );
  return {
    pull: (image) => time(["docker", "--host", host, "pull", "--quiet", image]),
    [Symbol.asyncDispose]: daemon,
  };
}

async function startContainerd(directory: string): Promise<Puller> {
  const socket = join(directory, "containerd.sock");
  const config = join(directory, "config.toml");
  writeFileSync(
    config,
    `version = 2
root = "${directory}/lib"
state = "${directory}/run"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "${socket}"
`,
  );
  const ctr = ["ctr", "--address", socket];
  const daemon = await startDaemon(["containerd", "--config", config], [...ctr, "version"]);
  return {
    pull: (image) => time([...ctr, "image", "pull", "--plain-http", image]),
    [Symbol.asyncDispose]: daemon,
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

/** Starts a program that stays, and waits until `probe` succeeds. @returns Its end. */
async function startDaemon(command: readonly string[], probe: readonly string[]): Promise<() => Promise<void>> {
  const child = Bun.spawn([...command], { stdio: ["ignore", "ignore", "ignore"] });
  const deadline = performance.now() + 30_000;
  while (Bun.spawnSync([...probe], { stdio: ["ignore", "ignore", "ignore"] }).exitCode !== 0) {
    if (child.exitCode !== null || performance.now() > deadline) {
      child.kill();
      throw new Error(`${command[0]} does not start: ${command.join(" ")}`);
    }
    await Bun.sleep(100);
  }
  return async () => {
    child.kill();
    await child.exited;
  };
}
