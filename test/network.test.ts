/**
 * Networks, each test in a network namespace of its own: a "host", and an "outside" that a veth pair joins to it.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { busyboxRoot, missing, newStore, PROJECT, type Result, run, type Store, until } from "./harness.ts";

const image = await busyboxRoot();
const isMissing = missing("ip and nft are not installed", Bun.which("ip") === null || Bun.which("nft") === null);
const [HOST, OUTSIDE] = [`bbh${process.pid}`, `bbo${process.pid}`];

async function must(...command: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(command);
  if (code !== 0) throw new Error(`${command.join(" ")}: status ${code}\n${stderr}`);
  return stdout;
}

/** Not "ip netns exec", which hides the cgroups behind a /sys of its own. */
const within = (name: string): string[] => ["nsenter", `--net=/run/netns/${name}`];

const inHost = (...command: string[]): Promise<string> => must(...within(HOST), ...command);

/** `bb` as the host's root would call it. */
async function bb(store: Store, ...args: string[]): Promise<Result> {
  return await run([...within(HOST), ...store.command, ...args]);
}

async function ok(store: Store, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await bb(store, ...args);
  if (code !== 0) throw new Error(`bb ${args.join(" ")}: status ${code}\n${stderr}`);
  return stdout.trimEnd();
}

const addressOf = (store: Store, name: string): Promise<string> =>
  ok(store, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", name);

beforeAll(async () => {
  if (isMissing) return;
  for (const name of [HOST, OUTSIDE]) {
    await must("ip", "netns", "add", name);
    await must("ip", "-n", name, "link", "set", "lo", "up");
  }
  await must("ip", "link", "add", "up0", "netns", HOST, "type", "veth", "peer", "name", "in0", "netns", OUTSIDE);
  await must("ip", "-n", HOST, "addr", "add", "192.0.2.1/24", "dev", "up0");
  await must("ip", "-n", OUTSIDE, "addr", "add", "192.0.2.2/24", "dev", "in0");
  await must("ip", "-n", HOST, "link", "set", "up0", "up");
  await must("ip", "-n", OUTSIDE, "link", "set", "in0", "up");
});
afterAll(async () => {
  if (isMissing) return;
  for (const name of [HOST, OUTSIDE]) await run(["ip", "netns", "del", name]);
});

test.skipIf(isMissing)(
  "the bridge gives an address, a route, the host, each other, and the outside by NAT",
  async () => {
    await using store = await newStore();
    const id = await ok(store, "run", "-d", "--name", "one", image, "nc", "-ll", "-p", "80", "-e", "echo", "from one");
    await ok(store, "run", "-d", "--name", "two", image, "sleep", "600");
    const [one, two] = [await addressOf(store, "one"), await addressOf(store, "two")];
    expect(one).not.toBe(two);
    const [, gateway] = /^default via ([0-9.]+) dev eth0/.exec(await ok(store, "exec", "one", "ip", "route")) ?? [];
    expect(await ok(store, "exec", "one", "ip", "-o", "addr", "show", "eth0")).toContain(`inet ${one}/`);
    expect(gateway).toBeDefined();

    const fetched = await until(
      "two reaches one",
      async () => (await bb(store, "exec", "two", "nc", one, "80")).stdout,
    );
    expect(fetched).toBe("from one\n");
    expect(await inHost("busybox", "nc", one, "80")).toBe("from one\n");
    await ok(store, "exec", "one", "ping", "-c", "1", "-W", "3", gateway ?? "");

    // The outside sees the host's address, and has no way in.
    const listener = Bun.spawn(
      [...within(OUTSIDE), "busybox", "nc", "-ll", "-p", "81", "-e", "sh", "-c", 'echo "$NCPEER"; netstat -tn'],
      { stdout: "ignore", stderr: "ignore" },
    );
    const peers = await until(
      "one reaches the outside",
      async () => (await bb(store, "exec", "one", "nc", "-w", "2", "192.0.2.2", "81")).stdout,
    );
    listener.kill();
    await listener.exited;
    expect(peers).toContain("192.0.2.1:");
    expect(peers).not.toContain(one);
    const subnet = one.replace(/[0-9]+$/, "0/24");
    await must("ip", "-n", OUTSIDE, "route", "add", subnet, "via", "192.0.2.1");
    const reached = await run([...within(OUTSIDE), "busybox", "nc", "-w", "1", one, "80"]);
    await must("ip", "-n", OUTSIDE, "route", "del", subnet);
    expect(reached.stdout).toBe("");

    expect(await ok(store, "exec", "one", "cat", "/etc/hostname")).toBe(id.slice(0, 12));
    expect(await ok(store, "exec", "one", "cat", "/etc/hosts")).toMatch(
      new RegExp(`^${one.replaceAll(".", "\\.")}\\s+${id.slice(0, 12)}$`, "m"),
    );
    expect(await ok(store, "exec", "one", "cat", "/etc/hosts")).toMatch(/^127\.0\.0\.1\s+localhost$/m);
    expect(await ok(store, "exec", "one", "cat", "/etc/resolv.conf")).toMatch(/^nameserver /m);
  },
  180_000,
);

test.skipIf(isMissing)(
  "none has a loopback only, host is the host's, container:NAME is the other's",
  async () => {
    await using store = await newStore();
    const links = ["ip", "-o", "link"];
    const namesOf = (text: string): string[] =>
      Array.from(text.matchAll(/^[0-9]+: ([^:@]+)/gm), ([, name = ""]) => name);
    const none = await ok(store, "run", "--rm", "--network", "none", image, ...links);
    expect(namesOf(none)).toEqual(["lo"]);
    expect(none).toContain("UP");
    expect(namesOf(await ok(store, "run", "--rm", "--network", "host", image, ...links))).toContain("up0");
    await ok(store, "run", "-d", "--name", "one", image, "sleep", "600");
    const shared = ["run", "--rm", "--network", "container:one", image];
    expect(await ok(store, ...shared, "ip", "-o", "-4", "addr")).toBe(
      await ok(store, "exec", "one", "ip", "-o", "-4", "addr"),
    );
    expect(await ok(store, ...shared, "cat", "/etc/hosts")).toBe(await ok(store, "exec", "one", "cat", "/etc/hosts"));
    await ok(store, "stop", "-t", "0", "one");
    const gone = await bb(store, ...shared, "true");
    expect(gone.code).toBe(125);
    expect(gone.stderr).toContain("it does not run");
    await ok(store, "create", "--name", "two", "--network", "container:one", image, "true");
    await ok(store, "rm", "one");
    const removed = await bb(store, "start", "two");
    expect([removed.code, removed.stderr]).toEqual([1, expect.stringContaining("it was removed")]);
    expect(removed.stderr).not.toContain("bb start");
    expect((await bb(store, "run", "--rm", "--network", "nowhere", image, "true")).stderr).toContain("nowhere");
  },
  180_000,
);

test.skipIf(isMissing)(
  "addresses are unique at once, freed with their container, and nothing is left of the links",
  async () => {
    await using store = await newStore();
    const runs = await Promise.all(
      Array.from({ length: 8 }, (_, i) => bb(store, "run", "-d", "--name", `box${i}`, image, "sleep", "600")),
    );
    expect(runs.map(({ code, stderr }) => [code, stderr])).toEqual(runs.map(() => [0, ""]));
    const addresses = await Promise.all(runs.map((_, i) => addressOf(store, `box${i}`)));
    expect(new Set(addresses).size).toBe(8);
    await ok(store, "rm", "-f", ...runs.map((_, i) => `box${i}`));
    expect(readdirSync(`${store.runRoot}/leases`)).toEqual([]);
    await until(
      "the links are gone",
      async () => !(await inHost("ip", "-o", "link", "show", "type", "veth")).includes("master bb0"),
    );
  },
  180_000,
);

test.skipIf(isMissing)(
  "rules and a bridge that were removed by hand are there again with the next container",
  async () => {
    await using store = await newStore();
    const reach = ["run", "--rm", image, "ping", "-c", "1", "-W", "3", "192.0.2.2"];
    await ok(store, ...reach);
    await inHost("nft", "flush", "ruleset");
    await ok(store, ...reach);
    await inHost("ip", "link", "del", "bb0");
    await ok(store, ...reach);
  },
  180_000,
);

test.skipIf(isMissing)(
  "runs of one kind, whose plans are kept, have addresses and names of their own, and leave no row",
  async () => {
    await using store = await newStore();
    const script =
      "ip -4 -o addr show eth0; tail -n 1 /etc/hosts; hostname; ping -c 1 -w 5 $(ip route | cut -d ' ' -f 3 | head -n 1) > /dev/null && echo reached";
    const seen = new Set<string>();
    for (let i = 0; i < 4; i++) {
      const lines = (await ok(store, "run", "--rm", image, "sh", "-c", script)).split("\n");
      const [link = "", hosts = "", name = "", reached] = lines;
      const address = /inet ([0-9.]+)\//.exec(link)?.[1] ?? "";
      expect([hosts.split(/\s+/), reached]).toEqual([[address, name], "reached"]);
      seen.add(`${address} ${name}`);
      expect(await ok(store, "ps", "-aq")).toBe("");
    }
    expect(seen.size).toBe(4);
    // Its bridge goes, and the kept plan with another one's index still makes a link.
    await inHost("ip", "link", "del", "bb0");
    expect(await ok(store, "run", "--rm", image, "sh", "-c", script)).toContain("reached");
  },
  60_000,
);

test.skipIf(isMissing)(
  "a program's containers have addresses of their own too, one after the other and at once",
  async () => {
    await using store = await newStore();
    const program = `
      import { openEngine, runContainer } from ${JSON.stringify(`${PROJECT}/packages/core/src/mod.ts`)};
      const engine = openEngine(${JSON.stringify({ root: store.root, runRoot: store.runRoot })});
      const command = ["sh", "-c", "ip -4 -o addr show eth0; tail -n 1 /etc/hosts; sleep 0.3"];
      const one = async () => (await runContainer(engine, { image: ${JSON.stringify(image)}, command })).stdout;
      const all = [await one(), await one(), ...(await Promise.all([one(), one(), one()]))];
      console.log(JSON.stringify(all.map((bytes) => new TextDecoder().decode(bytes))));
    `;
    const outputs = JSON.parse(await inHost(process.execPath, "-e", program)) as string[];
    const addresses = outputs.map((text) => {
      const [link = "", hosts = ""] = text.split("\n");
      const address = /inet ([0-9.]+)\//.exec(link)?.[1] ?? "none";
      expect(hosts.split(/\s+/)[0]).toBe(address);
      return address;
    });
    expect(new Set(addresses).size).toBe(5);
  },
  180_000,
);
