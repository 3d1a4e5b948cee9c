/** Text of others -> the plain data that the runtime works with. */
import type { LinuxResources } from "@bantubox/cgroup";
import { BoxError } from "@bantubox/ffi";
import { parseExactJson } from "../seccomp/exact-json.ts";
import type { Capabilities, Mount, Process, Rlimit, Spec } from "../spec.ts";
import { CONFIG, PROCESS, RESOURCES } from "./schema.ts";
import { badConfig, type Shape } from "./shape.ts";

/**
 * Reads a bundle's config.json: checks its form, and fills in what it may leave out.
 *
 * Paths that are relative count from `bundle`, or from "/" for a mount's destination.
 *
 * @param bundle Absolute path of the bundle's directory.
 * @throws {BoxError} `bad-config` with the field's name; `unsupported-version`.
 */
export function parseConfig(json: string, bundle: string): Spec {
  const config = parse(json, "config.json", CONFIG) as Raw<Spec>;
  checkVersion(config.ociVersion);
  return {
    ...config,
    process: completeProcess(config.process),
    root: { ...config.root, path: absolute(config.root.path, bundle) },
    mounts: (config.mounts ?? []).map((mount) => completeMount(mount, bundle)),
    linux: {
      ...config.linux,
      namespaces: config.linux?.namespaces ?? [],
      ...(config.linux?.resources && { resources: completeResources(config.linux.resources) }),
    },
  };
}

/**
 * Reads a `process` by itself, as `exec --process` is given one.
 *
 * @param own The container's first: what confines that holds for another that says nothing of it, as runc has it.
 * @throws {BoxError} `bad-config`
 */
export function parseProcess(json: string, own: Process): Process {
  const { capabilities, rlimits = [], apparmorProfile, selinuxLabel } = own;
  const given = parse(json, "process", PROCESS) as Raw<Process>;
  return completeProcess({
    ...given,
    capabilities: given.capabilities ?? capabilities,
    rlimits: given.rlimits?.length ? given.rlimits : rlimits,
    ...(apparmorProfile && !given.apparmorProfile && { apparmorProfile }),
    ...(selinuxLabel && !given.selinuxLabel && { selinuxLabel }),
  });
}

/** Reads `resources` by itself, as `update --resources` is given them. @throws {BoxError} `bad-config` */
export function parseResources(json: string): LinuxResources {
  return completeResources(parse(json, "resources", RESOURCES) as LinuxResources);
}

const NO_CAPABILITIES: Capabilities = { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] };

/** The form was checked; which fields are there, the file's maker has decided. */
type Raw<T> = { readonly [K in keyof T]: K extends keyof RawParts ? RawParts[K] : T[K] };
interface RawParts {
  readonly process: Raw<Process>;
  readonly mounts: readonly Mount[] | undefined;
  readonly linux: Spec["linux"] | undefined;
  readonly user: Partial<Process["user"]> | undefined;
  readonly env: readonly string[] | undefined;
  readonly args: readonly string[] | undefined;
  readonly capabilities: Partial<Capabilities> | undefined;
  readonly rlimits: readonly RawRlimit[] | undefined;
}
type RawRlimit = { readonly type: string; readonly soft: number | bigint; readonly hard: number | bigint };

function parse(json: string, name: string, shape: Shape): unknown {
  let value: unknown;
  try {
    // Only numbers of so many digits can lose some; a reviver costs more than the parsing.
    value = /\d{16}/.test(json) ? parseExactJson(json) : JSON.parse(json);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new BoxError("bad-config", `Cannot read the ${name}: it is not JSON: ${reason}`, { cause });
  }
  shape(value, name === "config.json" ? "" : name);
  return value;
}

function checkVersion(version: string): void {
  if (!/^\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?$/.test(version)) {
    throw badConfig("ociVersion", `must be a semantic version, not ${JSON.stringify(version)}`);
  }
  if (version.startsWith("1.")) return;
  throw new BoxError("unsupported-version", `Cannot use a configuration of version "${version}": 1.x is supported`);
}

function completeProcess(process: Raw<Process>): Process {
  const { user, rlimits, capabilities } = process;
  const { rlimits: _limits, capabilities: _sets, ...rest } = process;
  return {
    ...rest,
    user: { uid: 0, gid: 0, ...user },
    args: process.args ?? [],
    env: process.env ?? [],
    ...(rlimits && { rlimits: rlimits.map(completeRlimit) }),
    capabilities: { ...NO_CAPABILITIES, ...capabilities },
  };
}

function completeRlimit({ type, soft, hard }: RawRlimit): Rlimit {
  return { type, soft: unlimited(soft), hard: unlimited(hard) };
}

function completeMount(mount: Mount, bundle: string): Mount {
  const { destination, source } = mount;
  const isBind = mount.type === "bind" || mount.options?.some((option) => option === "bind" || option === "rbind");
  return {
    ...mount,
    destination: destination.startsWith("/") ? destination : `/${destination}`,
    ...(isBind && source !== undefined && { source: absolute(source, bundle) }),
  };
}

/** Sizes past 2^53 bytes, which no machine has, are what programs write for "unlimited". */
function completeResources(resources: LinuxResources): LinuxResources {
  const { memory, hugepageLimits } = resources;
  return {
    ...resources,
    ...(memory && {
      memory: Object.fromEntries(
        Object.entries(memory).map(([name, value]) => [
          name,
          typeof value === "number" || typeof value === "bigint" ? unlimited(value) : value,
        ]),
      ),
    }),
    ...(hugepageLimits && {
      hugepageLimits: hugepageLimits.map(({ pageSize, limit }) => ({ pageSize, limit: unlimited(limit) })),
    }),
  };
}

function unlimited(value: number | bigint): number {
  return typeof value === "bigint" || value > Number.MAX_SAFE_INTEGER ? -1 : value;
}

function absolute(path: string, base: string): string {
  return path.startsWith("/") ? path : `${base}/${path}`;
}
