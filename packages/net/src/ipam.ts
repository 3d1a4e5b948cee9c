/** Leases of addresses: rows, whose uniqueness the database sees to. */
import type { Database } from "bun:sqlite";
import { BoxError } from "@bantubox/ffi";
import { formatIpv4, parseIpv4, parseSubnet } from "./cidr.ts";

export interface LeaseRequest {
  /** The network's name or id; leases of different networks know nothing of each other. */
  readonly network: string;
  readonly subnet: string;
  readonly gateway: string;
  /** Who gets it, such as a container's id. */
  readonly owner: string;
  /**
   * Whether an owner still may use its address. Asked for every owner, within the transaction, but only when no
   * address is left. Must be true for a container that is being made.
   */
  readonly isAlive: (owner: string) => boolean;
}

/** Makes the tables if there are none. */
export function createLeaseTable(db: Database): void {
  db.run(
    `CREATE TABLE IF NOT EXISTS lease (
       network TEXT NOT NULL, address INTEGER NOT NULL, owner TEXT NOT NULL,
       PRIMARY KEY (network, address), UNIQUE (owner, network)
     ) STRICT, WITHOUT ROWID`,
  );
  // The address that was given last: the next lease looks behind it, so that a freed one rests as long as possible.
  db.run(
    "CREATE TABLE IF NOT EXISTS lease_cursor (network TEXT PRIMARY KEY, address INTEGER NOT NULL) STRICT, WITHOUT ROWID",
  );
}

/**
 * Gives `owner` an address of the network; the same one again if it has one.
 *
 * One immediate transaction, or part of the one that the caller is in.
 *
 * @returns The address without a prefix: `10.88.0.2`.
 * @throws {BoxError} `network-full`, `bad-subnet`, `bad-address`
 */
export function leaseAddress(db: Database, request: LeaseRequest): string {
  const { network, owner } = request;
  const take = db.transaction(() => {
    const held = db
      .query<{ address: number }, [string, string]>("SELECT address FROM lease WHERE owner = ? AND network = ?")
      .get(owner, network);
    if (held !== null) return held.address;
    const address = findFree(db, request) ?? (sweep(db, request) ? findFree(db, request) : undefined);
    if (address === undefined) throw networkFull(request);
    db.query("INSERT INTO lease (network, address, owner) VALUES (?, ?, ?)").run(network, address, owner);
    db.query("INSERT OR REPLACE INTO lease_cursor (network, address) VALUES (?, ?)").run(network, address);
    return address;
  });
  return formatIpv4(take.immediate());
}

/** Takes back every address that `owner` has, in all networks. */
export function releaseAddress(db: Database, owner: string): void {
  db.query("DELETE FROM lease WHERE owner = ?").run(owner);
}

/** Forgets a network that is no more, with all its leases. */
export function forgetNetwork(db: Database, network: string): void {
  const forget = db.transaction(() => {
    db.query("DELETE FROM lease WHERE network = ?").run(network);
    db.query("DELETE FROM lease_cursor WHERE network = ?").run(network);
  });
  forget.immediate();
}

/** The first free address behind the cursor, or else from the start. */
function findFree(db: Database, { network, subnet: text, gateway: gatewayText }: LeaseRequest): number | undefined {
  const subnet = parseSubnet(text);
  const gateway = parseIpv4(gatewayText);
  const first = subnet.base + 1;
  const last = subnet.broadcast - 1;
  const cursor = db
    .query<{ address: number }, [string]>("SELECT address FROM lease_cursor WHERE network = ?")
    .get(network);
  const start = cursor === null ? first : cursor.address + 1;
  // A cursor may be of a former subnet with the same name.
  if (start >= first && start <= last) {
    const behind = firstGap(db, network, gateway, start, last);
    if (behind !== undefined) return behind;
  }
  return firstGap(db, network, gateway, first, last);
}

function firstGap(db: Database, network: string, gateway: number, from: number, last: number): number | undefined {
  for (let candidate = from; candidate <= last; candidate++) {
    if (candidate === gateway) continue;
    if (!isTaken(db, network, candidate)) return candidate;
    // The end of the run of leases that the candidate lies in, found by the index.
    const end = db
      .query<{ address: number }, [string, number]>(
        `SELECT address FROM lease AS l WHERE network = ?1 AND address >= ?2
           AND NOT EXISTS (SELECT 1 FROM lease WHERE network = ?1 AND address = l.address + 1)
         ORDER BY address LIMIT 1`,
      )
      .get(network, candidate);
    candidate = end?.address ?? candidate;
  }
  return undefined;
}

function isTaken(db: Database, network: string, address: number): boolean {
  return db.query("SELECT 1 FROM lease WHERE network = ? AND address = ?").get(network, address) !== null;
}

/** Takes back what owners left behind that were killed before they could. Whether there was any. */
function sweep(db: Database, { network, isAlive }: LeaseRequest): boolean {
  const owners = db.query<{ owner: string }, [string]>("SELECT owner FROM lease WHERE network = ?").all(network);
  let found = false;
  for (const { owner } of owners) {
    if (isAlive(owner)) continue;
    db.query("DELETE FROM lease WHERE network = ? AND owner = ?").run(network, owner);
    found = true;
  }
  return found;
}

function networkFull({ network, subnet }: LeaseRequest): BoxError {
  const { base, broadcast } = parseSubnet(subnet);
  const count = broadcast - base - 2;
  const addresses = count === 1 ? "its only address is" : `all its ${count} addresses are`;
  return new BoxError(
    "network-full",
    `Cannot lease an address of network ${JSON.stringify(network)}: ${addresses} taken`,
    {
      hint: "Remove containers that are not needed, or use a network with a larger subnet",
    },
  );
}
