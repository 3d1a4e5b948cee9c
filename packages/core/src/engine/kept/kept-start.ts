import { type Fd, mkdirSync, removeTree, writeNewSync } from "@bantubox/ffi";
import { buildFact, nodeFact, textFact } from "@bantubox/ffi/facts";
import type { Fact } from "@bantubox/ffi/line";
import type { Image } from "@bantubox/image/store";
import type { NetworkStart } from "../create/network.ts";
import type { ContainerOptions } from "../create/options.ts";
import type { Container } from "../state/container.ts";
import { containerDirectory, type Engine } from "../state/engine.ts";
import { makeLocked } from "../state/lock.ts";
import { nameOf } from "../state/names.ts";
import { recordPath, recordText } from "../state/rowless.ts";
import type { BridgePlaces } from "./bridge-places.ts";
import { belowFact } from "./facts.ts";
import { readKept } from "./kept-file.ts";

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

const ID_LENGTH = 64;
/** What the hostname shows of an ID. */
const SHORT_LENGTH = 12;

/** What a start's plan was made of, and the same as a text. */
export interface StartKey {
  readonly facts: readonly Fact[];
  readonly text: string;
}

/**
 * The key of a start whose plan can be kept, or undefined: nothing of it may
 * be allocated, or looked up anywhere but in the image and in these facts.
 *
 * @param image Undefined for a root directory.
 */
export function keyOf(engine: Engine, options: ContainerOptions, image: Image | undefined): StartKey | undefined {
  const { autoRemove, name, network, mounts = [], securityOpt = [], cidfile, privileged, pull } = options;
  if (!autoRemove || name !== undefined || !isKeptNetwork(network) || cidfile !== undefined || privileged)
    return undefined;
  if (mounts.length > 0 || securityOpt.length > 0 || pull === "always" || options.platform !== undefined)
    return undefined;
  if (image !== undefined && image.config.volumes.length > 0) return undefined;
  // It may be another one than the store's, which the longer way says.
  if (engine.storageDriver !== undefined || options.storageSizeBytes !== undefined) return undefined;
  // A relative directory is another one elsewhere.
  if (image === undefined && !options.image.startsWith("/")) return undefined;
  const facts = [
    buildFact(),
    ...cgroupFacts(),
    textFact("/etc/resolv.conf"),
    // Where that names systemd-resolved only.
    textFact("/run/systemd/resolve/resolv.conf"),
    // What this process may hand on: capabilities, and its limits.
    textFact("/proc/self/status", "CapBnd:"),
    textFact("/proc/self/limits"),
    textFact("/sys/module/apparmor/parameters/enabled"),
    // Cpusets are filled from the host's, and each processor may bring paths to hide.
    textFact("/sys/devices/system/cpu/online"),
    // Its users are looked up in the directory itself; an image's never change.
    ...(image === undefined || image.kind === "host" ? accountFacts(image === undefined ? options.image : "/") : []),
  ];
  const text = [JSON.stringify(options), image?.id ?? "", engine.root, engine.runRoot];
  for (const { path, value } of facts) text.push(path, value);
  return { facts, text: text.join("\0") };
}

/** None, or the bridge: its address is all that is allocated, and kept-bridge.ts sees to it. */
function isKeptNetwork(network = "bridge"): boolean {
  return network === "none" || network === "bridge" || network === "default";
}

/** The plan that was kept under `key`. */
export function recall({ runRoot }: Engine, key: StartKey): KeptStart | undefined {
  const kept = readKept<Omit<KeptStart, "plan">>(`${runRoot}/plans`, key.text);
  return kept && { ...kept.facts, plan: kept.plan };
}

/** Makes a new container of a start that was kept; one on the bridge has no address yet. @returns Its lock, and its plan. */
export function makeKept(engine: Engine, kept: KeptStart): MadeStart {
  const random = crypto.getRandomValues(new Uint8Array(ID_LENGTH / 2));
  const id = random.toHex();
  const old = kept.container.id;
  const config = rename(kept.config, old, id);
  const text = rename(recordText(kept.container), old, id);
  const lock = makeLocked(engine, id);
  try {
    fill(engine, id, config, text);
  } catch (error) {
    using _lock = lock;
    removeTree(containerDirectory(engine, id));
    throw error;
  }
  const now = Date.now();
  const container = { ...(JSON.parse(text) as Container), name: nameOf(id), createdMs: now, startedMs: now };
  return { container, lock, config, plan: renameIn(kept, id) };
}

function fill(engine: Engine, id: string, config: string, record: string): void {
  const directory = containerDirectory(engine, id);
  for (const name of ["rootfs", "upper", "work"]) mkdirSync(`${directory}/${name}`, { mode: 0o755 });
  writeNewSync(`${directory}/config.json`, config, 0o600);
  writeNewSync(recordPath(engine, id), record, 0o600);
}

/** Takes back what `makeKept` made, and its address. */
export async function forgetKept(engine: Engine, { container, lock }: MadeStart): Promise<void> {
  const { removeCompletely } = await import("../state/sweep.ts");
  removeCompletely(engine, container.id);
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
  /** Text of config.json. */
  readonly config: string;
  readonly plan: Uint8Array;
  /** Of a container on the bridge. */
  readonly network?: NetworkStart;
}

/** Where the cgroup file systems are, and whether our parent groups in them are the ones that stood before. */
function cgroupFacts(): Fact[] {
  const mounts = textFact("/proc/self/mountinfo", " - cgroup");
  const facts = [mounts];
  for (const line of mounts.value.split("\n")) {
    if (line !== "") facts.push(nodeFact(`${line.split(" ", 5)[4]}/bantubox`, "i"));
  }
  return facts;
}

/** The directory's users; nothing of it is trusted, not even that these are files. */
function accountFacts(path: string): Fact[] {
  return [belowFact(path, "etc/passwd"), belowFact(path, "etc/group")];
}
