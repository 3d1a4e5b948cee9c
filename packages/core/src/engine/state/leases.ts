import { existsSync, nodeFs, readIfThere, writeNewSync } from "@bantubox/ffi";
import { type BridgeNetwork, formatIpv4, parseIpv4 } from "@bantubox/net";
import { type Hold, leaseAddress, leaseName, ownerOf, releaseAddress, sweepLeases } from "@bantubox/net/leases";
import { containerDirectory, type Engine } from "./engine.ts";
import { tryLock } from "./lock.ts";
import { readStatus } from "./status.ts";

/** In a container's directory: the name of its lease, so that it need not be looked for. */
export const ADDRESS_FILE = "address";

/**
 * Where the addresses of containers are leased. It does not survive a reboot; then every container that starts asks
 * for the address that it had.
 */
export function leasesDirectory({ runRoot }: Pick<Engine, "runRoot">): string {
  return `${runRoot}/leases`;
}

/** Gives a container, whose lock the caller holds, its address on a bridge: `10.88.0.2`. @throws {BoxError} `network-full` */
export function takeAddress(engine: Engine, id: string, { subnet, gateway }: BridgeNetwork): string {
  const former = readFormer(engine, id);
  const address = leaseAddress({
    directory: leasesDirectory(engine),
    subnet,
    gateway,
    owner: id,
    former,
    hold: (owner) => holdEnded(engine, owner),
  });
  if (address !== former) {
    if (former !== undefined) nodeFs().rmSync(addressPath(engine, id));
    writeNewSync(addressPath(engine, id), leaseName(address), 0o600);
  }
  return formatIpv4(address);
}

/** Has a new container ask for an address: the one that it had elsewhere. */
export function wishAddress(engine: Engine, id: string, address: string): void {
  writeNewSync(addressPath(engine, id), leaseName(parseIpv4(address)), 0o600);
}

/** The address that a container holds, if there is one. */
export function heldAddress(engine: Engine, id: string): string | undefined {
  const address = readFormer(engine, id);
  const isHeld = address !== undefined && ownerOf(leasesDirectory(engine), address) === id;
  return isHeld ? formatIpv4(address) : undefined;
}

/** Takes back the address of a container, whose lock the caller holds, before its directory goes. */
export function releaseHeld(engine: Engine, id: string): void {
  const address = readFormer(engine, id);
  if (address !== undefined) releaseAddress(leasesDirectory(engine), address, id);
}

/** Takes back what was leased to containers of which nothing is left. */
export function sweepAddresses(engine: Engine): void {
  sweepLeases(leasesDirectory(engine), (owner) => holdGone(engine, owner));
}

function addressPath(engine: Engine, id: string): string {
  return `${containerDirectory(engine, id)}/${ADDRESS_FILE}`;
}

function readFormer(engine: Engine, id: string): number | undefined {
  const name = readIfThere(addressPath(engine, id));
  // Its writer may have been killed on the way.
  return name !== undefined && /^[0-9a-f]{8}$/.test(name) ? Number.parseInt(name, 16) : undefined;
}

/** Without its directory, which is the first of it and the last, a container does not come back: IDs are not used twice. */
function holdGone(engine: Engine, owner: string): Disposable | undefined {
  return existsSync(containerDirectory(engine, owner)) ? undefined : { [Symbol.dispose]: () => undefined };
}

/** An address is its container's while that runs, starts or clears up. */
function holdEnded(engine: Engine, owner: string): ReturnType<Hold> {
  const gone = holdGone(engine, owner);
  if (gone !== undefined) return gone;
  const lock = tryLock(engine, owner);
  if (lock === undefined || readStatus(engine, { id: owner, startedMs: 0 }).state !== "running") return lock;
  lock.close();
  return undefined;
}
