import { expect, test } from "bun:test";
import { decodeMessages, NLM } from "./netlink/message.ts";
import { macFromAddress, planLoopback, planVeth, vethHint, vethIndex, vethName } from "./veth.ts";

const OPTIONS = {
  bridgeIndex: 3,
  hostName: "vethbb012300000",
  hostIndex: vethIndex(),
  containerName: "eth0",
  netnsFd: 100,
  mac: "02:bb:0a:58:00:02",
  address: "10.88.0.2/16",
  gateway: "10.88.0.1",
};

test("every message of a plan asks for an acknowledgement and is numbered from 1", () => {
  const { host, inside } = planVeth(OPTIONS);
  const numbers = [host, inside, planLoopback()].map((batch) =>
    decodeMessages(batch).map(({ flags, sequence }) => {
      expect(flags & (NLM.ACK | NLM.REQUEST)).toBe(NLM.ACK | NLM.REQUEST);
      return sequence;
    }),
  );
  expect(numbers).toEqual([[1], [1, 2, 3, 4], [1]]);
});

test.each([
  ["a name of 16 characters", { hostName: "vethbb0123000000" }, "bad-interface-name"],
  ["a name with a slash", { containerName: "../eth0" }, "bad-interface-name"],
  ["a name with a NUL", { containerName: "eth0\0" }, "bad-interface-name"],
  ["an empty name", { containerName: "" }, "bad-interface-name"],
  ["an address without a prefix", { address: "10.88.0.2" }, "bad-address"],
  ["a gateway that is none", { gateway: "router" }, "bad-address"],
])("planVeth() refuses %s", (_, change, code) => {
  expect(() => planVeth({ ...OPTIONS, ...change })).toThrow(expect.objectContaining({ code }));
});

test("vethName() fits the kernel's 15 characters and is never the same twice", () => {
  const names = new Set(Array.from({ length: 20 }, () => vethName("0123456789abcdef")));
  expect(names.size).toBe(20);
  for (const name of names) expect(name).toMatch(/^vethbb0123[0-9a-z]{5}$/);
});

test("macFromAddress() is local, not multicast, and one for each address", () => {
  expect(macFromAddress("10.88.0.2")).toBe("02:bb:0a:58:00:02");
  expect(macFromAddress("255.255.255.255")).toBe("02:bb:ff:ff:ff:ff");
  expect(macFromAddress("0.0.0.1")).toBe("02:bb:00:00:00:01");
});

test.each([
  ["a short one", "02:bb"],
  ["a long one", "02:bb:0a:58:00:02:03"],
  ["one without digits", "02:bb:0a:58:00:zz"],
  ["other separators", "02-bb-0a-58-00-02"],
])("planVeth() refuses a MAC address: %s", (_, mac) => {
  expect(() => planVeth({ ...OPTIONS, mac })).toThrow(RangeError);
});

test("vethHint() knows the kernel's odd refusals and keeps quiet about the rest", () => {
  expect(vethHint(54)).toContain("1024 ports");
  expect(vethHint(95)).toContain("veth");
  expect(vethHint(22)).toBeUndefined();
});
