import { BoxError, readIfThere } from "@bantubox/ffi";
import { groupOfUnit } from "../path.ts";
import type { LinuxResources } from "../resources.ts";
import { callManager, propertyWords } from "./bus.ts";
import { annotatedProperties, deviceProperties, flag, limitProperties, text, type UnitProperty } from "./properties.ts";

/** A group that systemd makes, and looks after, for somebody else: a unit of type scope. */
export interface Scope {
  /** `docker-ID.scope` */
  readonly unit: string;
  readonly properties: readonly UnitProperty[];
}

/** How long systemd may take to move a process into its scope. */
const START_MS = 30_000;
const ASK_MS = 500;

/** @param id Of the container, for people who look at the unit. */
export function planScope(
  { unit, slice }: { readonly unit: string; readonly slice: string },
  {
    id,
    resources,
    annotations,
  }: { id: string; resources: LinuxResources; annotations: Readonly<Record<string, string>> | undefined },
): Scope {
  return {
    unit,
    properties: [
      text("Description", `container ${id}`),
      text("Slice", slice),
      flag("DefaultDependencies", false),
      // Its files are ours to write, and what lies below it the container's.
      flag("Delegate", true),
      ...["CPU", "Memory", "IO", "Tasks"].map((what) => flag(`${what}Accounting`, true)),
      // One that fails is forgotten like one that ends: its name is free again.
      text("CollectMode", "inactive-or-failed"),
      ...limitProperties(resources),
      ...deviceProperties(resources.devices, readIfThere("/proc/devices") ?? ""),
      ...annotatedProperties(annotations),
    ],
  };
}

/**
 * Has systemd make the scope, around a process that is there already: without one it makes none, and it removes the
 * scope when the last has left. Returns when the process is inside, which systemd's answer does not say yet.
 *
 * @throws {BoxError} `systemd-failed`
 */
export function startScope({ unit, properties }: Scope, pid: number): void {
  const inside: UnitProperty = { name: "PIDs", signature: "au", values: [1, pid] };
  const words = propertyWords([...properties, inside]);
  callManager("StartTransientUnit", "ssa(sv)a(sa(sv))", [unit, "fail", ...words, "0"]);
  const deadline = performance.now() + START_MS;
  for (let ask = performance.now() + ASK_MS; !isInside(unit, pid); Bun.sleepSync(1)) {
    if (performance.now() > deadline) {
      throw new BoxError("systemd-failed", `Cannot start "${unit}": systemd did not do so in ${START_MS} ms`);
    }
    if (performance.now() < ask) continue;
    // A job that failed takes the unit along.
    callManager("GetUnit", "s", [unit]);
    ask = performance.now() + ASK_MS;
  }
}

/** Tells systemd of other limits; those of the group's files are not its business. */
export function limitScope(unit: string, resources: LinuxResources): void {
  const properties = limitProperties(resources);
  if (properties.length === 0) return;
  // Until the next boot, as the scope itself.
  callManager("SetUnitProperties", "sba(sv)", [unit, "true", ...propertyWords(properties)]);
}

/** Has systemd forget the scope; one that is gone is fine. */
export function stopScope(unit: string): void {
  try {
    callManager("StopUnit", "ss", [unit, "replace"]);
  } catch (error) {
    if (!(error instanceof BoxError && error.code === "no-systemd-unit")) throw error;
  }
}

function isInside(unit: string, pid: number): boolean {
  const groups = readIfThere(`/proc/${pid}/cgroup`);
  if (groups === undefined) throw new BoxError("systemd-failed", `Cannot start "${unit}": its first process has ended`);
  return groups
    .split("\n")
    .some((line) => /^\d+:(name=systemd)?:/.test(line) && line.endsWith(`/${groupOfUnit(unit)}`));
}
