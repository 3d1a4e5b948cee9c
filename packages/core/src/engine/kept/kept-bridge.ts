import { prepareNetwork } from "../create/network.ts";
import { padAddress } from "../create/pad-address.ts";
import { writeRow } from "../state/container.ts";
import type { Engine } from "../state/engine.ts";
import { sweepEnded } from "../state/rows.ts";
import { type BridgePlaces, type KeptStart, type MadeStart, makeKept } from "./kept-start.ts";

/**
 * Makes a container on the bridge of a start that was kept: it has an address,
 * and so a row, and its link and its hosts file are its own.
 *
 * @throws {BoxError} When no address or link can be had; nothing is left then.
 */
export async function makeKeptOnBridge(engine: Engine, kept: KeptStart, places: BridgePlaces): Promise<MadeStart> {
  const made = makeKept(engine, kept, true);
  const { container, lock, plan } = made;
  try {
    const write = engine.database.transaction(() => {
      sweepEnded(engine, undefined);
      const imageName = container.imageName === container.image ? "" : container.imageName;
      if (!writeRow(engine, container, imageName)) throw new Error(`The name ${container.name} is taken`);
    });
    write.immediate();
    const { setup, address } = prepareNetwork(engine, container);
    if (setup.kind !== "veth" || address === undefined) throw new TypeError("The kept container has no bridge");
    plan.set(setup.veth.host, places.host);
    plan.set(setup.veth.inside, places.inside);
    plan.set(new TextEncoder().encode(padAddress(address)), places.address);
    return made;
  } catch (error) {
    const { removeCompletely } = await import("../state/sweep.ts");
    removeCompletely(engine, container.id);
    lock.close();
    throw error;
  }
}
