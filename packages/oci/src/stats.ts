import type { CgroupHost } from "@bantubox/cgroup";
import { readIfThere } from "@bantubox/ffi";

/** `events --stats`, in runc's words: what has no value is left out, so engines read it as they read runc's. */
export interface Stats {
  readonly cpu: object;
  readonly cpuset: object;
  readonly memory: object;
  readonly pids: object;
  readonly blkio: object;
  readonly hugetlb: object;
  readonly intel_rdt: object;
  readonly network_interfaces: null;
}

/** One line of the block controller's files. */
interface BlockEntry {
  readonly major: number;
  readonly minor: number;
  readonly op: string;
  readonly value: number;
}

/** Reads what a group uses now, and has used. @param path Of the group, relative to each hierarchy's top. */
export function readOciStats(host: CgroupHost, path: string): Stats {
  const place = (controller: string): Files => {
    const found = host.controllers.get(controller);
    return new Files(found === undefined ? undefined : `${found.mount}/${path}`, found?.version ?? 1);
  };
  const unified = host.unified === undefined ? undefined : `${host.unified}/${path}`;
  const accounting = place("cpuacct");
  const cpu = place("cpu");
  return {
    cpu: accounting.isThere() ? cpuOfV1(cpu, accounting) : cpuOfV2(cpu.isThere() ? cpu : new Files(unified, 2)),
    cpuset: cpusetOf(place("cpuset")),
    memory: place("memory").version === 2 ? memoryOfV2(place("memory")) : memoryOfV1(place("memory")),
    pids: pidsOf(place("pids")),
    blkio: place("io").isThere() ? blockOfV2(place("io")) : blockOfV1(place("blkio")),
    hugetlb: {},
    intel_rdt: {},
    network_interfaces: null,
  };
}

/** A group's control files in one hierarchy; absent ones read as nothing. */
class Files {
  readonly #directory: string | undefined;
  readonly version: 1 | 2;
  constructor(directory: string | undefined, version: 1 | 2) {
    this.#directory = directory;
    this.version = version;
  }

  isThere(): boolean {
    return this.#directory !== undefined;
  }

  text(name: string): string {
    return this.#directory === undefined ? "" : (readIfThere(`${this.#directory}/${name}`) ?? "").trim();
  }

  /** A number; "max" and what is not there are 0. */
  number(name: string): number {
    return Number.parseInt(this.text(name), 10) || 0;
  }

  /** Flat keyed files: `key value` a line. */
  keyed(name: string): Record<string, number> {
    const lines = this.text(name)
      .split("\n")
      .map((line) => line.split(" "));
    return Object.fromEntries(
      lines.filter(([, value]) => value !== undefined).map(([key, value]) => [key, Number(value)]),
    );
  }
}

function cpuOfV1(cpu: Files, accounting: Files): object {
  const tick = 10_000_000;
  const { user = 0, system = 0 } = accounting.keyed("cpuacct.stat");
  const { nr_periods = 0, nr_throttled = 0, throttled_time = 0 } = cpu.keyed("cpu.stat");
  const percpu = accounting.text("cpuacct.usage_percpu").split(" ").filter(Boolean).map(Number);
  return {
    usage: { total: accounting.number("cpuacct.usage"), percpu, kernel: system * tick, user: user * tick },
    throttling: { periods: nr_periods, throttledPeriods: nr_throttled, throttledTime: throttled_time },
  };
}

function cpuOfV2(files: Files): object {
  const stat = files.keyed("cpu.stat");
  const ns = (name: string): number => (stat[name] ?? 0) * 1000;
  return {
    usage: { total: ns("usage_usec"), kernel: ns("system_usec"), user: ns("user_usec") },
    throttling: {
      periods: stat["nr_periods"] ?? 0,
      throttledPeriods: stat["nr_throttled"] ?? 0,
      throttledTime: ns("throttled_usec"),
    },
  };
}

function cpusetOf(files: Files): object {
  const isV2 = files.version === 2;
  const list = (name: string): number[] => expandList(files.text(isV2 ? `${name}.effective` : name));
  const flag = (name: string): number => (isV2 ? 0 : files.number(name));
  return {
    cpus: list("cpuset.cpus"),
    cpu_exclusive: flag("cpuset.cpu_exclusive"),
    mems: list("cpuset.mems"),
    mem_hardwall: flag("cpuset.mem_hardwall"),
    mem_exclusive: flag("cpuset.mem_exclusive"),
    memory_migrate: flag("cpuset.memory_migrate"),
    memory_spread_page: flag("cpuset.memory_spread_page"),
    memory_spread_slab: flag("cpuset.memory_spread_slab"),
    memory_pressure: flag("cpuset.memory_pressure"),
    sched_load_balance: flag("cpuset.sched_load_balance"),
    sched_relax_domain_level: flag("cpuset.sched_relax_domain_level"),
  };
}

function expandList(text: string): number[] {
  return text
    .split(",")
    .filter(Boolean)
    .flatMap((part) => {
      const [first = 0, last = first] = part.split("-").map(Number);
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    });
}

function memoryOfV1(files: Files): object {
  const entry = (prefix: string): object => ({
    limit: files.number(`${prefix}.limit_in_bytes`),
    usage: files.number(`${prefix}.usage_in_bytes`),
    max: files.number(`${prefix}.max_usage_in_bytes`),
    failcnt: files.number(`${prefix}.failcnt`),
  });
  const raw = files.keyed("memory.stat");
  return {
    cache: raw["cache"] ?? 0,
    usage: entry("memory"),
    swap: entry("memory.memsw"),
    kernel: entry("memory.kmem"),
    kernelTCP: entry("memory.kmem.tcp"),
    raw,
  };
}

/** v2 counts memory and swap apart; runc reports their sum, as v1 did. */
function memoryOfV2(files: Files): object {
  const raw = files.keyed("memory.stat");
  const events = files.keyed("memory.events");
  const usage = files.number("memory.current");
  const limit = files.number("memory.max");
  const swapLimit = files.number("memory.swap.max");
  const max = files.number("memory.peak");
  return {
    cache: raw["file"] ?? 0,
    usage: { limit, usage, max, failcnt: events["max"] ?? 0 },
    swap: {
      limit: limit > 0 && swapLimit > 0 ? limit + swapLimit : 0,
      usage: usage + files.number("memory.swap.current"),
      max: 0,
      failcnt: 0,
    },
    kernel: { limit: 0, failcnt: 0 },
    kernelTCP: { limit: 0, failcnt: 0 },
    raw,
  };
}

function pidsOf(files: Files): object {
  return { current: files.number("pids.current"), limit: files.number("pids.max") };
}

function blockOfV1(files: Files): object {
  return {
    ioServiceBytesRecursive: entriesOf(files.text("blkio.throttle.io_service_bytes_recursive")),
    ioServicedRecursive: entriesOf(files.text("blkio.throttle.io_serviced_recursive")),
  };
}

/** `8:0 Read 4096` a line. The sum of all devices, which has no number, is left out. */
function entriesOf(text: string): BlockEntry[] {
  return text.split("\n").flatMap((line) => {
    const [, major, minor, op, value] = /^(\d+):(\d+) (\w+) (\d+)$/.exec(line) ?? [];
    return op === undefined ? [] : [{ major: Number(major), minor: Number(minor), op, value: Number(value) }];
  });
}

/** `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …` a line. */
function blockOfV2(files: Files): object {
  const bytes: BlockEntry[] = [];
  const operations: BlockEntry[] = [];
  for (const line of files.text("io.stat").split("\n")) {
    const [device = "", ...fields] = line.split(" ");
    const [major, minor] = device.split(":").map(Number);
    if (major === undefined || minor === undefined) continue;
    for (const field of fields) {
      const [name = "", value] = field.split("=");
      const op = name.startsWith("r") ? "Read" : name.startsWith("w") ? "Write" : "Discard";
      const entry = { major, minor, op, value: Number(value) };
      if (name.endsWith("bytes")) bytes.push(entry);
      else if (name.endsWith("ios")) operations.push(entry);
    }
  }
  return { ioServiceBytesRecursive: bytes, ioServicedRecursive: operations };
}
