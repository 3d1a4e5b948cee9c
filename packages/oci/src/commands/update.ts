import { type LinuxResources, limitScope, updateCgroup } from "@bantubox/cgroup";
import { BoxError, readTextSync } from "@bantubox/ffi";
import type { Values } from "../arguments.ts";
import { cgroupHost } from "../cgroup-host.ts";
import { command } from "../command.ts";
import { getContainer, statusOf } from "../container.ts";
import { absolute } from "../globals.ts";

const FLAGS = {
  resources: { type: "string", short: "r", help: "file with resources of the specification, or - for stdin" },
  "blkio-weight": { type: "number", help: "weight of block I/O, 10 to 1000" },
  "cpu-period": { type: "number", help: "µs of a period" },
  "cpu-quota": { type: "number", help: "µs of CPU time in each period" },
  "cpu-burst": { type: "number", help: "µs that unused time may be saved up to" },
  "cpu-share": { type: "number", help: "relative weight of CPU time" },
  "cpu-rt-period": { type: "number", help: "µs of a real-time period" },
  "cpu-rt-runtime": { type: "number", help: "µs of real-time CPU time in each" },
  "cpu-idle": { type: "number", help: "1: runs only when nobody else wants to" },
  "cpuset-cpus": { type: "string", help: "list of CPUs" },
  "cpuset-mems": { type: "string", help: "list of memory nodes" },
  memory: { type: "string", help: "limit of memory, as in 64M" },
  "memory-reservation": { type: "string", help: "soft limit of memory" },
  "memory-swap": { type: "string", help: "limit of memory and swap; -1 for none" },
  "kernel-memory": { type: "string", help: "no longer does anything" },
  "kernel-memory-tcp": { type: "string", help: "limit of TCP buffers, v1 only" },
  "pids-limit": { type: "number", help: "limit of processes; -1 for none" },
  "l3-cache-schema": { type: "string", help: "not supported" },
  "mem-bw-schema": { type: "string", help: "not supported" },
} as const;

export default command({
  name: "update",
  summary: "Change a container's limits",
  operands: "ID",
  flags: FLAGS,
  count: [1, 1],
  async run(globals, values, [id = ""]) {
    const container = getContainer(globals, id);
    const { status } = statusOf(container);
    if (container.saved === undefined || status === "stopped" || status === "creating") {
      throw new BoxError("container-not-running", "container not running");
    }
    if (values["l3-cache-schema"] || values["mem-bw-schema"]) {
      throw new BoxError("no-rdt", "Cannot limit caches or memory bandwidth: Intel RDT is not supported");
    }
    const given = values.resources ? await readResources(values.resources) : fromFlags(values);
    const resources = withoutZeroes(given);
    const { cgroup, unit } = container.saved;
    // First systemd, or its next word would be the old one; it knows less of them than the files.
    if (unit !== undefined) limitScope(unit, resources);
    updateCgroup(cgroupHost(), cgroup, resources);
    return 0;
  },
});

async function readResources(name: string): Promise<LinuxResources> {
  const { parseResources } = await import("@bantubox/core/runtime");
  return parseResources(readTextSync(name === "-" ? "/dev/stdin" : absolute(name)));
}

function fromFlags(values: Values<typeof FLAGS>): LinuxResources {
  return {
    blockIO: { weight: values["blkio-weight"] },
    cpu: {
      shares: values["cpu-share"],
      quota: values["cpu-quota"],
      period: values["cpu-period"],
      cpus: values["cpuset-cpus"],
      mems: values["cpuset-mems"],
      ...numbers({
        burst: values["cpu-burst"],
        idle: values["cpu-idle"],
        realtimePeriod: values["cpu-rt-period"],
        realtimeRuntime: values["cpu-rt-runtime"],
      }),
    },
    memory: {
      limit: parseBytes(values.memory),
      swap: parseBytes(values["memory-swap"]),
      reservation: parseBytes(values["memory-reservation"]),
      ...numbers({ kernelTCP: parseBytes(values["kernel-memory-tcp"]) }),
    },
    pids: { limit: values["pids-limit"] },
  };
}

function numbers<T extends object>(values: T): Partial<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Partial<T>;
}

/** What 0 is a value of like any other, and what engines do not send unasked. v2 has no swappiness, so 0 is none there. */
function zeroes(): string[] {
  return ["burst", "idle", ...(cgroupHost().controllers.get("memory")?.version === 1 ? ["swappiness"] : [])];
}

/** Engines send every field, and 0 or "" where nothing shall change. Devices are never changed: an update names only some. */
function withoutZeroes({ devices: _, ...resources }: LinuxResources): Omit<LinuxResources, "devices"> {
  const settable = zeroes();
  const isSet = ([name, value]: [string, unknown]): boolean =>
    value !== undefined && value !== null && value !== "" && (value !== 0 || settable.includes(name));
  return Object.fromEntries(
    Object.entries(resources).map(([name, part]) => {
      if (part === undefined || Array.isArray(part) || name === "unified") return [name, part];
      const fields = Object.entries(part as object).filter(isSet);
      return [name, fields.length === 0 ? undefined : Object.fromEntries(fields)];
    }),
  );
}

/** Bytes of `64M`, `1.5g`, `-1`. @throws {BoxError} `usage` */
function parseBytes(text: string | undefined): number | undefined {
  if (!text) return undefined;
  const [, number, unit = ""] = /^(-?\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?$/i.exec(text) ?? [];
  if (number === undefined)
    throw new BoxError("usage", `invalid value ${JSON.stringify(text)}: it must be a number of bytes, as in 64M`);
  return Math.floor(Number(number) * 1024 ** " kmgtp".indexOf(unit.toLowerCase() || " "));
}
