/**
 * Images when something ends them midway: a kill at any call of pull, load, init, commit or rmi, and a disk that is
 * full. The next commands work, nothing is damaged, and nothing is left when all images are gone.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mustGoOn, startChangedBox } from "./changed-box.ts";
import { busyboxRoot, missing, newStore, run, type Store } from "./harness.ts";
import { hasStrace, isWhole, sweep } from "./kill-sweep.ts";
import { type MountedPlace, mountBtrfs, mountPlace } from "./mounted.ts";
import { pushImage, type Registry, startRegistry } from "./registry.ts";

const hasBtrfs = !missing("btrfs-progs is not installed", Bun.which("mkfs.btrfs") === null);
const none = ["--network", "none"];
let registry: Registry;
let name = "";
let btrfs: MountedPlace | undefined;

beforeAll(async () => {
  registry = await startRegistry();
  name = `${registry.host}/crash/app:1`;
  const layers = [{ script: "mkdir opt; echo one > opt/file; echo gone > opt/gone" }, { script: "rm opt/gone" }];
  await pushImage(registry, "crash/app:1", { layers });
  if (hasBtrfs) btrfs = await mountBtrfs();
}, 300_000);

afterAll(async () => {
  await btrfs?.[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
});

const namesIn = (store: Store, directory: string): string[] => readdirSync(join(store.root, directory));

/** What lies in the store for images, and on the way to them. */
const filesOf = (store: Store): string[][] => ["layers", "blobs/sha256", "ingest"].map((each) => namesIn(store, each));

/** Carries out commands that must succeed, and says after what they did not. */
async function must(store: Store, what: string, ...commands: (readonly string[])[]): Promise<void> {
  for (const command of commands) {
    const { code, stdout, stderr } = await store.bb(command);
    if (code !== 0) throw new Error(`After ${what}\nbb ${command.join(" ")}: status ${code}\n${stderr}${stdout}`);
  }
}

const RUN = ["run", "--rm", ...none, "--pull", "never"] as const;

const DRIVERS: readonly (readonly [driver: string, isThere: boolean])[] = [
  ["overlay", true],
  ["btrfs", hasBtrfs],
];

for (const [driver, isThere] of DRIVERS) {
  describe.skipIf(!isThere || !hasStrace)(`a sweep of kill -9 on ${driver}`, () => {
    const place = (): { prefix: readonly string[]; store: Promise<Store> } => {
      if (driver !== "btrfs" || btrfs === undefined) return { prefix: [], store: newStore() };
      return { prefix: btrfs.prefix, store: newStore({ ...btrfs, flags: ["--storage-driver", driver] }) };
    };
    const own = driver === "btrfs" ? ["ioctl"] : ["mkdir,mkdirat"];

    test("over pull: the next one completes it, and rmi leaves nothing", async () => {
      const { prefix, store: making } = place();
      await using store = await making;
      const calls = [
        "rename,renameat2",
        "syncfs",
        "pwrite64",
        ...(isWhole ? ["openat", "fsync,fdatasync"] : []),
        ...own,
      ];
      const command = ["pull", "-q", name];
      const next = async (what: string): Promise<void> => {
        await must(
          store,
          what,
          ["pull", "-q", name],
          [...RUN, name, "cat", "/opt/file"],
          ["system", "check"],
          ["rmi", name],
        );
        expect([what, ...filesOf(store)]).toEqual([what, [], [], []]);
      };
      expect(await sweep({ store, prefix, command, calls, next })).toBeGreaterThanOrEqual(calls.length);
    }, 3_600_000);

    test("over a pull of blobs alone: what was here before can be saved and pushed whenever that ends", async () => {
      const { prefix, store: making } = place();
      await using store = await making;
      const made = `${registry.host}/crash/made:${driver}`;
      const archive = join(tmpdir(), `bb-blobs-${process.pid}.tar`);
      await must(store, "nothing", ["init", await busyboxRoot(), "box"], ["push", "-q", "box", made]);
      const command = ["pull", "-q", made];
      const next = async (what: string): Promise<void> => {
        await must(
          store,
          what,
          ["save", "-o", archive, "box"],
          ["push", "-q", "box", `${made}-copy`],
          ["system", "check"],
        );
        await must(store, what, command, ["save", "-o", archive, made], ["system", "check"]);
        expect([what, namesIn(store, "ingest")]).toEqual([what, []]);
        await must(store, what, ["rmi", made], ["rmi", "box"]);
        expect([what, namesIn(store, "layers"), namesIn(store, "blobs/sha256")]).toEqual([what, [], []]);
        await must(store, what, ["init", await busyboxRoot(), "box"], ["push", "-q", "box", made]);
      };
      const calls = ["rename,renameat2", "syncfs", "pwrite64", ...(isWhole ? ["openat", "fsync,fdatasync"] : [])];
      expect(await sweep({ store, prefix, command, calls, next })).toBeGreaterThanOrEqual(calls.length);
      rmSync(archive);
    }, 3_600_000);

    test("over rmi: the image is there or it is not, and what it had is collected", async () => {
      const { prefix, store: making } = place();
      await using store = await making;
      const calls = [
        "rename,renameat2",
        "unlink,unlinkat,rmdir",
        "pwrite64",
        "flock",
        ...own.slice(0, driver === "btrfs" ? 1 : 0),
      ];
      const prepare = (): Promise<string> => store.ok(["pull", "-q", name]);
      const next = async (what: string): Promise<void> => {
        await must(store, what, ["system", "check"]);
        if ((await store.ok(["images", "-q"])) === "")
          await must(store, what, ["init", await busyboxRoot(), "box"], ["rmi", "box"]);
        else await must(store, what, [...RUN, name, "cat", "/opt/file"], ["rmi", name]);
        expect([what, ...filesOf(store)]).toEqual([what, [], [], []]);
      };
      expect(await sweep({ store, prefix, prepare, command: ["rmi", name], calls, next })).toBeGreaterThan(2);
    }, 3_600_000);

    test("over load: the next one completes it", async () => {
      const { prefix, store: making } = place();
      await using store = await making;
      const archive = join(tmpdir(), `bb-load-${process.pid}.tar`);
      await must(store, "nothing", ["pull", "-q", name], ["save", "-o", archive, name], ["rmi", name]);
      const command = ["load", "-q", "-i", archive];
      const next = async (what: string): Promise<void> => {
        await must(store, what, command, [...RUN, name, "cat", "/opt/file"], ["system", "check"], ["rmi", name]);
        expect([what, ...filesOf(store)]).toEqual([what, [], [], []]);
      };
      const calls = ["rename,renameat2", "syncfs", "pwrite64", ...own];
      expect(await sweep({ store, prefix, command, calls, next })).toBeGreaterThanOrEqual(calls.length);
      rmSync(archive);
    }, 3_600_000);

    test("over init", async () => {
      const { prefix, store: making } = place();
      await using store = await making;
      const command = ["init", await busyboxRoot(), "box"];
      const next = async (what: string): Promise<void> => {
        await must(store, what, command, [...RUN, "box", "true"], ["system", "check"]);
        // Each has another time, and so is another image.
        await must(store, what, ["rmi", ...(await store.ok(["images", "-q"])).split("\n")]);
        expect([what, ...filesOf(store)]).toEqual([what, [], [], []]);
      };
      const calls = ["rename,renameat2", "syncfs", "pwrite64", "write"];
      expect(await sweep({ store, prefix, command, calls, next })).toBeGreaterThan(4);
    }, 3_600_000);

    test("over commit: the image is there and whole, or not at all, and the container goes on", async () => {
      const { prefix, store: making } = place();
      await using store = await making;
      await startChangedBox(store);
      const had = ["layers", "blobs/sha256"].map((directory) => namesIn(store, directory).sort());
      const command = ["commit", "box", "box:2"];
      let made = 0;
      const next = async (what: string): Promise<void> => {
        await mustGoOn(store, what);
        if ((await store.bb(["image", "inspect", "box:2"])).code === 0) made++;
        else await must(store, what, command);
        const { stdout, stderr } = await store.bb([...RUN, "box:2", "sh", "-c", "cat /d/*; ls /bin/ar"]);
        if (stdout !== "1\n2\n3\n4\n5\n6\n7\n8\n9\n1\n") throw new Error(`Half an image after ${what}\n${stderr}`);
        await must(store, what, ["system", "check"], ["rmi", "box:2"]);
        const has = ["layers", "blobs/sha256"].map((directory) => namesIn(store, directory).sort());
        expect([what, ...has]).toEqual([what, ...had]);
        expect([what, namesIn(store, "ingest")]).toEqual([what, []]);
      };
      const calls = [
        "openat",
        "mkdir,mkdirat",
        "linkat",
        "mknodat",
        "pwrite64",
        "rename,renameat2",
        "syncfs",
        "fsync,fdatasync",
        // Hundreds, of which none changes anything.
        ...(isWhole ? [] : ["statx"]),
        "write",
        "clone3",
        "flock",
        ...(driver === "btrfs" ? own : []),
      ];
      const points = await sweep({ store, prefix, command, calls, step: 7, next });
      expect(points).toBeGreaterThan(calls.length / 2);
      expect(made).toBeLessThan(points);
    }, 7_200_000);
  });
}

describe.skipIf(!hasBtrfs || !hasStrace)("a sweep of kill -9 over a container of a snapshot", () => {
  test("create and rm leave no subvolume", async () => {
    if (btrfs === undefined) throw new Error("No btrfs");
    const { prefix, path } = btrfs;
    await using store = await newStore({ ...btrfs, flags: ["--storage-driver", "btrfs"] });
    await store.ok(["init", await busyboxRoot(), "box"]);
    const next = async (what: string): Promise<void> => {
      await must(
        store,
        what,
        ["ps", "-a"],
        ["rm", "-f", "one"],
        [...RUN, "--name", "one", "box", "true"],
        ["system", "check"],
      );
      expect([what, namesIn(store, "containers").filter((each) => !each.startsWith(".gone"))]).toEqual([what, []]);
    };
    const create = ["create", "--name", "one", ...none, "box", "true"];
    const made = await sweep({ store, prefix, command: create, calls: ["ioctl", "pwrite64", "mkdirat"], next });
    const prepare = (): Promise<string> => store.ok(create);
    const removed = await sweep({
      store,
      prefix,
      prepare,
      command: ["rm", "one"],
      calls: ["ioctl", "pwrite64", "unlink,unlinkat,rmdir"],
      next,
    });
    expect(made + removed).toBeGreaterThan(4);
    await store.ok(["rmi", "box"]);
    expect((await run([...prefix, "btrfs", "subvolume", "list", path])).stdout).not.toContain(
      store.root.split("/").at(-2),
    );
  }, 3_600_000);
});

describe("a full disk", () => {
  /** A store on a tmpfs of so many megabytes. */
  const small = (megabytes: number): Promise<MountedPlace> =>
    mountPlace(`mount -t tmpfs -o size=${megabytes}m none "$DIR"`);

  test("fails pull and init clearly, and the store works once there is space", async () => {
    await using place = await small(24);
    await using store = await newStore(place);
    const fill = join(place.seen, "fill");
    writeFileSync(fill, Buffer.alloc(45 << 19));
    const busybox = await busyboxRoot();
    for (const command of [
      ["pull", "-q", name],
      ["init", busybox, "box"],
      [...RUN, busybox, "dd", "if=/dev/zero", "of=/big", "bs=1M"],
    ]) {
      const { code, stderr } = await store.bb(command);
      expect([command[0], code === 0]).toEqual([command[0], false]);
      expect(stderr).toMatch(/ENOSPC|No space left on/i);
      expect(namesIn(store, "containers").filter((each) => !each.startsWith(".gone"))).toEqual([]);
    }
    expect(namesIn(store, "layers")).toEqual([]);
    rmSync(fill);
    await must(
      store,
      "there is space",
      ["pull", "-q", name],
      [...RUN, name, "cat", "/opt/file"],
      ["system", "check"],
      ["rmi", name],
    );
    expect([namesIn(store, "layers"), namesIn(store, "blobs/sha256")]).toEqual([[], []]);
  }, 60_000);

  test("to the last byte still lets containers and images be listed and removed", async () => {
    await using place = await small(16);
    await using store = await newStore(place);
    await store.ok(["init", await busyboxRoot(), "box"]);
    await store.ok(["run", "--name", "one", ...none, "box", "true"]);
    const filled = await run([...place.prefix, "dd", "if=/dev/zero", `of=${place.path}/fill`, "bs=64k"]);
    expect(filled.stderr).toContain("No space left");
    expect(await store.ok(["ps", "-aq"])).not.toBe("");
    expect(await store.ok(["images", "-q"])).not.toBe("");
    await store.ok(["rm", "one"]);
    await store.ok(["rmi", "box"]);
    expect([namesIn(store, "layers"), namesIn(store, "containers")]).toEqual([[], []]);
    // What they had is free again, whatever else is full.
    await must(store, "that", ["init", await busyboxRoot(), "box"], [...RUN, "box", "true"], ["system", "check"]);
  }, 60_000);
});
