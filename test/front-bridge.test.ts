/**
 * Runs on the default bridge that the executable's front carries out: an address is leased without a database, and is
 * nobody else's, whoever starts containers and whatever is killed. In a network namespace of its own; its networks are
 * small, so that addresses which are given twice are soon seen.
 */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { busyboxRoot, idsIn, missing, newStore, PROJECT, type Result, run, type Store, until } from "./harness.ts";
import { isAlive, parentOf } from "./processes.ts";

const image = await busyboxRoot();
const isMissing = missing(
  "ip, nft or strace is not installed",
  ["ip", "nft", "strace"].some((name) => Bun.which(name) === null),
);
const HOST = `bbf${process.pid}`;
/** Not "ip netns exec", which hides the cgroups behind a /sys of its own. */
const PREFIX = ["nsenter", `--net=/run/netns/${HOST}`];
const TELLS = "ip -4 -o addr show eth0; tail -n 1 /etc/hosts";

async function inHost(...command: string[]): Promise<string> {
  const { code, stdout, stderr } = await run([...PREFIX, ...command]);
  if (code !== 0) throw new Error(`${command.join(" ")}: status ${code}\n${stderr}`);
  return stdout;
}

/** A store in the host's namespace, whose network has so many addresses. */
async function newNetwork(prefix = 24): Promise<Store> {
  const store = await newStore({ seen: tmpdir(), path: tmpdir(), prefix: PREFIX });
  await store.ok(["ps"]);
  using database = new Database(join(store.root, "db.sqlite"));
  database.run("INSERT INTO network (name, bridge, subnet, gateway) VALUES ('bridge', 'bb0', ?, '10.88.0.1')", [
    `10.88.0.0/${prefix}`,
  ]);
  return store;
}

/** Runs a command of the store and looks whether Bun was started: only Bun calls epoll_create1. */
async function traced(store: Store, args: readonly string[], flags: readonly string[] = []): Promise<Traced> {
  const trace = join(store.root, "..", "trace");
  const calls = flags.length === 0 ? ["-e", "trace=epoll_create1"] : [];
  const result = await run(["strace", "-f", "-qq", "-o", trace, ...calls, ...flags, ...store.command, ...args]);
  const text = readFileSync(trace, "utf8");
  rmSync(trace);
  return { ...result, byFront: !text.includes("epoll_create1"), trace: text };
}

interface Traced extends Result {
  readonly byFront: boolean;
  readonly trace: string;
}

/** The address that a container printed by `TELLS`, which its hosts file has to know too. */
function addressIn(text: string): string {
  const [link = "", hosts = ""] = text.split("\n");
  const address = /inet ([0-9.]+)\//.exec(link)?.[1] ?? `none in ${text}`;
  expect(hosts.split(/\s+/)[0]).toBe(address);
  return address;
}

function leases(store: Store): Map<string, string> {
  const directory = join(store.runRoot, "leases");
  const names = existsSync(directory) ? readdirSync(directory) : [];
  return new Map(
    names.map((name) => [Array.from(Buffer.from(name, "hex")).join("."), readlinkSync(join(directory, name))]),
  );
}

const noLeases = (store: Store): Promise<boolean> =>
  until("all leases to be taken back", () => leases(store).size === 0);

beforeAll(async () => {
  if (isMissing) return;
  await run(["ip", "netns", "add", HOST]);
  await inHost("ip", "link", "set", "lo", "up");
  // The first container of a host makes the groups above its own, which are among the facts.
  await using store = await newStore();
  await store.ok(["run", "--rm", "--network", "none", image, "true"]);
});
afterAll(async () => {
  if (!isMissing) await run(["ip", "netns", "del", HOST]);
});

describe.skipIf(isMissing)("the front, on the bridge", () => {
  test("runs what was run before, with an address of its own that reaches the host and is taken back", async () => {
    await using store = await newNetwork();
    const script = `${TELLS}; hostname; ip route; ping -c 1 -W 5 10.88.0.1 > /dev/null && echo reached; exit 3`;
    const command = ["run", "--rm", image, "sh", "-c", script];
    const seen = new Set<string>();
    for (const byFront of [false, true, true, true]) {
      const result = await traced(store, command);
      expect([result.code, result.byFront]).toEqual([3, byFront]);
      const [, hosts = "", hostname = "", route = "", , reached] = result.stdout.split("\n");
      expect(hosts.split(/\s+/)[1]).toBe(hostname);
      expect([route.trim(), reached]).toEqual(["default via 10.88.0.1 dev eth0", "reached"]);
      seen.add(`${addressIn(result.stdout)} ${hostname}`);
      expect(leases(store).size).toBe(0);
    }
    expect(seen.size).toBe(4);
  });

  test("makes containers that are listed, inspected, entered, stopped and removed like any other", async () => {
    await using store = await newNetwork();
    const command = ["run", "--rm", image, "sh", "-c", "trap 'exit 4' TERM; while :; do sleep 0.05; done"];
    const start = async (others: number): Promise<{ id: string; exited: Promise<number> }> => {
      const known = new Set((await store.ok(["ps", "-q", "--no-trunc"])).split("\n"));
      const { exited } = Bun.spawn([...store.command, ...command], { stdio: ["ignore", "ignore", "inherit"] });
      const id = await until("it runs", async () => {
        const ids = (await store.ok(["ps", "-q", "--no-trunc"])).split("\n").filter((each) => each !== "");
        return ids.length === others + 1 ? ids.find((each) => !known.has(each)) : undefined;
      });
      return { id, exited };
    };
    const addressOf = (id: string): Promise<string> =>
      store.ok(["inspect", "-f", "{{.NetworkSettings.IPAddress}}", id]);
    const first = await start(0);
    const second = await start(1);
    const addresses = await Promise.all([addressOf(first.id), addressOf(second.id)]);
    expect(leases(store)).toEqual(new Map([first.id, second.id].map((id, i) => [addresses[i] ?? "", id])));
    for (const [i, { id }] of [first, second].entries()) {
      expect(await store.ok(["exec", id, "ip", "-4", "-o", "addr", "show", "eth0"])).toContain(` ${addresses[i]}/24 `);
      expect(await store.ok(["exec", id, "ping", "-c", "1", "-W", "5", addresses[1 - i] ?? ""])).toContain("0% packet");
      await inHost("busybox", "ping", "-c", "1", "-W", "5", addresses[i] ?? "");
    }
    await store.ok(["rename", first.id, "web"]);
    expect(await addressOf("web")).toBe(addresses[0] ?? "");
    await store.ok(["stop", "web"]);
    expect(await first.exited).toBe(4);
    expect([...leases(store).values()]).toEqual([second.id]);
    await store.ok(["rm", "-f", second.id]);
    expect(await second.exited).toBe(137);
    expect(leases(store).size).toBe(0);
  });

  test("leaves it to Bun when the bridge, its address, its rules or forwarding are not as they were", async () => {
    await using store = await newNetwork();
    const command = ["run", "--rm", image, "ping", "-c", "1", "-W", "5", "10.88.0.1"];
    await store.ok(command);
    for (const damage of [
      "ip link delete bb0",
      "ip address flush dev bb0",
      "ip link set bb0 down",
      "nft flush ruleset",
      "nft delete element ip bantubox bridges { bb0 }",
      "nft delete element ip bantubox subnets { 10.88.0.0/24 }",
      "sysctl -qw net.ipv4.ip_forward=0",
    ]) {
      expect([damage, (await traced(store, command)).byFront]).toEqual([damage, true]);
      await inHost("sh", "-c", damage);
      const { byFront, code, stderr } = await traced(store, command);
      expect([damage, byFront, code, stderr]).toEqual([damage, false, 0, ""]);
    }
    const other = `${HOST}x`;
    await run(["ip", "netns", "add", other]);
    try {
      const elsewhere = await run(["nsenter", `--net=/run/netns/${other}`, ...store.command.slice(2), ...command]);
      expect(elsewhere).toMatchObject({ code: 0, stderr: "" });
      // And back in the first one, whose bridge is another.
      expect(await traced(store, command)).toMatchObject({ code: 0, byFront: false });
    } finally {
      await run(["ip", "netns", "del", other]);
    }
  });

  test("leaves it to Bun when addresses are hard to find; what is leased to nobody is taken back then", async () => {
    await using store = await newNetwork(29);
    const command = ["run", "--rm", image, "sh", "-c", TELLS];
    await store.ok(command);
    expect((await traced(store, command)).byFront).toBe(true);
    const directory = join(store.runRoot, "leases");
    const names = ["0a580002", "0a580003", "0a580004", "0a580005", "0a580006"];
    for (const [i, name] of names.entries()) symlinkSync(String(i).padStart(64, "0"), join(directory, name));
    const { byFront, code } = await traced(store, command);
    expect([byFront, code]).toEqual([false, 0]);
    expect(leases(store).size).toBe(0);

    // Where all are in use, there is none, and nothing is left of who asked.
    const box = (i: number): string[] => ["run", "-d", "--name", `box${i}`, image, "sleep", "600"];
    await Promise.all(names.map((_, i) => store.ok(box(i))));
    const full = await traced(store, command);
    expect([full.byFront, full.code]).toEqual([false, 125]);
    expect(full.stderr).toContain("all its 5 addresses are taken");
    const held = [...leases(store).entries()].toSorted();
    expect(held.length).toBe(5);
    expect(idsIn(join(store.root, "containers")).length).toBe(5);
    // A container that stops keeps its address for as long as there are others.
    await store.ok(["stop", "-t", "0", "box0"]);
    expect([...leases(store).entries()].toSorted()).toEqual(held);
    const last = await traced(store, command);
    expect([last.code, leases(store).size]).toEqual([0, 4]);
    expect(held.map(([address]) => address)).toContain(addressIn(last.stdout));
    const address = addressIn(await store.ok(["run", "--rm", image, "sh", "-c", TELLS]));
    expect(address).toBe(addressIn(last.stdout));
    await store.ok(["start", "box0"]);
    expect(await store.ok(["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "box0"])).toBe(address);
  });

  test("gives 50 at once, beside Bun's and a program's, an address each, and takes all of them back", async () => {
    // 61 addresses.
    await using store = await newNetwork(26);
    const script = `${TELLS}; cat > /dev/null`;
    const command = ["run", "--rm", "-i", image, "sh", "-c", script];
    await run([...store.command, ...command], { stdin: "" });
    expect((await traced(store, command)).byFront).toBe(true);
    const program = `
      import { openEngine, spawnContainer } from ${JSON.stringify(`${PROJECT}/packages/core/src/mod.ts`)};
      const engine = openEngine(${JSON.stringify({ root: store.root, runRoot: store.runRoot })});
      const options = { image: ${JSON.stringify(image)}, interactive: true, command: ["sh", "-c", ${JSON.stringify(script)}] };
      const all = await Promise.all(Array.from({ length: 4 }, () => spawnContainer(engine, options)));
      await Promise.all(all.map(async ({ stdout }) => { for await (const bytes of stdout) process.stdout.write(bytes); }).concat(
        (async () => { for await (const _ of process.stdin); for (const { stdin } of all) stdin.end(); })()));
      console.log((await Promise.all(all.map(({ exited }) => exited))).join(" "));`;
    const commands = [
      ...Array.from({ length: 50 }, () => [...store.command, ...command]),
      // Words that were never said before.
      ...Array.from({ length: 4 }, (_, i) => [...store.command, ...command.slice(0, -1), `${script}; : ${i}`]),
      [...PREFIX, process.execPath, "-e", program],
    ];
    const runs = commands.map((each) => Bun.spawn(each, { stdin: "pipe", stdout: "pipe", stderr: "pipe" }));
    const outputs = runs.map(async ({ stdout, stderr }) => {
      return await Promise.all([new Response(stdout).text(), new Response(stderr).text()]);
    });
    await until("all have an address", () => leases(store).size === 58, 50_000);
    // All of them run at this time, so none can have another's that has ended.
    await until("all run", async () => (await store.ok(["ps", "-q"])).split("\n").length === 58, 50_000);
    expect(new Set(leases(store).values()).size).toBe(58);
    for (const { stdin } of runs) stdin.end();
    const all = await Promise.all(outputs);
    expect(all.map(([, stderr]) => stderr).filter((text) => text !== "")).toEqual([]);
    expect(await Promise.all(runs.map(({ exited }) => exited))).toEqual(runs.map(() => 0));
    const text = all.map(([stdout]) => stdout).join("");
    const addresses = Array.from(text.matchAll(/inet (10\.88\.0\.[0-9]+)\/26/g), ([, address]) => address);
    expect([addresses.length, new Set(addresses).size]).toEqual([58, 58]);
    expect(text).toContain("0 0 0 0\n");
    await noLeases(store);
  }, 120_000);

  test("loses no address to kill -9, wherever it strikes the front, the monitor or the container", async () => {
    await using store = await newNetwork();
    const command = ["run", "--rm", image, "true"];
    const calls = ["mkdirat", "openat", "flock", "symlinkat", "write", "statx", "socket", "memfd_create", "execveat"];
    const later = ["close_range", "clone3", "sendto", "mount", "execve", "wait4,waitid", "unlinkat", "renameat2"];
    let points = 0;
    let withLease = 0;
    for (const call of [...calls, ...later]) {
      for (const n of [1, 2, 4]) {
        await store.ok(command);
        const kill = ["-e", `trace=${call},epoll_create1`, "-e", `inject=${call}:signal=SIGKILL:when=${n}`];
        const { trace } = await traced(store, command, kill);
        if (!/killed by SIGKILL/.test(trace)) break;
        points++;
        if (leases(store).size > 0) withLease++;
        await until(`nothing runs after ${call} ${n}`, async () => (await store.ok(["ps", "-aq"])) === "");
        await noLeases(store);
        expect(idsIn(join(store.root, "containers"))).toEqual([]);
      }
    }
    expect(points).toBeGreaterThan(20);
    expect(withLease).toBeGreaterThan(5);
  }, 600_000);

  test("finds a lease whose container did not live to write it down", async () => {
    await using store = await newNetwork();
    await store.ok(["run", "--rm", image, "true"]);
    const containers = join(store.root, "containers");
    const directory = join(store.runRoot, "leases");
    const model = Bun.spawn([...store.command, "run", "--rm", image, "sleep", "600"], {
      stdio: ["ignore", "ignore", "ignore"],
    });
    const id = await until("it runs", () => store.ok(["ps", "-q", "--no-trunc"]));
    // Three that were killed: with no file, with the first ones, with all but half of the last.
    for (const [i, files] of [[], ["config.json", "container.json"], ["container.json"]].entries()) {
      const dead = String(i + 1).padEnd(64, "a");
      mkdirSync(join(containers, dead));
      for (const name of files)
        writeFileSync(
          join(containers, dead, name),
          readFileSync(join(containers, id, name), "utf8").replaceAll(id, dead),
        );
      if (i === 2) writeFileSync(join(containers, dead, "address"), "0a5800");
      symlinkSync(dead, join(directory, `0a58003${i}`));
    }
    expect(leases(store).size).toBe(4);
    expect(await store.ok(["ps", "-aq", "--no-trunc"])).toBe(id);
    expect([...leases(store).values()]).toEqual([id]);
    expect(idsIn(containers)).toEqual([id]);
    await store.ok(["rm", "-f", id]);
    expect(await model.exited).toBe(137);
    expect(leases(store).size).toBe(0);
  });

  test("keeps the address of a container whose monitor was killed, until it ends", async () => {
    await using store = await newNetwork(30);
    const command = ["run", "--rm", image, "sleep", "600"];
    const first = Bun.spawn([...store.command, ...command], { stdio: ["ignore", "ignore", "ignore"] });
    const id = await until("it runs", () => store.ok(["ps", "-q", "--no-trunc"]));
    const pid = Number(await store.ok(["inspect", "-f", "{{.State.Pid}}", id]));
    process.kill(parentOf(pid), "SIGKILL");
    expect(await first.exited).toBe(255);
    await store.ok(["ps"]);
    expect([...leases(store)]).toEqual([["10.88.0.2", id]]);
    const refused = await store.bb(["run", "--rm", image, "true"]);
    expect([refused.code, refused.stderr]).toEqual([125, expect.stringContaining("its only address is taken")]);
    process.kill(pid, "SIGKILL");
    await until("it ended", () => !isAlive(pid));
    // Nobody lists anything in between: who needs the address takes it back.
    expect(addressIn(await store.ok(["run", "--rm", image, "sh", "-c", TELLS]))).toBe("10.88.0.2");
    expect(await store.ok(["ps", "-aq"])).toBe("");
    await noLeases(store);
  });

  test("asks for the same address again after a reboot", async () => {
    await using store = await newNetwork();
    await store.ok(["run", "--name", "box", image, "true"]);
    const before = leases(store);
    expect(before.size).toBe(1);
    rmSync(store.runRoot, { recursive: true });
    mkdirSync(store.runRoot, { mode: 0o700 });
    expect(await store.ok(["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "box"])).toBe("");
    await store.ok(["start", "-a", "box"]);
    expect(leases(store)).toEqual(before);
    await store.ok(["rm", "box"]);
    expect(leases(store).size).toBe(0);
  });
});
