import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { createLeaseTable, forgetNetwork, leaseAddress, releaseAddress } from "./ipam.ts";

const NET = { network: "bridge", subnet: "10.88.0.0/29", gateway: "10.88.0.1" };
const alive = () => true;

function database(): Database {
  const db = new Database(":memory:", { strict: true });
  createLeaseTable(db);
  createLeaseTable(db);
  return db;
}

test("leaseAddress() gives every owner its own, and the same one again", () => {
  using db = database();
  const lease = (owner: string) => leaseAddress(db, { ...NET, owner, isAlive: alive });
  expect(["a", "b", "a", "c"].map(lease)).toEqual(["10.88.0.2", "10.88.0.3", "10.88.0.2", "10.88.0.4"]);
});

test("leaseAddress() lets a freed address rest while others are free, then wraps around", () => {
  using db = database();
  const lease = (owner: string) => leaseAddress(db, { ...NET, owner, isAlive: alive });
  lease("a");
  lease("b");
  releaseAddress(db, "a");
  expect(["c", "d", "e", "f"].map(lease)).toEqual(["10.88.0.4", "10.88.0.5", "10.88.0.6", "10.88.0.2"]);
  expect(() => lease("g")).toThrow(expect.objectContaining({ code: "network-full" }));
});

test("leaseAddress() passes over the gateway wherever it is", () => {
  using db = database();
  const lease = (owner: string) => leaseAddress(db, { ...NET, gateway: "10.88.0.4", owner, isAlive: alive });
  expect(["a", "b", "c", "d", "e"].map(lease)).toEqual([
    "10.88.0.1",
    "10.88.0.2",
    "10.88.0.3",
    "10.88.0.5",
    "10.88.0.6",
  ]);
});

test("leaseAddress() takes back the leases of the dead when the network is full, and no sooner", () => {
  using db = database();
  const dead = new Set<string>();
  let asked = 0;
  const lease = (owner: string) =>
    leaseAddress(db, {
      ...NET,
      owner,
      isAlive: (id) => {
        asked++;
        return !dead.has(id);
      },
    });
  for (const owner of ["a", "b", "c", "d", "e"]) lease(owner);
  dead.add("b").add("d");
  expect(asked).toBe(0);
  expect([lease("f"), lease("g")]).toEqual(["10.88.0.3", "10.88.0.5"]);
  expect(asked).toBe(5);
});

test.each([
  [
    "/30 has one address besides the gateway",
    "10.0.0.0/30",
    1,
    'Cannot lease an address of network "small": its only address is taken',
  ],
  ["/29 has five", "10.0.0.0/29", 5, 'Cannot lease an address of network "small": all its 5 addresses are taken'],
])("%s, then says that it is full and stays as it was", (_, subnet, count, message) => {
  using db = database();
  const lease = (owner: string) =>
    leaseAddress(db, { network: "small", subnet, gateway: "10.0.0.1", owner, isAlive: alive });
  for (let i = 0; i < count; i++) lease(String(i));
  expect(() => lease("last")).toThrow(message);
  expect(db.query("SELECT count(*) AS count FROM lease").get()).toEqual({ count });
  releaseAddress(db, "0");
  expect(lease("last")).toBe("10.0.0.2");
});

test("networks do not share addresses, and one that is forgotten starts anew", () => {
  using db = database();
  const lease = (network: string, owner: string) => leaseAddress(db, { ...NET, network, owner, isAlive: alive });
  expect([lease("one", "a"), lease("two", "a"), lease("one", "b")]).toEqual(["10.88.0.2", "10.88.0.2", "10.88.0.3"]);
  forgetNetwork(db, "one");
  expect([lease("one", "c"), lease("two", "c")]).toEqual(["10.88.0.2", "10.88.0.3"]);
});

test("leaseAddress() is part of the transaction that it is called in", () => {
  using db = database();
  const attempt = db.transaction(() => {
    leaseAddress(db, { ...NET, owner: "a", isAlive: alive });
    throw new Error("changed my mind");
  });
  expect(() => attempt.immediate()).toThrow("changed my mind");
  expect(db.query("SELECT * FROM lease").all()).toEqual([]);
});

test("leases agree with a model under any order of leasing, releasing and dying", () => {
  const step = fc.tuple(fc.constantFrom("lease", "release", "die"), fc.integer({ min: 0, max: 7 }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      using db = database();
      const held = new Map<string, string>();
      const dead = new Set<string>();
      for (const [verb, number] of steps) {
        const owner = String(number);
        if (verb === "release") {
          releaseAddress(db, owner);
          held.delete(owner);
        } else if (verb === "die") {
          dead.add(owner);
        } else {
          dead.delete(owner);
          let address: string;
          try {
            address = leaseAddress(db, { ...NET, owner, isAlive: (id) => !dead.has(id) });
          } catch (error) {
            expect(error).toMatchObject({ code: "network-full" });
            expect([...held.keys()].filter((id) => !dead.has(id)).length).toBe(5);
            continue;
          }
          if (held.has(owner)) expect(held.get(owner)).toBe(address);
          const previous = [...held].find(([id, taken]) => taken === address && id !== owner)?.[0];
          if (previous !== undefined) {
            // The dead lose their address, the living never.
            expect(dead.has(previous)).toBe(true);
            for (const id of dead) held.delete(id);
          }
          held.set(owner, address);
          expect(address).toMatch(/^10\.88\.0\.[2-6]$/);
        }
      }
    }),
    { numRuns: 60 },
  );
});

test("processes that lease at once never get the same address", async () => {
  const dir = mkdtempSync(join(tmpdir(), "bb-lease-"));
  const path = join(dir, "db");
  try {
    using db = new Database(path);
    db.run("PRAGMA journal_mode = WAL");
    createLeaseTable(db);
    const script = (name: string) => `
      import { Database } from "bun:sqlite";
      import { leaseAddress } from ${JSON.stringify(join(import.meta.dir, "ipam.ts"))};
      using db = new Database(${JSON.stringify(path)});
      db.run("PRAGMA busy_timeout = 5000");
      const net = { network: "bridge", subnet: "10.88.0.0/16", gateway: "10.88.0.1", isAlive: () => true };
      for (let i = 0; i < 40; i++) leaseAddress(db, { ...net, owner: "${name}" + i });`;
    const exits = ["a", "b", "c"].map((name) => Bun.spawn(["bun", "-e", script(name)], { stderr: "inherit" }).exited);
    expect(await Promise.all(exits)).toEqual([0, 0, 0]);
    expect(
      db.query("SELECT count(DISTINCT address) AS addresses, count(DISTINCT owner) AS owners FROM lease").get(),
    ).toEqual({
      addresses: 120,
      owners: 120,
    });
  } finally {
    rmSync(dir, { recursive: true });
  }
});
