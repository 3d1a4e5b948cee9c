/** Daemons of other engines, each with a store of its own. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** @param directory Exists, is empty, and has a short path, for its socket. @returns The client's command, and the daemon's end. */
export async function startDocker(
  directory: string,
): Promise<{ docker: readonly string[]; stop: () => Promise<void> }> {
  const host = `unix://${directory}/docker.sock`;
  const docker = ["docker", "--host", host];
  // No network of its own: what is measured needs the caller's only.
  const stop = await startDaemon(
    [
      "dockerd",
      ...["--data-root", join(directory, "lib"), "--exec-root", join(directory, "run")],
      ...["--pidfile", join(directory, "pid"), "--host", host],
      ...["--bridge=none", "--iptables=false", "--ip6tables=false"],
    ],
    [...docker, "info"],
  );
  return { docker, stop };
}

/** As `startDocker`. */
export async function startContainerd(
  directory: string,
): Promise<{ ctr: readonly string[]; stop: () => Promise<void> }> {
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
  return { ctr, stop: await startDaemon(["containerd", "--config", config], [...ctr, "version"]) };
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
