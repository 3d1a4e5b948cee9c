import { isErrno } from "@bantubox/ffi";
import { buildFact, nodeFact, openFiles, textFact, thawedFacts } from "@bantubox/ffi/facts";
import {
  ADDRESS_BYTES,
  type EnterLine,
  encodeLine,
  type Fact,
  HOLE,
  lineName,
  type MakeLine,
  type Place,
  wordBytes,
} from "@bantubox/ffi/line";
import { findImage, markImages } from "@bantubox/image";
import { parseIpv4 } from "@bantubox/net";
import { leaseName, leaseRange } from "@bantubox/net/leases";
import { PASSED_FD } from "../../runtime/become.ts";
import { RECORD } from "../../runtime/records.ts";
import type { Bridged, NetworkStart } from "../create/network.ts";
import type { ContainerOptions } from "../create/options.ts";
import { BOOT_ID } from "../state/boot.ts";
import { containerDirectory, type Engine, runDirectory } from "../state/engine.ts";
import { ADDRESS_FILE, leasesDirectory } from "../state/leases.ts";
import { recordText } from "../state/rowless.ts";
import { bridgeFacts } from "./bridge-facts.ts";
import { type BridgePlaces, bridgePlacesFor } from "./bridge-places.ts";
import { plansDirectory } from "./keep-start.ts";
import type { KeptExec } from "./kept-exec.ts";
import { NOT_KEPT, writeWhole } from "./kept-file.ts";
import type { KeptStart, StartKey } from "./kept-start.ts";

/**
 * Command lines that were carried out, for the front of the executable
 * (ffi/c/front.c): it compares every fact that this writes down, and carries the
 * same line out without Bun. What it cannot compare is not remembered.
 */

/** A start whose plan is kept, as it is one container's. */
export interface RememberedStart extends Pick<KeptStart, "container" | "config" | "plan"> {
  readonly bridge?: BridgePlaces | undefined;
  readonly network?: NetworkStart | undefined;
}

/** Remembers a `run` whose plan is kept. */
export function rememberRun(
  engine: Engine,
  words: readonly string[],
  options: ContainerOptions,
  key: StartKey,
  { container, config, plan, bridge, network }: RememberedStart,
): void {
  const leased = bridge === undefined ? NOTHING_LEASED : leaseFor(engine, container.id, plan, bridge, network?.bridged);
  if (leased === undefined) return;
  const facts: Fact[] = [...storeFacts(engine), ...key.facts, ...leased.facts];
  if (container.image.startsWith("sha256:")) {
    const mark = markImages(engine, () => findImage(engine, options.image)?.id === container.image);
    if (mark === undefined) return;
    facts.push({ kind: "text", path: mark.path, detail: "", value: mark.text, isLate: true });
  }
  write(engine, {
    kind: "make",
    skeleton: wordBytes(words),
    facts,
    holes: [{ index: "fresh", text: container.id }],
    directory: containerDirectory(engine, container.id),
    mode: 0o700,
    subdirectories: ["rootfs", "upper", "work"],
    files: [["config.json", config], ["container.json", recordText(container)], ...leased.files],
    plan,
    lease: leased.range,
    planPlaces: leased.places,
    passed: PASSED_FD,
    nofile: openFiles(),
  });
}

/** What the front needs to give a container an address. */
interface Leased {
  readonly facts: readonly Fact[];
  readonly files: MakeLine["files"];
  readonly places: readonly Place[];
  readonly range?: MakeLine["lease"];
}

const NOTHING_LEASED: Leased = { facts: [], files: [], places: [] };

/** @returns Undefined where the front could not tell the address's places, or the gateway is in the midst of addresses. */
function leaseFor(
  engine: Engine,
  id: string,
  plan: Uint8Array,
  places: BridgePlaces,
  bridged: Bridged | undefined,
): Leased | undefined {
  const range = bridged && leaseRange(bridged.network.subnet, bridged.network.gateway);
  if (bridged === undefined || range === undefined) return undefined;
  const found = bridgePlacesFor(id, plan, places, bridged, range);
  if (found === undefined) return undefined;
  const own: Place = { offset: 0, hole: HOLE.address, bytes: ADDRESS_BYTES.digits };
  return {
    facts: bridgeFacts(bridged),
    files: [[ADDRESS_FILE, leaseName(parseIpv4(bridged.address)), [own]]],
    places: found,
    range: { directory: leasesDirectory(engine), ...range },
  };
}

/** Remembers an `exec` whose plan is kept, into a container whose name is. */
export function rememberExec(
  engine: Engine,
  words: readonly string[],
  text: string,
  kept: Omit<KeptExec, "pidfd">,
): void {
  const { id } = kept;
  const facts: Fact[] = [
    ...storeFacts(engine),
    buildFact(),
    textFact("/proc/self/limits", "Max open files"),
    { kind: "link", path: `${engine.runRoot}/names/${text}`, detail: "", value: id },
    ...thawedFacts(kept.freezers),
  ];
  write(engine, {
    kind: "enter",
    skeleton: wordBytes(words),
    facts,
    holes: [],
    record: `${runDirectory(engine, id)}/${RECORD.pid}`,
    plan: kept.plan,
    passed: PASSED_FD,
    nofile: openFiles(),
  });
}

/** What openEngine has looked at: who may write there, and whether the run directory is of this boot. */
function storeFacts({ root, runRoot }: Engine): Fact[] {
  return [nodeFact(root, "up"), nodeFact(runRoot, "up"), textFact(`${runRoot}/boot`), textFact(BOOT_ID)];
}

function write(engine: Engine, line: MakeLine | EnterLine): void {
  try {
    writeWhole(plansDirectory(engine), lineName(line.skeleton), encodeLine(line));
  } catch (error) {
    // Forgotten by another command meanwhile, or no room: the next one is carried out by Bun again.
    if (!isErrno(error, ...NOT_KEPT)) throw error;
  }
}
