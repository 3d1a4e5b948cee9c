import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { formatIpv4, parseIpv4 } from "./cidr.ts";
import { type Hold, leaseAddress, leaseName, leaseRange, ownerOf, releaseAddress, sweepLeases } from "./leases.ts";

const NET = { subnet: "10.88.0.0/29", gateway: "10.88.0.1" };
const ALL = ["10.88.0.2", "10.88.0.3", "10.88.0.4", "10.88.0.5", "10.88.0.6"];
const alive: Hold = () => undefined;

let directory = "";
beforeEach(() => {
  directory = join(mkdtempSync(join(tmpdir(), "bb-lease-")), "leases");
});
afterEach(() => rmSync(join(directory, ".."), { recursive: true }));

/** Owners in `dead` are so. */
function holding(dead: { has(owner: string): boolean }): Hold {
  return (owner) => (dead.has(owner) ? { [Symbol.dispose]: () => undefined } : undefined);
}

function lease(
  owner: string,
  { net = NET, hold = alive, former }: { net?: typeof NET; hold?: Hold; former?: string } = {},
): string {
  const address = leaseAddress({
    directory,
    ...net,
    owner,
    hold,
    former: former === undefined ? undefined : parseIpv4(former),
  });
  return formatIpv4(address);
}

test("every owner gets an address of its own, until there is none", () => {
  const owners = ["a", "b", "c", "d", "e"];
  const addresses = owners.map((owner) => lease(owner));
  expect(addresses.toSorted()).toEqual(ALL);
  expect(addresses.map((address) => ownerOf(directory, parseIpv4(address)))).toEqual(owners);
  expect(() => lease("f")).toThrow(expect.objectContaining({ code: "network-full" }));
  releaseAddress(directory, parseIpv4(addresses[2] ?? ""), "c");
  expect(lease("f")).toBe(addresses[2] ?? "");
});

test("an owner keeps the address that it had, unless that is another's or of another network", () => {
  expect(lease("a", { former: "10.88.0.4" })).toBe("10.88.0.4");
  expect(lease("a", { former: "10.88.0.4" })).toBe("10.88.0.4");
  expect(lease("b", { former: "10.88.0.4" })).not.toBe("10.88.0.4");
  for (const former of ["10.88.0.1", "10.88.0.0", "10.88.0.7", "10.89.0.2"]) {
    const address = lease("c", { former });
    expect(ALL).toContain(address);
    releaseAddress(directory, parseIpv4(address), "c");
  }
});

test("what is another's by now is not released", () => {
  const address = parseIpv4(lease("a"));
  releaseAddress(directory, address, "b");
  expect(ownerOf(directory, address)).toBe("a");
  releaseAddress(directory, address, "a");
  releaseAddress(directory, address, "a");
  expect(ownerOf(directory, address)).toBeUndefined();
});

test("the gateway is nobody's, wherever it is", () => {
  const net = { ...NET, gateway: "10.88.0.4" };
  expect(["a", "b", "c", "d", "e"].map((owner) => lease(owner, { net })).toSorted()).toEqual([
    "10.88.0.1",
    "10.88.0.2",
    "10.88.0.3",
    "10.88.0.5",
    "10.88.0.6",
  ]);
  expect(leaseRange(NET.subnet, NET.gateway)).toEqual({ first: parseIpv4("10.88.0.2"), count: 5 });
  expect(leaseRange(net.subnet, net.gateway)).toBeUndefined();
});

test("the leases of the dead are taken back when the network is full, and no sooner", () => {
  const dead = new Set<string>();
  let asked = 0;
  const hold: Hold = (owner) => {
    asked++;
    return holding(dead)(owner);
  };
  const addresses = ["a", "b", "c", "d", "e"].map((owner) => lease(owner, { hold }));
  dead.add("b").add("d");
  expect(asked).toBe(0);
  expect([lease("f", { hold }), lease("g", { hold })].toSorted()).toEqual(
    [addresses[1] ?? "", addresses[3] ?? ""].toSorted(),
  );
  expect(asked).toBe(5);
});

test("a sweep takes nothing that got another owner while its former one was looked at", () => {
  const address = parseIpv4(lease("old"));
  const hold: Hold = (owner) => {
    releaseAddress(directory, address, owner);
    lease("new", { former: formatIpv4(address) });
    return { [Symbol.dispose]: () => undefined };
  };
  expect(sweepLeases(directory, hold)).toBe(false);
  expect(readlinkSync(join(directory, leaseName(address)))).toBe("new");
  expect(sweepLeases(directory, holding({ has: () => true }))).toBe(true);
  expect(readdirSync(directory)).toEqual([]);
  rmSync(directory, { recursive: true });
  expect(sweepLeases(directory, alive)).toBe(false);
  expect(existsSync(directory)).toBe(false);
});

test.each([
  ["/30 has one address besides the gateway", "10.0.0.0/30", 1, "its only address is taken"],
  ["/29 has five", "10.0.0.0/29", 5, "all its 5 addresses are taken"],
])("%s, then says that it is full and stays as it was", (_, subnet, count, message) => {
  const net = { subnet, gateway: "10.0.0.1" };
  for (let i = 0; i < count; i++) lease(String(i), { net });
  expect(() => lease("last", { net })).toThrow(message);
  expect(readdirSync(directory).length).toBe(count);
});

test("leases agree with a model under any order of leasing, releasing and dying", () => {
  const step = fc.tuple(fc.constantFrom("lease", "release", "die"), fc.integer({ min: 0, max: 7 }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      rmSync(directory, { recursive: true, force: true });
      const held = new Map<string, string>();
      const dead = new Set<string>();
      for (const [verb, number] of steps) {
        const owner = String(number);
        const former = held.get(owner);
        if (verb === "release") {
          if (former !== undefined) releaseAddress(directory, parseIpv4(former), owner);
          held.delete(owner);
        } else if (verb === "die") {
          dead.add(owner);
        } else {
          dead.delete(owner);
          let address: string;
          try {
            address = lease(owner, { hold: holding(dead), ...(former !== undefined && { former }) });
          } catch (error) {
            expect(error).toMatchObject({ code: "network-full" });
            expect([...held.keys()].filter((id) => !dead.has(id)).length).toBe(5);
            continue;
          }
          if (former !== undefined) expect(former).toBe(address);
          const previous = [...held].find(([id, taken]) => taken === address && id !== owner)?.[0];
          if (previous !== undefined) {
            // The dead lose their address, the living never.
            expect(dead.has(previous)).toBe(true);
            for (const id of dead) held.delete(id);
          }
          held.set(owner, address);
          expect(ALL).toContain(address);
        }
      }
    }),
    { numRuns: 60 },
  );
});

test("processes that lease at once never get the same address, and those that sweep take none", async () => {
  const script = (name: string) => `
    import { leaseAddress, releaseAddress, sweepLeases } from ${JSON.stringify(join(import.meta.dir, "leases.ts"))};
    const directory = ${JSON.stringify(directory)};
    const net = { directory, subnet: "10.88.0.0/25", gateway: "10.88.0.1", hold: () => undefined };
    const hold = (owner) => (owner === "dead" ? { [Symbol.dispose]() {} } : undefined);
    for (let i = 0; i < 40; i++) {
      leaseAddress({ ...net, owner: "${name}" + i });
      // No address of its own is left to the others' sweeps.
      if (i % 8 === 0) {
        leaseAddress({ ...net, owner: "dead" });
        sweepLeases(directory, hold);
      }
    }`;
  const exits = ["a", "b", "c"].map(
    (name) => Bun.spawn([process.execPath, "-e", script(name)], { stderr: "inherit" }).exited,
  );
  expect(await Promise.all(exits)).toEqual([0, 0, 0]);
  sweepLeases(directory, holding({ has: (owner: string) => owner === "dead" }));
  const names = readdirSync(directory);
  expect(names.length).toBe(120);
  expect(new Set(names.map((name) => readlinkSync(join(directory, name)))).size).toBe(120);
});
