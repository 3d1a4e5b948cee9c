/** A dockerd of its own, with nothing of the host's: what runs below it ends with it. */
import { newSandbox } from "../test/sandbox.ts";
import { until } from "../test/tools.ts";
import { time } from "./measure.ts";

export interface Dockerd extends AsyncDisposable {
  /** The client, and where its daemon is. */
  readonly docker: readonly string[];
}

const START_MS = 60_000;

/**
 * @param root What its only image, `busybox`, has.
 * @param flags Further ones of the daemon.
 * @returns Undefined when it is not installed.
 */
export async function startDockerd(root: string, flags: readonly string[] = []): Promise<Dockerd | undefined> {
  if (Bun.which("dockerd") === null || Bun.which("docker") === null) return undefined;
  const box = await newSandbox();
  try {
    const socket = `unix://${box.directory}/docker.sock`;
    box.start("dockerd", [
      "dockerd",
      ...["--host", socket, "--pidfile", `${box.directory}/docker.pid`, "--cgroup-parent", box.cgroup],
      ...["--data-root", `${box.directory}/data`, "--exec-root", `${box.directory}/exec`],
      ...flags,
    ]);
    const docker = ["docker", "--host", socket];
    await until("dockerd", () => Bun.spawnSync([...docker, "version"]).exitCode === 0, START_MS);
    const archive = `${box.directory}/busybox.tar`;
    time(["tar", "-C", root, "-cf", archive, "."]);
    time([...docker, "import", archive, "busybox"]);
    return { docker, [Symbol.asyncDispose]: () => box[Symbol.asyncDispose]() };
  } catch (error) {
    await box[Symbol.asyncDispose]();
    throw error;
  }
}
