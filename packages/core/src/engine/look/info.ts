import { readFileSync } from "node:fs";
import { release } from "node:os";
import { detectCgroups } from "@bantubox/cgroup";
import { driverName, listImages } from "@bantubox/image";
import manifest from "../../../package.json" with { type: "json" };
import { isAppArmorEnabled } from "../../runtime/apparmor.ts";
import type { Engine } from "../state/engine.ts";
import { mountOf } from "../state/mount-table.ts";
import { listContainers } from "./list.ts";

export interface Version {
  readonly version: string;
  readonly bun: string;
  readonly ociRuntimeSpec: string;
  readonly os: string;
  readonly arch: string;
  readonly kernel: string;
}

export function version(): Version {
  return {
    version: manifest.version,
    bun: Bun.version,
    ociRuntimeSpec: "1.2.0",
    os: process.platform,
    arch: process.arch,
    kernel: release(),
  };
}

export interface Info extends Version {
  readonly root: string;
  readonly runRoot: string;
  readonly containers: { readonly running: number; readonly paused: number; readonly stopped: number };
  readonly images: number;
  readonly storageDriver: string;
  /** What the root lies on: `ext4`, `btrfs`… */
  readonly storageFileSystem: string;
  readonly cgroups: string;
  readonly cgroupControllers: readonly string[];
  readonly security: readonly string[];
  readonly cpus: number;
  readonly memoryBytes: number;
}

/** What this engine holds, and what the host gives it. */
export function info(engine: Engine): Info {
  const containers = listContainers(engine, { all: true });
  const count = (...states: string[]): number => containers.filter(({ status }) => states.includes(status)).length;
  const host = detectCgroups();
  const memory = /^MemTotal:\s+([0-9]+) kB$/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1];
  return {
    ...version(),
    root: engine.root,
    runRoot: engine.runRoot,
    containers: { running: count("running"), paused: count("paused"), stopped: count("created", "exited") },
    images: listImages(engine).length,
    storageDriver: driverName(engine),
    storageFileSystem: mountOf(engine.root)?.type ?? "unknown",
    cgroups: host.mode,
    cgroupControllers: [...host.controllers.keys()].sort(),
    security: ["seccomp", ...(isAppArmorEnabled() ? ["apparmor"] : [])],
    cpus: navigator.hardwareConcurrency,
    memoryBytes: memory === undefined ? 0 : Number(memory) * 1024,
  };
}
