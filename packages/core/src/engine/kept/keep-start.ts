import { existsSync, isErrno, mkdirSync, nodeFs } from "@bantubox/ffi";
import { placesOf } from "@bantubox/ffi/line";
import type { RootFs } from "../../runtime/rootfs.ts";
import type { NetworkStart } from "../create/network.ts";
import type { Engine } from "../state/engine.ts";
import { findBridgePlaces } from "./bridge-places.ts";
import { NOT_KEPT, writeKept } from "./kept-file.ts";
import type { KeptStart, StartKey } from "./kept-start.ts";

/** Kept at most; a new one after that begins anew. */
const MAX_PLANS = 128;

/** A start as it was compiled for one container. */
export interface CompiledStart extends Pick<KeptStart, "container" | "config" | "plan"> {
  readonly network: NetworkStart;
}

/** A start that can be made another container's; undefined where it has a root of its own, or its address cannot be told from the rest. */
export function withPlaces({ network, ...start }: CompiledStart): KeptStart | undefined {
  if (!isShared(start.container.launch.root)) return undefined;
  const bridge = findBridgePlaces(start.plan, network);
  if (bridge === undefined && network.bridged !== undefined) return undefined;
  return { ...start, ...idPlaces(start.plan, start.container.id), ...(bridge === undefined ? {} : { bridge }) };
}

function idPlaces(plan: Uint8Array, id: string): Pick<KeptStart, "whole" | "short"> {
  const places = placesOf(plan, [{ index: "fresh", text: id }]);
  const of = (isWhole: boolean): number[] =>
    places.filter(({ bytes }) => (bytes === id.length) === isWhole).map(({ offset }) => offset);
  return { whole: of(true), short: of(false) };
}

/** Whether all that the root needs to be there first is an empty directory: no copy of the image, no links to its layers. */
function isShared(root: RootFs): boolean {
  if (root.kind === "directory") return root.origin === undefined;
  return root.kind !== "overlay" || !root.base.startsWith(`${root.directory}/`);
}

/** Keeps a start, as it was compiled for one container. @returns It, unless it is one that cannot be kept. */
export function keep({ runRoot }: Engine, key: StartKey, start: CompiledStart): KeptStart | undefined {
  const kept = withPlaces(start);
  if (kept === undefined) return undefined;
  const directory = plansDirectory({ runRoot });
  try {
    const { plan, ...facts } = kept;
    writeKept(directory, key.text, facts, plan);
    return kept;
  } catch (error) {
    // Forgotten by another command meanwhile, or no room: the next start compiles its plan again.
    if (!isErrno(error, ...NOT_KEPT)) throw error;
    return undefined;
  }
}

/** Where plans are kept, with room for one more. */
export function plansDirectory({ runRoot }: Pick<Engine, "runRoot">): string {
  const directory = `${runRoot}/plans`;
  if (!existsSync(directory)) mkdirSync(directory, { mode: 0o700, recursive: true });
  if (nodeFs().readdirSync(directory).length >= MAX_PLANS) forgetAll({ runRoot });
  return directory;
}

/** Forgets every plan that is kept. */
export function forgetAll({ runRoot }: Pick<Engine, "runRoot">): void {
  const directory = `${runRoot}/plans`;
  if (!existsSync(directory)) return;
  for (const name of nodeFs().readdirSync(directory))
    nodeFs().rmSync(`${directory}/${name}`, { recursive: true, force: true });
}
