import { BoxError } from "@bantubox/ffi";
import { findImage } from "@bantubox/image";
import type { RootFs } from "../../runtime/rootfs.ts";
import type { Spec } from "../../runtime/spec.ts";
import { LOG } from "../create/defaults.ts";
import { addressOf } from "../create/network.ts";
import { type Container, findContainer, readSpec } from "../state/container.ts";
import { containerDirectory, type Engine } from "../state/engine.ts";
import { readStatus, type Status } from "../state/status.ts";
import { isPaused } from "./list.ts";

/**
 * Everything known of a container or an image, in the shape of Docker's JSON.
 *
 * @throws {BoxError} `no-such-object`
 */
export async function inspect(
  engine: Engine,
  idOrName: string,
  kind?: "container" | "image",
): Promise<Record<string, unknown>> {
  const container = kind === "image" ? undefined : findContainer(engine, idOrName);
  if (container !== undefined) return inspectContainer(engine, container);
  const image = kind === "container" ? undefined : findImage(engine, idOrName);
  if (image !== undefined) return await (await import("./inspect-image.ts")).inspectImage(engine, image);
  throw new BoxError("no-such-object", `Cannot find ${kind ?? "container or image"} ${JSON.stringify(idOrName)}`, {
    hint: 'List them with "bb ps -a" and "bb images"',
  });
}

function inspectContainer(engine: Engine, container: Container): Record<string, unknown> {
  const { launch } = container;
  const spec = readSpec(engine, container);
  const directory = containerDirectory(engine, container.id);
  const [path, ...args] = spec.process.args;
  return {
    Id: container.id,
    Created: new Date(container.createdMs).toISOString(),
    Path: path,
    Args: args,
    State: stateOf(container, readStatus(engine, container)),
    Image: container.image,
    Name: `/${container.name}`,
    HostnamePath: `${directory}/hostname`,
    HostsPath: `${directory}/hosts`,
    ResolvConfPath: `${directory}/resolv.conf`,
    LogPath: `${directory}/log`,
    Driver: driverOf(launch.root),
    Mounts: mountsOf(engine, spec),
    Config: {
      Hostname: spec.hostname,
      User: `${spec.process.user.uid}:${spec.process.user.gid}`,
      Tty: launch.tty,
      OpenStdin: launch.interactive,
      Env: spec.process.env,
      Cmd: launch.command,
      Image: container.imageName,
      WorkingDir: spec.process.cwd,
      Entrypoint: launch.entrypoint,
      Labels: Object.fromEntries(launch.labels),
      StopSignal: launch.stopSignal,
      StopTimeout: launch.stopTimeoutSec,
    },
    HostConfig: hostConfigOf(container, spec),
    NetworkSettings: networkOf(engine, container),
    OciConfigPath: `${directory}/config.json`,
  };
}

function driverOf(root: RootFs): string {
  if (root.kind !== "directory") return "overlay";
  if (root.origin === undefined) return "none";
  return root.isSubvolume ? "btrfs" : "copy";
}

function stateOf({ id, startedMs }: Container, status: Status): Record<string, unknown> {
  const isRunning = status.state === "running";
  const paused = isRunning && isPaused(id);
  const never = "0001-01-01T00:00:00Z";
  const finishedMs = status.state === "exited" ? status.finishedMs : undefined;
  return {
    Status: paused ? "paused" : status.state,
    Running: isRunning,
    Paused: paused,
    OOMKilled: status.state === "exited" && status.isOomKilled,
    Pid: isRunning ? status.pid : 0,
    ExitCode: status.state === "running" ? 0 : status.exitCode,
    StartedAt: startedMs === undefined ? never : new Date(startedMs).toISOString(),
    FinishedAt: finishedMs === undefined ? never : new Date(finishedMs).toISOString(),
  };
}

/** What the user mounted: not what every container has, and not the engine's own files. */
function mountsOf({ root }: Engine, spec: Spec): Record<string, unknown>[] {
  const volumes = `${root}/volumes/`;
  const containers = `${root}/containers/`;
  return spec.mounts
    .filter(({ source = "", options = [] }) => options.some((o) => o === "rbind") && !source.startsWith(containers))
    .map(({ source = "", destination, options = [] }) => ({
      Type: source.startsWith(volumes) ? "volume" : "bind",
      ...(source.startsWith(volumes) ? { Name: source.slice(volumes.length).split("/")[0] } : {}),
      Source: source,
      Destination: destination,
      RW: !options.includes("ro"),
    }));
}

function hostConfigOf({ launch, autoRemove }: Container, spec: Spec): Record<string, unknown> {
  const { memory, cpu, pids } = spec.linux.resources ?? {};
  return {
    NetworkMode: launch.network,
    AutoRemove: autoRemove,
    Privileged: launch.privileged,
    ReadonlyRootfs: spec.root.readonly === true,
    Init: launch.init,
    Memory: memory?.limit ?? 0,
    MemorySwap: memory?.swap ?? 0,
    NanoCpus: cpu?.quota === undefined ? 0 : Math.round((cpu.quota / (cpu.period ?? 100_000)) * 1e9),
    CpuShares: cpu?.shares ?? 0,
    CpusetCpus: cpu?.cpus ?? "",
    PidsLimit: pids?.limit ?? 0,
    Ulimits: (spec.process.rlimits ?? []).map(({ type, soft, hard }) => ({
      Name: type.replace("RLIMIT_", "").toLowerCase(),
      Soft: soft,
      Hard: hard,
    })),
    CapBounding: spec.process.capabilities?.bounding ?? [],
    MaskedPaths: spec.linux.maskedPaths ?? [],
    ReadonlyPaths: spec.linux.readonlyPaths ?? [],
    LogConfig: { Type: "cri", Config: { "max-size": String(LOG.bytes), "max-file": String(LOG.files) } },
  };
}

function networkOf(engine: Engine, { id, launch }: Container): Record<string, unknown> {
  const lease = addressOf(engine, id);
  const networks =
    lease === undefined
      ? {}
      : {
          [launch.network]: { IPAddress: lease.address, Gateway: lease.network.gateway, Subnet: lease.network.subnet },
        };
  return { IPAddress: lease?.address ?? "", Gateway: lease?.network.gateway ?? "", Networks: networks };
}
