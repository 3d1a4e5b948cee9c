import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { isErrno } from "@bantubox/ffi";
import { type BridgeNetwork, chooseSubnet, ensureBridge, removeBridge } from "./bridge.ts";
import { NETLINK, NetlinkSocket } from "./netlink/socket.ts";
import { connects, Listener, missingRoot, Netns } from "./testing/netns.ts";
import { macFromAddress, planLoopback, planVeth, QUIET_SYSCTLS, vethIndex, vethName } from "./veth.ts";

const bb0: BridgeNetwork = { name: "bridge", bridge: "bb0", subnet: "10.88.0.0/16", gateway: "10.88.0.1" };
const bb1: BridgeNetwork = { name: "other", bridge: "bb1", subnet: "10.0.0.0/24", gateway: "10.0.0.1" };
const PORT = 8080;

if (missingRoot) console.warn("skipped: tests of bridges need root");
const rootTest = test.skipIf(missingRoot);

function send(netns: Netns, batch: Uint8Array): void {
  netns.run(() => {
    using socket = new NetlinkSocket(NETLINK.ROUTE);
    socket.call("carry out a plan", batch);
  });
}

/** A container as the trampoline makes it. */
function attach(host: Netns, network: BridgeNetwork, bridgeIndex: number, address: string): Netns {
  const container = new Netns();
  connect(host, container, network, bridgeIndex, address);
  return container;
}

function connect(host: Netns, container: Netns, network: BridgeNetwork, bridgeIndex: number, address: string): void {
  const [ip = ""] = address.split("/");
  const hostName = vethName("0123456789ab");
  const plan = planVeth({
    bridgeIndex,
    hostName,
    hostIndex: vethIndex(),
    containerName: "eth0",
    netnsFd: container.fd,
    mac: macFromAddress(ip),
    address,
    gateway: network.gateway,
  });
  send(host, plan.host);
  send(container, plan.inside);
}

/** Another machine, 192.0.2.2, on the host's uplink, 192.0.2.1. */
function uplink(host: Netns): Netns {
  const outside = new Netns();
  host.output("ip", "link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", outside.path);
  host.output("ip", "address", "add", "192.0.2.1/24", "dev", "up0");
  host.output("ip", "link", "set", "up0", "up");
  outside.output("ip", "address", "add", "192.0.2.2/24", "dev", "eth0");
  outside.output("ip", "link", "set", "eth0", "up");
  return outside;
}

/** `nft`'s own view of our table, without what numbers differ in. */
function ruleset(host: Netns): string {
  return host.output("nft", "list", "ruleset").replaceAll(/\s+/g, " ").trim();
}

function links(host: Netns): { ifname: string; [key: string]: unknown }[] {
  return host.json("ip", "-j", "-d", "link") as { ifname: string }[];
}

rootTest("ensureBridge() makes the bridge, its address, NAT and forwarding", () => {
  using host = new Netns();
  const { index } = host.run(() => ensureBridge(bb0));

  expect(links(host)).toContainEqual(
    expect.objectContaining({
      ifindex: index,
      ifname: "bb0",
      address: "02:bb:0a:58:00:01",
      flags: expect.arrayContaining(["UP"]),
      linkinfo: expect.objectContaining({ info_kind: "bridge" }),
    }),
  );
  expect(host.json("ip", "-j", "address", "show", "dev", "bb0")).toEqual([
    expect.objectContaining({
      addr_info: [expect.objectContaining({ local: "10.88.0.1", prefixlen: 16, broadcast: "10.88.255.255" })],
    }),
  ]);
  expect(ruleset(host)).toMatchInlineSnapshot(
    `"table ip bantubox { set bridges { type ifname elements = { "bb0" } } set inside { type ifname . ifname elements = { "bb0" . "bb0" } } set subnets { type ipv4_addr flags interval elements = { 10.88.0.0/16 } } chain forward { type filter hook forward priority filter; policy accept; oifname != @bridges accept ct state established,related accept ct status dnat accept iifname . oifname @inside accept drop } chain postrouting { type nat hook postrouting priority srcnat; policy accept; ip saddr @subnets oifname != @bridges masquerade } }"`,
  );
  const sysctls = ["ipv4/ip_forward", "ipv6/conf/bb0/accept_ra", "ipv6/conf/bb0/disable_ipv6"];
  expect(sysctls.map((name) => host.output("cat", `/proc/sys/net/${name}`).trim())).toEqual(["1", "0", "1"]);
});

rootTest("ensureBridge() changes nothing that stands and mends what does not", () => {
  using host = new Netns();
  const { index } = host.run(() => ensureBridge(bb0));
  const rules = ruleset(host);

  for (const damage of [
    "true",
    "nft flush ruleset",
    "nft delete element ip bantubox bridges { bb0 }",
    "ip address flush dev bb0",
    "ip link set bb0 down",
    "sysctl -qw net.ipv4.ip_forward=0",
  ]) {
    host.output("sh", "-c", damage);
    expect(host.run(() => ensureBridge(bb0))).toEqual({ index });
    expect(ruleset(host)).toBe(rules);
    expect(host.output("ip", "-br", "address", "show", "dev", "bb0", "up")).toContain("10.88.0.1/16");
    expect(host.output("cat", "/proc/sys/net/ipv4/ip_forward")).toBe("1\n");
  }
});

rootTest("ensureBridge() takes the place of a bridge with another range that somebody deleted by hand", () => {
  using host = new Netns();
  host.run(() => ensureBridge({ ...bb0, subnet: "10.88.0.0/24" }));
  host.run(() => ensureBridge(bb1));
  host.output("ip", "link", "delete", "bb0");
  host.run(() => ensureBridge(bb0));
  expect(ruleset(host)).toContain("elements = { 10.0.0.0/24, 10.88.0.0/16 }");
});

rootTest("ensureBridge() by several processes at once makes everything once", async () => {
  using host = new Netns();
  const script = `
    import { ensureBridge } from ${JSON.stringify(new URL("./bridge.ts", import.meta.url).pathname)};
    console.log(ensureBridge(${JSON.stringify(bb0)}).index);`;
  const processes = host.run(() =>
    Array.from({ length: 5 }, () => Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "pipe" })),
  );
  const results = await Promise.all(
    processes.map(async ({ stdout, stderr, exited }) => ({
      output: (await new Response(stdout).text()).trim(),
      error: await new Response(stderr).text(),
      status: await exited,
    })),
  );
  const { index } = host.run(() => ensureBridge(bb0));
  expect(results).toEqual(Array.from({ length: 5 }, () => ({ output: String(index), error: "", status: 0 })));
  expect(ruleset(host).match(/masquerade|drop/g)).toEqual(["drop", "masquerade"]);
});

rootTest("planVeth() connects containers with each other, the host and the world, by the host's address", () => {
  using host = new Netns();
  using outside = uplink(host);
  const { index } = host.run(() => ensureBridge(bb0));
  using a = attach(host, bb0, index, "10.88.0.2/16");
  using b = attach(host, bb0, index, "10.88.0.3/16");
  using insideB = new Listener(b, PORT);
  using onHost = new Listener(host, PORT);
  using world = new Listener(outside, PORT);

  expect(connects(a, "10.88.0.3", PORT)).toBe(true);
  expect(insideB.acceptFrom()).toBe("10.88.0.2");
  expect(connects(a, "10.88.0.1", PORT)).toBe(true);
  expect(onHost.acceptFrom()).toBe("10.88.0.2");
  expect(connects(host, "10.88.0.3", PORT)).toBe(true);
  expect(insideB.acceptFrom()).toBe("10.88.0.1");
  expect(connects(a, "192.0.2.2", PORT)).toBe(true);
  expect(world.acceptFrom()).toBe("192.0.2.1");
  expect(connects(a, "127.0.0.1", PORT)).toBe(false);

  expect(a.json("ip", "-j", "route")).toEqual([
    expect.objectContaining({ dst: "default", gateway: "10.88.0.1", dev: "eth0" }),
    expect.objectContaining({ dst: "10.88.0.0/16", dev: "eth0" }),
  ]);
  expect(links(a)).toContainEqual(
    expect.objectContaining({
      ifname: "eth0",
      ifindex: 100,
      address: "02:bb:0a:58:00:02",
      operstate: "UP",
      num_tx_queues: 1,
      num_rx_queues: 1,
    }),
  );
  expect(links(host)).toContainEqual(
    expect.objectContaining({ master: "bb0", ifname: expect.stringMatching(/^vethbb0123/), num_tx_queues: 1 }),
  );
});

rootTest("other hosts and other networks do not reach into a container", () => {
  using host = new Netns();
  using outside = uplink(host);
  const first = host.run(() => ensureBridge(bb0));
  const second = host.run(() => ensureBridge(bb1));
  using a = attach(host, bb0, first.index, "10.88.0.2/16");
  using b = attach(host, bb1, second.index, "10.0.0.2/24");
  using insideA = new Listener(a, PORT);
  outside.output("ip", "route", "add", "10.88.0.0/16", "via", "192.0.2.1");

  expect(connects(outside, "10.88.0.2", PORT)).toBe(false);
  expect(connects(b, "10.88.0.2", PORT)).toBe(false);
  expect(connects(host, "10.88.0.2", PORT)).toBe(true);
  expect(insideA.acceptFrom()).toBe("10.88.0.1");

  // It is our rules that kept them out.
  host.output("nft", "flush", "chain", "ip", "bantubox", "forward");
  expect(connects(outside, "10.88.0.2", PORT)).toBe(true);
  expect(insideA.acceptFrom()).toBe("192.0.2.2");
  expect(connects(b, "10.88.0.2", PORT)).toBe(true);
  expect(insideA.acceptFrom()).toBe("10.0.0.2");
});

rootTest("QUIET_SYSCTLS keep a container free of IPv6 addresses but ::1", () => {
  using host = new Netns();
  const { index } = host.run(() => ensureBridge(bb0));
  using container = new Netns();
  container.run(() => {
    for (const [path, value] of QUIET_SYSCTLS) writeFileSync(path, value);
  });
  connect(host, container, bb0, index, "10.88.0.2/16");
  const addresses = container.json("ip", "-j", "-6", "address") as { ifname: string }[];
  expect(addresses.filter((link) => "ifname" in link).map((link) => link.ifname)).toEqual(["lo"]);
});

rootTest("planLoopback() brings up the loopback and nothing else", () => {
  using container = new Netns();
  using server = new Listener(container, PORT);
  expect(connects(container, "127.0.0.1", PORT)).toBe(false);
  send(container, planLoopback());
  expect(connects(container, "127.0.0.1", PORT)).toBe(true);
  expect(server.acceptFrom()).toBe("127.0.0.1");
  expect(connects(container, "10.88.0.1", PORT)).toBe(false);
});

rootTest("removeBridge() leaves other networks and foreign tables alone, the last one leaves nothing", () => {
  using host = new Netns();
  host.output("nft", "add", "table", "ip", "foreign");
  const before = links(host);
  host.run(() => ensureBridge(bb0));
  host.run(() => ensureBridge(bb1));
  host.run(() => removeBridge(bb0));
  expect(ruleset(host)).toContain('elements = { "bb1" }');
  expect(ruleset(host)).not.toContain("10.88.0.0");
  host.run(() => removeBridge(bb1));
  host.run(() => removeBridge(bb1));
  expect(ruleset(host)).toBe("table ip foreign { }");
  expect(links(host)).toEqual(before);
});

rootTest("a bridge that somebody else made is used and stays", () => {
  using host = new Netns();
  host.output("ip", "link", "add", "br-lan", "type", "bridge");
  const network = { ...bb0, bridge: "br-lan" };
  const { index } = host.run(() => ensureBridge(network));
  using a = attach(host, network, index, "10.88.0.2/16");
  using server = new Listener(host, PORT);
  expect(connects(a, "10.88.0.1", PORT)).toBe(true);
  expect(server.acceptFrom()).toBe("10.88.0.2");
  expect(host.output("cat", "/proc/sys/net/ipv6/conf/br-lan/disable_ipv6")).toBe("0\n");
  host.run(() => removeBridge(network));
  expect(links(host).map(({ ifname }) => ifname)).toContain("br-lan");
  expect(ruleset(host)).toBe("");
});

rootTest("ensureBridge() refuses an interface that is no bridge, a foreign table and addresses outside", () => {
  using host = new Netns();
  const code = (network: BridgeNetwork) =>
    host.run(() => {
      try {
        ensureBridge(network);
      } catch (error) {
        return (error as { code?: string }).code;
      }
      return undefined;
    });
  expect(code({ ...bb0, bridge: "lo" })).toBe("bridge-name-taken");
  for (const bridge of [
    "../evil",
    "all",
    "default",
    ".",
    "-b",
    "a b",
    "b%d",
    "sixteen-chars-xx",
    "",
    "b\n",
    "b\0",
    "ü",
  ]) {
    expect(code({ ...bb0, bridge })).toBe("bad-interface-name");
  }
  expect(code({ ...bb0, gateway: "10.89.0.1" })).toBe("bad-address");
  expect(code({ ...bb0, gateway: "10.88.0.0" })).toBe("bad-address");
  expect(code({ ...bb0, subnet: "10.88.0.0/31" })).toBe("bad-subnet");
  host.output("nft", "add", "table", "ip", "bantubox");
  expect(code(bb0)).toBe("nat-table-foreign");
});

rootTest("chooseSubnet() avoids addresses, routes and what it is told to", () => {
  using host = new Netns();
  expect(host.run(() => chooseSubnet())).toBe("10.88.0.0/16");
  host.output("ip", "link", "set", "lo", "up");
  host.output("ip", "address", "add", "10.88.3.4/32", "dev", "lo");
  host.output("ip", "route", "add", "10.90.0.0/15", "dev", "lo", "table", "77");
  host.output("ip", "route", "add", "blackhole", "default");
  expect(host.run(() => chooseSubnet())).toBe("10.89.0.0/16");
  expect(host.run(() => chooseSubnet(["10.89.128.0/17"]))).toBe("10.92.0.0/16");
  host.output("ip", "route", "add", "10.0.0.0/8", "dev", "lo");
  expect(host.run(() => chooseSubnet())).toBe("172.17.0.0/16");
  host.output("ip", "route", "add", "172.16.0.0/12", "dev", "lo");
  expect(host.run(() => chooseSubnet())).toBe("192.168.0.0/24");
  host.output("ip", "route", "add", "192.168.0.0/16", "dev", "lo");
  expect(() => host.run(() => chooseSubnet())).toThrow("every private range overlaps");
});

rootTest("NetlinkSocket.call() says what the kernel said", () => {
  using container = new Netns();
  const plan = planVeth({
    bridgeIndex: 77,
    hostName: "vethbb1",
    hostIndex: vethIndex(),
    containerName: "eth0",
    netnsFd: container.fd,
    mac: "02:bb:00:00:00:01",
    address: "10.88.0.2/16",
    gateway: "10.88.0.1",
  });
  let error: unknown;
  try {
    send(container, plan.inside);
  } catch (caught) {
    error = caught;
  }
  expect(isErrno(error, "ENODEV")).toBe(true);
  expect(String(error)).toMatch(/^BoxError: Cannot carry out a plan: ENODEV/);
});
