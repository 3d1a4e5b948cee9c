import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  formatIpv4,
  formatSubnet,
  isHostOf,
  overlaps,
  parseInterfaceAddress,
  parseIpv4,
  parseSubnet,
  subnetOf,
  withPrefix,
} from "./cidr.ts";

const address = fc.nat(0xffffffff);

test("addresses and subnets survive being written and read", () => {
  fc.assert(fc.property(address, (value) => expect(parseIpv4(formatIpv4(value))).toBe(value)));
  fc.assert(
    fc.property(address, fc.integer({ min: 1, max: 30 }), (value, prefix) => {
      const subnet = subnetOf(value, prefix);
      expect(parseSubnet(formatSubnet(subnet))).toEqual(subnet);
      expect(value >= subnet.base && value <= subnet.broadcast).toBe(true);
      expect(subnet.broadcast - subnet.base + 1).toBe(2 ** (32 - prefix));
    }),
  );
});

test.each([
  "",
  "1.2.3",
  "1.2.3.4.5",
  "256.0.0.1",
  "01.2.3.4",
  "1.2.3.4 ",
  "+1.2.3.4",
  "0x1.2.3.4",
  "1e1.2.3.4",
  "1..2.3",
  "a.b.c.d",
  "1.2.3.4\n",
  "１.2.3.4",
  "::1",
  "167772161",
])("parseIpv4() refuses %j", (text) => {
  expect(() => parseIpv4(text)).toThrow(expect.objectContaining({ code: "bad-address" }));
});

test.each([
  "10.88.0.0",
  "10.88.0.0/",
  "10.88.0.0/016",
  "10.88.0.0/33",
  "10.88.0.0/31",
  "0.0.0.0/0",
  "10.88.0.1/16",
  "10.88.0.0/-1",
  "10.88.0.0/1e1",
  "10.88.0.0/16/16",
  "/16",
  "fd00::/64",
])("parseSubnet() refuses %j", (text) => {
  expect(() => parseSubnet(text)).toThrow(expect.objectContaining({ code: "bad-subnet" }));
});

test("parseSubnet() says how to write a subnet with stray bits", () => {
  expect(() => parseSubnet("10.88.3.4/16")).toThrow(expect.objectContaining({ hint: "Write it as 10.88.0.0/16" }));
});

test("subnetOf() covers the extremes, where shifts wrap", () => {
  expect(subnetOf(0xc0a80101, 0)).toEqual({ base: 0, prefix: 0, broadcast: 0xffffffff });
  expect(subnetOf(0xc0a80101, 32)).toEqual({ base: 0xc0a80101, prefix: 32, broadcast: 0xc0a80101 });
  expect(subnetOf(0xffffffff, 1)).toEqual({ base: 0x80000000, prefix: 1, broadcast: 0xffffffff });
});

test("overlaps() holds for ranges with a common address, whichever is larger", () => {
  const [wide, within, beside] = ["10.88.0.0/16", "10.88.255.0/24", "10.89.0.0/16"].map(parseSubnet);
  if (wide === undefined || within === undefined || beside === undefined) throw new Error("unreachable");
  expect([overlaps(wide, within), overlaps(within, wide), overlaps(wide, beside)]).toEqual([true, true, false]);
});

test("isHostOf() leaves out the range's first and last address", () => {
  const subnet = parseSubnet("10.0.0.0/30");
  const hosts = ["9.255.255.255", "10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];
  expect(hosts.filter((host) => isHostOf(subnet, parseIpv4(host)))).toEqual(["10.0.0.1", "10.0.0.2"]);
});

test("withPrefix() and parseInterfaceAddress() are each other's inverse", () => {
  const text = withPrefix("10.88.0.2", "10.88.0.0/16");
  expect(text).toBe("10.88.0.2/16");
  expect(parseInterfaceAddress(text)).toEqual({ address: 0x0a580002, prefix: 16 });
  expect(() => parseInterfaceAddress("10.88.0.2")).toThrow(expect.objectContaining({ code: "bad-address" }));
});
