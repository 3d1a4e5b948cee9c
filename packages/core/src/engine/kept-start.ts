import {
  AT,
  allocate,
  attempt,
  cstr,
  existsSync,
  type Fd,
  isErrno,
  mkdirSync,
  nodeFs,
  readIfThere,
  readTextSync,
  writeNewSync,
} from "@bantubox/ffi";
import type { Image } from "@bantubox/image/store";
import type { RootFs } from "../runtime/rootfs.ts";
import type { Container } from "./container.ts";
import { containerDirectory, type Engine } from "./engine.ts";
import { openDirectory } from "./image-root.ts";
import { buildOf, NOT_KEPT, readKept, writeKept } from "./kept-file.ts";
import { makeLocked } from "./lock.ts";
import { nameOf } from "./names.ts";
import type { NetworkStart } from "./network.ts";
import type { ContainerOptions } from "./options.ts";
import { padAddress } from "./pad-address.ts";
import { recordPath } from "./rowless.ts";
import { readBelow } from "./users.ts";

/**
 * A plan is a function of the options, the image and a few facts of the host,
 * and compiling it takes a cold process longer than carrying it out. So plans
 * of plain `run --rm`s are kept in the run directory; from one start to the
 * next only the container's ID changes, which always has 64 digits.
 *
 * Whatever the function reads is in the key. A start that fails forgets all
 * plans that are kept (failed.ts), and a reboot does.
 */
export interface KeptStart {
  readonly container: Container;
  /** Text of config.json. */
  readonly config: string;
  readonly plan: Uint8Array;
  /** Where in the plan the ID stands, and where only its beginning. */
  readonly whole: readonly number[];
  readonly short: readonly number[];
  /** Where the container's address stands, and what makes its link. */
  readonly bridge?: BridgePlaces;
}

/** Offsets in the plan of what a container on the bridge has of its own, each as long as any other container's. */
export interface BridgePlaces {
  readonly host: number;
  readonly inside: number;
  readonly address: number;
}

const ID_LENGTH = 64;
/** What the hostname shows of an ID. */
const SHORT_LENGTH = 12;
/** Kept at most; a new one after that begins anew. */
const MAX_PLANS = 64;

/**
 * The key of a start whose plan can be kept, or undefined: nothing of it may
 * be allocated, or looked up anywhere but in the image and in these facts.
 *
 * @param image Undefined for a root directory.
 */
export function keyOf(engine: Engine, options: ContainerOptions, image: Image | undefined): string | undefined {
  const { autoRemove, name, network, mounts = [], securityOpt = [], cidfile, privileged, pull } = options;
  if (!autoRemove || name !== undefined || !isKeptNetwork(network) || cidfile !== undefined || privileged)
    return undefined;
  if (mounts.length > 0 || securityOpt.length > 0 || pull === "always" || options.platform !== undefined)
    return undefined;
  if (image !== undefined && image.config.volumes.length > 0) return undefined;
  // It may be another one than the store's, which the longer way says.
  if (engine.storageDriver !== undefined) return undefined;
  // A relative directory is another one elsewhere.
  if (image === undefined && !options.image.startsWith("/")) return undefined;
  const facts = [
    JSON.stringify(options),
    image?.id ?? "",
    engine.root,
    engine.runRoot,
    buildOf(),
    cgroupsOf(),
    readIfThere("/etc/resolv.conf") ?? "",
    boundsOf(),
    // Cpusets are filled from the host's, and each processor may bring paths to hide.
    readIfThere("/sys/devices/system/cpu/online") ?? "",
    // Its users are looked up in the directory itself; an image's never change.
    image === undefined || image.kind === "host" ? accountsOf(image === undefined ? options.image : "/") : "",
  ];
  return facts.join("\0");
}

/** None, or the bridge: its address is all that is allocated, and kept-bridge.ts sees to it. */
function isKeptNetwork(network = "bridge"): boolean {
  return network === "none" || network === "bridge" || network === "default";
}

/** The plan that was kept under `key`. */
export function recall({ runRoot }: Engine, key: string): KeptStart | undefined {
  const kept = readKept<Omit<KeptStart, "plan">>(`${runRoot}/plans`, key);
  return kept && { ...kept.facts, plan: kept.plan };
}

/** Keeps a start, as it was compiled for one container. */
export function keep({ runRoot }: Engine, key: string, start: CompiledStart): void {
  const kept = withPlaces(start);
  if (kept === undefined) return;
  const directory = `${runRoot}/plans`;
  if (!existsSync(directory)) mkdirSync(directory, { mode: 0o700 });
  if (nodeFs().readdirSync(directory).length >= MAX_PLANS) forgetAll({ runRoot });
  try {
    const { plan, ...facts } = kept;
    writeKept(directory, key, facts, plan);
  } catch (error) {
    // Forgotten by another command meanwhile, or no room: the next start compiles its plan again.
    if (!isErrno(error, ...NOT_KEPT)) throw error;
  }
}

/** Forgets every plan that is kept. */
export function forgetAll({ runRoot }: Pick<Engine, "runRoot">): void {
  const directory = `${runRoot}/plans`;
  if (!existsSync(directory)) return;
  for (const name of nodeFs().readdirSync(directory))
    nodeFs().rmSync(`${directory}/${name}`, { recursive: true, force: true });
}

/** Makes a new container of a start that was kept, without a row unless it `hasRow`. @returns Its lock, and its plan. */
export function makeKept(engine: Engine, kept: KeptStart, hasRow = false): MadeStart {
  const random = crypto.getRandomValues(new Uint8Array(ID_LENGTH / 2));
  const id = random.toHex();
  const old = kept.container.id;
  const directory = containerDirectory(engine, id);
  const lock = makeLocked(engine, id);
  for (const name of ["rootfs", "upper", "work"]) mkdirSync(`${directory}/${name}`, { mode: 0o755 });
  writeNewSync(`${directory}/config.json`, rename(kept.config, old, id), 0o600);
  const now = Date.now();
  const text = rename(JSON.stringify({ ...kept.container, name: nameOf(id), createdMs: now, startedMs: now }), old, id);
  if (!hasRow) writeNewSync(recordPath(engine, id), text, 0o600);
  return { container: JSON.parse(text) as Container, lock, plan: renameIn(kept, id) };
}

/** Takes back what `makeKept` made. */
export function forgetKept(engine: Engine, { id }: Container, lock: Fd): void {
  nodeFs().rmSync(containerDirectory(engine, id), { recursive: true, force: true });
  lock.close();
}

/** An ID and its beginning, wherever they stand. */
function rename(text: string, old: string, id: string): string {
  return text.replaceAll(old, id).replaceAll(old.slice(0, SHORT_LENGTH), id.slice(0, SHORT_LENGTH));
}

/** As `rename`, in the plan's bytes: both IDs have the same length, so no offset changes. */
function renameIn({ plan, whole, short }: KeptStart, id: string): Uint8Array {
  const digits = new TextEncoder().encode(id);
  for (const at of whole) plan.set(digits, at);
  const beginning = digits.subarray(0, SHORT_LENGTH);
  for (const at of short) plan.set(beginning, at);
  return plan;
}

/** A new container, its lock and its plan. */
export interface MadeStart {
  readonly container: Container;
  readonly lock: Fd;
  readonly plan: Uint8Array;
}

/** A start as it was compiled for one container. */
export interface CompiledStart extends Pick<KeptStart, "container" | "config" | "plan"> {
  readonly network: NetworkStart;
}

/** A start that can be made another container's; undefined where it has a root of its own, or its address cannot be told from the rest. */
export function withPlaces({ network, ...start }: CompiledStart): KeptStart | undefined {
  if (!isShared(start.container.launch.root)) return undefined;
  const bridge = bridgePlaces(start.plan, network);
  if (bridge === undefined && network.address !== undefined) return undefined;
  return { ...start, ...placesOf(start.plan, start.container.id), ...(bridge === undefined ? {} : { bridge }) };
}

/** Whether all that the root needs to be there first is an empty directory: no copy of the image, no links to its layers. */
function isShared(root: RootFs): boolean {
  if (root.kind === "directory") return root.origin === undefined;
  return root.kind === "memory-overlay" || !root.base.startsWith(`${root.directory}/`);
}

function placesOf(plan: Uint8Array, id: string): Pick<KeptStart, "whole" | "short"> {
  const bytes = Buffer.from(plan.buffer, plan.byteOffset, plan.length);
  const [whole, short]: [number[], number[]] = [[], []];
  const beginning = id.slice(0, SHORT_LENGTH);
  for (let at = bytes.indexOf(beginning); at !== -1; at = bytes.indexOf(beginning, at + SHORT_LENGTH)) {
    const isWhole = bytes.toString("latin1", at, at + ID_LENGTH) === id;
    (isWhole ? whole : short).push(at);
  }
  return { whole, short };
}

function bridgePlaces(plan: Uint8Array, { setup, address }: NetworkStart): BridgePlaces | undefined {
  if (setup.kind !== "veth" || address === undefined) return undefined;
  const bytes = Buffer.from(plan.buffer, plan.byteOffset, plan.length);
  const places = {
    host: bytes.indexOf(setup.veth.host),
    inside: bytes.indexOf(setup.veth.inside),
    address: bytes.indexOf(`${padAddress(address)}\t`),
  };
  return Object.values(places).includes(-1) ? undefined : places;
}

/** Where the cgroup file systems are, and whether our parent groups in them are the ones that stood before. */
function cgroupsOf(): string {
  const mounts: string[] = [];
  const text = readTextSync("/proc/self/mountinfo");
  for (let at = text.indexOf(" - cgroup"); at !== -1; at = text.indexOf(" - cgroup", at + 1)) {
    const start = text.lastIndexOf("\n", at) + 1;
    const line = text.slice(start, text.indexOf("\n", at));
    const mount = line.split(" ", 5)[4] ?? "";
    mounts.push(line, inodeOf(`${mount}/bantubox`));
  }
  return mounts.join("\n");
}

function inodeOf(path: string): string {
  const memory = allocate(256);
  const STATX_INO = 0x100;
  if (attempt("statx", AT.FDCWD, cstr(path), 0, STATX_INO, memory) < 0) return "-";
  const words = new Uint32Array(memory.buffer);
  return `${words[8]}:${words[9]}`;
}

/** What this process may hand on: capabilities, and its limits. */
function boundsOf(): string {
  const status = readTextSync("/proc/self/status");
  const at = status.indexOf("CapBnd:");
  return `${status.slice(at, at + 24)} ${readTextSync("/proc/self/limits")} ${readIfThere("/sys/module/apparmor/parameters/enabled") ?? ""}`;
}

/** The directory's users; nothing of it is trusted, not even that these are files. */
function accountsOf(path: string): string {
  using root = openDirectory(path);
  return `${readBelow(root.raw, "etc/passwd")}\0${readBelow(root.raw, "etc/group")}`;
}
