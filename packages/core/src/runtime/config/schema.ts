/** Which fields of config.json have which form. Their meaning is checked in check.ts. */
import { anything, exact, fields, flag, int64, integer, list, oneOf, record, text, uint32, uint64 } from "./shape.ts";

const int32 = integer(-(2 ** 31), 2 ** 31 - 1);
const uint16 = integer(0, 0xffff);
const texts = list(text);
/** The last one means "unchanged" to the kernel's calls. */
const id = integer(0, 0xffff_fffe);

const idMapping = fields({ containerID: uint32, hostID: uint32, size: uint32 }, ["containerID", "hostID", "size"]);

const capabilities = fields({
  bounding: texts,
  effective: texts,
  permitted: texts,
  inheritable: texts,
  ambient: texts,
});

const scheduler = fields(
  { policy: text, nice: int32, priority: int32, flags: texts, runtime: uint64, deadline: uint64, period: uint64 },
  ["policy"],
);

export const PROCESS = fields(
  {
    terminal: flag,
    consoleSize: fields({ height: uint16, width: uint16 }, ["height", "width"]),
    user: fields({ uid: id, gid: id, umask: uint32, additionalGids: list(id) }),
    args: texts,
    env: texts,
    cwd: text,
    capabilities,
    rlimits: list(fields({ type: text, soft: exact, hard: exact }, ["type", "soft", "hard"])),
    noNewPrivileges: flag,
    apparmorProfile: text,
    selinuxLabel: text,
    oomScoreAdj: int32,
    scheduler,
    ioPriority: fields({ class: text, priority: int32 }, ["class"]),
    execCPUAffinity: fields({ initial: text, final: text }),
  },
  ["cwd"],
);

const device = fields({ major: int64, minor: int64, rate: exact, weight: uint16, leafWeight: uint16 }, [
  "major",
  "minor",
]);

export const RESOURCES = fields({
  devices: list(fields({ allow: flag, type: text, major: int64, minor: int64, access: text }, ["allow"])),
  memory: fields({
    limit: int64,
    reservation: int64,
    swap: int64,
    kernel: int64,
    kernelTCP: int64,
    swappiness: uint64,
    disableOOMKiller: flag,
    useHierarchy: flag,
    checkBeforeUpdate: flag,
  }),
  cpu: fields({
    shares: uint64,
    quota: int64,
    burst: uint64,
    period: uint64,
    realtimeRuntime: int64,
    realtimePeriod: uint64,
    cpus: text,
    mems: text,
    idle: int64,
  }),
  pids: fields({ limit: int64 }),
  blockIO: fields({
    weight: uint16,
    leafWeight: uint16,
    weightDevice: list(device),
    throttleReadBpsDevice: list(device),
    throttleWriteBpsDevice: list(device),
    throttleReadIOPSDevice: list(device),
    throttleWriteIOPSDevice: list(device),
  }),
  hugepageLimits: list(fields({ pageSize: text, limit: exact }, ["pageSize", "limit"])),
  network: fields({
    classID: uint32,
    priorities: list(fields({ name: text, priority: uint32 }, ["name", "priority"])),
  }),
  rdma: record(fields({ hcaHandles: uint32, hcaObjects: uint32 })),
  unified: record(text),
});

const hook = fields({ path: text, args: texts, env: texts, timeout: integer(1, 2 ** 31) }, ["path"]);

const SECCOMP = fields(
  {
    defaultAction: text,
    defaultErrnoRet: uint32,
    architectures: texts,
    flags: texts,
    listenerPath: text,
    listenerMetadata: text,
    syscalls: list(
      fields(
        {
          names: texts,
          action: text,
          errnoRet: uint32,
          args: list(fields({ index: uint32, value: exact, valueTwo: exact, op: text }, ["index", "value", "op"])),
        },
        ["names", "action"],
      ),
    ),
  },
  ["defaultAction"],
);

const LINUX = fields({
  namespaces: list(
    fields({ type: oneOf("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"), path: text }, ["type"]),
  ),
  uidMappings: list(idMapping),
  gidMappings: list(idMapping),
  timeOffsets: record(fields({ secs: int64, nanosecs: uint32 })),
  devices: list(
    fields(
      {
        type: oneOf("c", "b", "u", "p"),
        path: text,
        major: int64,
        minor: int64,
        fileMode: uint32,
        uid: id,
        gid: id,
      },
      ["type", "path"],
    ),
  ),
  netDevices: record(fields({ name: text })),
  cgroupsPath: text,
  resources: RESOURCES,
  intelRdt: anything,
  memoryPolicy: fields({ mode: text, nodes: text, flags: texts }, ["mode"]),
  seccomp: SECCOMP,
  rootfsPropagation: text,
  maskedPaths: texts,
  readonlyPaths: texts,
  mountLabel: text,
  sysctl: record(text),
  personality: fields({ domain: text, flags: texts }, ["domain"]),
});

const mount = fields(
  {
    destination: text,
    type: text,
    source: text,
    options: texts,
    uidMappings: list(idMapping),
    gidMappings: list(idMapping),
  },
  ["destination"],
);

const hooks = list(hook);

export const CONFIG = fields(
  {
    ociVersion: text,
    process: PROCESS,
    root: fields({ path: text, readonly: flag }, ["path"]),
    hostname: text,
    domainname: text,
    mounts: list(mount),
    hooks: fields({
      prestart: hooks,
      createRuntime: hooks,
      createContainer: hooks,
      startContainer: hooks,
      poststart: hooks,
      poststop: hooks,
    }),
    annotations: record(text),
    linux: LINUX,
  },
  ["ociVersion", "process", "root"],
);
