import { prepareNetwork } from "../create/network.ts";
import type { Engine } from "../state/engine.ts";
import { type BridgePlaces, fillBridge } from "./bridge-places.ts";
import { forgetKept, type KeptStart, type MadeStart, makeKept } from "./kept-start.ts";

/** Who is on a bridge joins nobody's network. */
const NO_FD = -1;

/**
 * Makes a container on the bridge of a start that was kept: its address, its link and its hosts file are its own.
 *
 * @throws {BoxError} When no address or link can be had; nothing is left then.
 */
export async function makeKeptOnBridge(engine: Engine, kept: KeptStart, places: BridgePlaces): Promise<MadeStart> {
  const made = makeKept(engine, kept);
  try {
    const network = prepareNetwork(engine, made.container, NO_FD);
    fillBridge(made.plan, places, network);
    return { ...made, network };
  } catch (error) {
    await forgetKept(engine, made);
    throw error;
  }
}
