/**
 * What containers try on those around them, by the IDs of the list of past vulnerabilities: volumes that lead out (CP-04),
 * clients that do not read or do not stay (CP-05), and files that other users of the host come across (CP-06).
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { busyboxRoot, newStore, type Store, until } from "./harness.ts";
import { must, treeOf } from "./image-tree.ts";
import { descriptorsOf } from "./processes.ts";

const none = ["--network", "none"];
const busybox = await busyboxRoot();
/** A directory of the host's that a link of the image names. */
let outside = "";
let before: string[] = [];

beforeAll(async () => {
  outside = mkdtempSync(join(tmpdir(), "bb-outside-"));
  writeFileSync(join(outside, "file"), "the host's own");
  before = await treeOf(outside);
});

afterAll(async () => {
  expect(await treeOf(outside)).toEqual(before);
  rmSync(outside, { recursive: true });
});

/** Makes an image of busybox and what a script of the shell adds. */
async function make(store: Store, name: string, script: string, changes: readonly string[] = []): Promise<void> {
  const place = mkdtempSync(join(store.runRoot, "..", "image-"));
  const [root, tar] = [join(place, "root"), join(place, "tar")];
  await must(["cp", "-a", busybox, root]);
  await must(["sh", "-ec", script], root);
  await must(["tar", "-C", root, "--numeric-owner", "-cf", tar, "."]);
  await store.ok(["import", ...changes.flatMap((each) => ["--change", each]), tar, name]);
}

describe("CP-04: volumes", () => {
  test("of an image, at a link to the host, stay inside the container and take nothing from the host", async () => {
    await using store = await newStore();
    const script = `ln -s ${outside} way; mkdir -p real .${outside}; echo inside > .${outside}/own; ln -s /real twin; echo real > real/file`;
    await make(store, "linked:1", script, ["VOLUME /way", "VOLUME /twin"]);
    const look = `ls /way/; echo new > /way/new; ls ${outside}; cat /twin/file; grep -c ' /real \\| ${outside} ' /proc/self/mountinfo`;
    const run = ["run", "--rm", ...none, "linked:1", "sh", "-c", look];
    expect(await store.ok(run)).toBe("own\nnew\nown\nreal\n2");
    expect(await treeOf(outside)).toEqual(before);
  });

  test("that hold something are never filled from the image, by whatever name it is mounted", async () => {
    await using store = await newStore();
    await make(store, "filled:1", "mkdir data; echo image > data/file; echo image > data/other", ["VOLUME /data"]);
    await store.ok(["volume", "create", "kept"]);
    const data = join(store.root, "volumes/kept/_data");
    writeFileSync(join(data, "file"), "kept\n");
    for (const mount of ["kept:/data", "kept:/data/../data", "kept:/data:ro"]) {
      expect(
        await store.ok(["run", "--rm", ...none, "-v", mount, "filled:1", "sh", "-c", "ls /data; cat /data/file"]),
      ).toBe("file\nkept");
    }
    // The twin: one that is empty gets it all.
    expect(await store.ok(["run", "--rm", ...none, "-v", "new:/data", "filled:1", "ls", "/data"])).toBe("file\nother");
  });

  test("whose files are FIFOs, devices, sockets and holes are filled without waiting or growing", async () => {
    await using store = await newStore();
    await make(
      store,
      "odd:1",
      "mkdir data; cd data; mkfifo fifo; mknod zero c 1 5; ln -s /dev/zero link; echo plain > plain",
    );
    // By a container: tar would read an archive with such a hole from end to end.
    await store.ok(["run", "--name", "odd", ...none, "odd:1", "truncate", "-s", String(2 ** 40), "/data/holes"]);
    await store.ok(["commit", "odd", "odd:2"]);
    const script = "ls /data; stat -c '%s %b' /data/holes; cat /data/plain";
    const filled = await store.bb(["run", "--rm", ...none, "-v", "odd:/data", "odd:2", "sh", "-c", script], {
      timeoutMs: 20_000,
    });
    expect([filled.code, filled.stdout]).toEqual([
      0,
      expect.stringMatching(/^fifo\nholes\nlink\nplain\nzero\n1099511627776 \d{1,2}\nplain\n$/),
    ]);
  });
});

describe("CP-05: clients", () => {
  interface Box {
    readonly store: Store;
    readonly monitor: number;
  }

  async function startBox(): Promise<Box & AsyncDisposable> {
    const store = await newStore();
    // For each line that comes in, 30 MB go out.
    const script = "while read line; do yes | head -c 30000000; echo; echo done; done";
    await store.ok(["run", "-d", "-i", "--name", "box", ...none, busybox, "sh", "-c", script]);
    const [{ State }] = JSON.parse(await store.ok(["inspect", "box"])) as [{ State: { Pid: number } }];
    const status = readFileSync(`/proc/${State.Pid}/status`, "utf8");
    const monitor = Number(/PPid:\s*([0-9]+)/.exec(status)?.[1]);
    return { store, monitor, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() };
  }

  const memory = (pid: number): number =>
    Number(/Pss:\s+([0-9]+) kB/.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1]);
  const held = (pid: number): object => ({
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    threads: readdirSync(`/proc/${pid}/task`).length,
    children: readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").length,
  });

  test("that never read cost the monitor no memory, and hold up nobody who does", async () => {
    await using box = await startBox();
    const { store, monitor } = box;
    const base = memory(monitor);
    const stuck = [
      ["exec", "box", "yes"],
      ["attach", "--no-stdin", "box"],
      ["logs", "-f", "box"],
    ].map((words) => Bun.spawn([...store.command, ...words], { stdio: ["ignore", "pipe", "ignore"] }));
    await until("yes runs", async () => (await store.bb(["exec", "box", "pidof", "yes"])).code === 0);
    const reader = Bun.spawn([...store.command, "exec", "box", "sh", "-c", "yes | head -c 30000000"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    expect((await new Response(reader.stdout).bytes()).length).toBe(30_000_000);
    expect(memory(monitor) - base).toBeLessThan(512);
    for (const child of stuck) {
      child.kill("SIGKILL");
      await child.exited;
    }
  });

  test("that come and go leave nothing with the monitor", async () => {
    await using box = await startBox();
    const { store, monitor } = box;
    // The one that started it may still be known.
    const sockets = (): string[] => Object.values(descriptorsOf(monitor)).filter((to) => to.startsWith("socket:"));
    await until("nobody is attached", () => sockets().length === 1);
    const [before, base] = [held(monitor), memory(monitor)];
    for (let n = 0; n < 40; n++) {
      const child = Bun.spawn([...store.command, "attach", "box"], { stdio: ["pipe", "pipe", "ignore"] });
      await until("it is attached", () => !Bun.deepEquals(held(monitor), before));
      child.kill("SIGKILL");
      await child.exited;
      await until("it is gone", () => Bun.deepEquals(held(monitor), before));
    }
    expect(memory(monitor) - base).toBeLessThan(128);
  });

  test("that are killed end the input that only they could end", async () => {
    await using box = await startBox();
    const { store } = box;
    const isThere = async (): Promise<boolean> => (await store.bb(["exec", "box", "pidof", "cat"])).code === 0;
    const exec = Bun.spawn([...store.command, "exec", "-i", "box", "cat"], { stdio: ["pipe", "pipe", "ignore"] });
    await until("cat is there", isThere);
    exec.kill("SIGKILL");
    await exec.exited;
    await until("cat is gone", async () => !(await isThere()));

    const words = ["run", "-i", "--name", "reader", ...none, busybox, "cat"];
    const run = Bun.spawn([...store.command, ...words], { stdio: ["pipe", "pipe", "ignore"] });
    run.stdin.write("before\n");
    await run.stdin.flush();
    await until("it has read", async () => (await store.bb(["logs", "reader"])).stdout === "before\n");
    run.kill("SIGKILL");
    expect(await store.ok(["wait", "reader"])).toBe("0");
  });
});

test("CP-06: another user of the host reaches nothing of images, containers, volumes, logs and sockets", async () => {
  await using store = await newStore();
  const user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"];
  await make(store, "setuid:1", "cp bin/busybox bin/su-root; chmod 4755 bin/su-root; mkdir open; chmod 777 open");
  const script = "echo log; chmod -R 777 /vol; cp /bin/su-root /vol; chmod 4777 /vol/su-root; sleep 1000";
  await store.ok(["run", "-d", "--name", "box", ...none, "-v", "vol:/vol", "setuid:1", "sh", "-c", script]);
  await until("the volume has it", () => readdirSync(join(store.root, "volumes/vol/_data")).includes("su-root"));
  // The tests' own directory is not part of it.
  chmodSync(dirname(store.root), 0o755);
  for (const root of [store.root, store.runRoot]) {
    const paths = (await must(["find", root, "-mindepth", "1"])).trimEnd().split("\n");
    expect(paths.length).toBeGreaterThan(3);
    const list = join(dirname(store.root), "paths");
    writeFileSync(list, paths.join("\n"), { mode: 0o644 });
    const walk = 'while read -r path; do if test -e "$path" || test -L "$path"; then echo "$path"; fi; done <"$0"';
    expect(await must(["sh", "-ec", walk, list])).not.toBe("");
    expect(await must([...user, "sh", "-ec", walk, list])).toBe("");
  }
  const beside = join(dirname(store.root), "beside");
  mkdirSync(beside);
  chmodSync(beside, 0o755);
  // What was a descriptor's or a working directory's way in would be this one: by the processes of the container.
  const [{ State }] = JSON.parse(await store.ok(["inspect", "box"])) as [{ State: { Pid: number } }];
  const way = `ls /proc/${State.Pid}/root/ /proc/${State.Pid}/cwd/ 2>/dev/null | head -1`;
  expect(await must([...user, "sh", "-c", way])).toBe("");
});
